package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func load(t *testing.T, args []string, environ ...string) (*Config, error) {
	t.Helper()
	return loadConfig(args, environ, io.Discard)
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "gannet.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDefaultsAreValid(t *testing.T) {
	c, err := load(t, nil, "PATH=/bin", "GANNETS=2")
	if err != nil {
		t.Fatal(err)
	}
	if want := defaults(); !reflect.DeepEqual(*c, want) {
		t.Errorf("got %+v, want %+v", *c, want)
	}
}

// The example holds every key, and each with its default.
func TestExampleEqualsDefaults(t *testing.T) {
	text, err := os.ReadFile("config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	for _, err := range c.setYAML(text) {
		t.Error(err)
	}
	if want := defaults(); !reflect.DeepEqual(c, want) {
		t.Errorf("config.example.yaml gives\n%+v, the defaults are\n%+v", c, want)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	for _, k := range keysOf(&c) {
		group, rest, nested := strings.Cut(k.path, ".")
		v, ok := tree[group]
		if nested {
			_, ok = v.(map[string]any)[rest]
		}
		if !ok {
			t.Errorf("config.example.yaml lacks %s", k.path)
		}
	}
}

func TestKeysAreUnambiguous(t *testing.T) {
	c := defaults()
	seen := map[string]string{}
	for _, k := range keysOf(&c) {
		if !regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)?$`).MatchString(k.path) {
			t.Errorf("key %q has no proper yaml tag", k.path)
		}
		if other := seen[k.env()]; other != "" {
			t.Errorf("%s and %s share %s", other, k.path, k.env())
		}
		seen[k.env()] = k.path
	}
	for _, f := range flags {
		if !slices.ContainsFunc(keysOf(&c), func(k key) bool { return k.path == f.path }) {
			t.Errorf("--%s sets no key", f.name)
		}
	}
}

func TestLaterSourcesWin(t *testing.T) {
	file := writeFile(t, `
data: /from/file
ws: 127.0.0.1:1
api: 127.0.0.1:2
admins: [boss]
multi-login: {policy: 5}
log:
  level: warn
`)
	c, err := load(t, []string{"--config", file, "--ws=127.0.0.1:31", "--log-level", "error"},
		"GANNET_WS=127.0.0.1:21", "GANNET_API=127.0.0.1:22", "GANNET_SECRETS=a, b",
		"GANNET_FRIEND_VERIFY=true", "GANNET_LIMITS_MAX_CONNECTIONS=7")
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Data, want.WS, want.API = "/from/file", "127.0.0.1:31", "127.0.0.1:22"
	want.Admins, want.Secrets = []string{"boss"}, []string{"a", "b"}
	want.MultiLogin.Policy, want.Log.Level = 5, "error"
	want.FriendVerify, want.Limits.MaxConnections = true, 7
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got  %+v\nwant %+v", *c, want)
	}
	if c, err = load(t, nil, "GANNET_CONFIG="+file, "GANNET_SECRETS="); err != nil || c.Data != "/from/file" || len(c.Secrets) != 0 {
		t.Errorf("GANNET_CONFIG: %+v, %v", c, err)
	}
}

// Every problem of every source is reported at once, by the name it was given.
func TestAllProblemsAtOnce(t *testing.T) {
	file := writeFile(t, `datas: x
limits:
  max-frame-bytes: many
  max-frames: 3
  http-body-bytes: 1
ws: 127.0.0.1:1
ws: 127.0.0.1:2
log: loud
store: {cache-bytes: }
<<: {data: y}
`)
	_, err := load(t, []string{"--config", file, "--nonsense", "x", "--log-level", "loud", "--api", "nowhere"},
		"GANNET_TOKEN_DAYS=never", "GANNET_WSS=1", "GANNET_MULTI_LOGIN_POLICY=2", "GANNET_ADMINS=a+b,c,c")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"line 1: datas: unknown key",
		"line 3: limits.max-frame-bytes: expected a whole number",
		"line 4: limits.max-frames: unknown key",
		"limits.http-body-bytes: 1 is below the bound 65536",
		"line 7: ws: set already in line 6",
		"line 8: log.expected keys and values",
		"line 9: store.cache-bytes: expected a whole number",
		"line 10: <<: unknown key",
		"not defined: -nonsense",
		`log.level: "loud" is none of debug, info, warn, error`,
		`api: "nowhere" is not host:port`,
		`GANNET_TOKEN_DAYS: "never" is not a whole number`,
		"GANNET_WSS: unknown key",
		`multi-login.policy: "2" is none of 0, 1, 4, 5`,
		`admins: "a+b" is not a user ID`,
		`admins: "c" is there twice`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing: %s", want)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 16 {
		t.Errorf("%d problems, want 16", n)
	}
	if t.Failed() {
		t.Logf("got:\n%v", err)
	}
}

func TestBadListeners(t *testing.T) {
	for name, env := range map[string][]string{
		"ws: must not be empty":                    {"GANNET_WS="},
		"api: must not be empty":                   {"GANNET_API="},
		"ops: 127.0.0.1:10002 is the address of":   {"GANNET_OPS=127.0.0.1:10002"},
		`ws: "70000" is not a port`:                {"GANNET_WS=127.0.0.1:70000"},
		"data: must not be empty":                  {"GANNET_DATA="},
		"secret: must not be empty":                {"GANNET_SECRET="},
		"token-key-v2: must not be empty":          {"GANNET_TOKEN_KEY_V2="},
		"admins: at least one administrator":       {"GANNET_ADMINS=,"},
		"config: open /does/not/exist: no such fi": {"GANNET_CONFIG=/does/not/exist"},
	} {
		if _, err := load(t, nil, env...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: got %v, want %q", env, err, name)
		}
	}
	if _, err := load(t, nil, "GANNET_OPS=", "GANNET_API_V2=", "GANNET_WS=127.0.0.1:0", "GANNET_API=127.0.0.1:0"); err != nil {
		t.Errorf("optional listeners off, free ports: %v", err)
	}
}

func TestDefaultSecretsStayOnLoopback(t *testing.T) {
	own := []string{"GANNET_SECRET=mine", "GANNET_SECRETS=", "GANNET_TOKEN_KEY_V2=mine2"}
	for _, tc := range []struct {
		addr string
		env  []string
		want string // part of the error; empty: none
	}{
		{"127.0.0.1:1", nil, ""},
		{"[::1]:1", nil, ""},
		{"localhost:1", nil, ""},
		{"127.8.8.8:1", nil, ""},
		{":1", nil, "set secret (--secret or GANNET_SECRET)"},
		{"0.0.0.0:1", nil, "set secrets (GANNET_SECRETS"},
		{"[::]:1", nil, "set token-key-v2 (GANNET_TOKEN_KEY_V2)"},
		{"example.org:1", nil, "ws example.org:1: refusing"},
		{"0.0.0.0:1", own, ""},
		{"0.0.0.0:1", append(own, "GANNET_SECRETS=other,tuoyun"), "set secrets"},
		{"0.0.0.0:1", append(own, "GANNET_SECRET=tuoyun"), "set secret "},
		{"0.0.0.0:1", append(own, "GANNET_TOKEN_KEY_V2=openIM123"), "set token-key-v2"},
	} {
		_, err := load(t, []string{"--ws", tc.addr}, tc.env...)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s with %v: got %v, want %q", tc.addr, tc.env, err, tc.want)
		}
	}
	_, err := load(t, []string{"--ws", ":1"}, own[1:]...)
	if err == nil || strings.Contains(err.Error(), "secrets (") || strings.Contains(err.Error(), "token-key") {
		t.Errorf("says what is fine already: %v", err)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	c, err := load(t, []string{"--secret", "s3cr3t"}, "GANNET_SECRETS=s3cr3t2,s3cr3t3", "GANNET_TOKEN_KEY_V2=s3cr3t4")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := printConfig(&out, c); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "s3cr3t") || !strings.Contains(out.String(), "secret: '***'") {
		t.Errorf("printed:\n%s", out.String())
	}
	if c.Secret != "s3cr3t" || c.Secrets[1] != "s3cr3t3" {
		t.Error("masking changed the configuration in force")
	}
	var again Config
	if errs := again.setYAML([]byte(out.String())); errs != nil {
		t.Errorf("the printed configuration does not load: %v", errs)
	}
	if m := c.masked(); !reflect.DeepEqual(again, m) {
		t.Errorf("printed and read again: %+v, want %+v", again, m)
	}
	_, err = load(t, []string{"--ws", "x"}, "GANNET_SECRET=s3cr3t", "GANNET_SECRETS=tuoyun,s3cr3t,,")
	if err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("an error repeats a secret: %v", err)
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	if _, err := loadConfig([]string{"--help"}, nil, &out); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v", err)
	}
	for _, f := range flags {
		if !strings.Contains(out.String(), "-"+f.name) {
			t.Errorf("help lacks --%s", f.name)
		}
	}
}

// Any bytes give a configuration or errors that name a line or a key.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("config.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{
		"", "#", "---\n---\n", "a: &a [*a]", "limits: &l {max-connections: 1}\nstore: *l", "? [x]\n: y",
		"secrets: [null, 1, [2]]", "gc: {percent: 1e3}", "log:\n\tlevel: x", "data: !!binary aGk=", "token-days: 0x10",
	} {
		f.Add([]byte(s))
	}
	named := regexp.MustCompile(`line \d+|^yaml: `)
	f.Fuzz(func(t *testing.T, text []byte) {
		c := defaults()
		for _, err := range c.setYAML(text) {
			if !named.MatchString(err.Error()) {
				t.Errorf("%q names no position", err)
			}
		}
		keys := keysOf(&c)
		for _, err := range c.validate() {
			if !slices.ContainsFunc(keys, func(k key) bool { return strings.HasPrefix(err.Error(), k.path) }) {
				t.Errorf("%q names no key", err)
			}
		}
	})
}
