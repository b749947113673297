package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const envPrefix = "GANNET_"

// flags are the keys that the command line can set; --config is added to them.
var flags = []struct{ name, path, usage string }{
	{"data", "data", "folder of the store"},
	{"ws", "ws", "address for SDK clients (WebSocket)"},
	{"api", "api", "address of the v3 HTTP API"},
	{"api-v2", "api-v2", "address of the v2 HTTP API"},
	{"ops", "ops", "address of health, metrics and profiles"},
	{"secret", "secret", "signs tokens; password of /auth/get_admin_token"},
	{"log-level", "log.level", "debug, info, warn or error"},
}

// loadConfig merges defaults < file < environment < flags and returns every
// problem found on the way, or flag.ErrHelp after printing the flags to usage.
func loadConfig(args, environ []string, usage io.Writer) (*Config, error) {
	c := defaults()
	given, errs := parseFlags(args, usage)
	if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, flag.ErrHelp) }) {
		return nil, flag.ErrHelp
	}
	file := given["config"]
	env := map[string]string{}
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, envPrefix) {
			env[name] = value
		}
	}
	if file == "" {
		file = env[envPrefix+"CONFIG"]
	}
	delete(env, envPrefix+"CONFIG")
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("config: %w", err))
		}
		for _, err := range c.setYAML(text) {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
	}
	errs = append(errs, c.setEnv(env)...)
	for _, k := range keysOf(&c) {
		for _, f := range flags {
			if text, ok := given[f.name]; ok && f.path == k.path {
				if err := k.set(text); err != nil {
					errs = append(errs, fmt.Errorf("--%s: %w", f.name, err))
				}
			}
		}
	}
	if errs = append(errs, c.validate()...); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &c, nil
}

// parseFlags returns the flags given. It goes on after an unknown one, so that
// all of them are reported.
func parseFlags(args []string, usage io.Writer) (given map[string]string, errs []error) {
	fs := flag.NewFlagSet("gannet", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.String("config", "", "YAML file with any of the keys (see config.example.yaml)")
	c := defaults()
	for _, k := range keysOf(&c) {
		for _, f := range flags {
			if f.path == k.path {
				fs.String(f.name, k.value.String(), f.usage)
			}
		}
	}
	for rest := args; ; {
		err := fs.Parse(rest)
		if err == nil {
			break
		}
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(usage)
			fs.PrintDefaults()
			return nil, []error{err}
		}
		errs = append(errs, err)
		rest = fs.Args()
		if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			rest = rest[1:] // the unknown flag's value
		}
	}
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", fs.Arg(0)))
	}
	given = map[string]string{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
	return given, errs
}

// setEnv sets the keys named by env, and returns an error for each name that is
// no key's.
func (c *Config) setEnv(env map[string]string) []error {
	var errs []error
	for _, k := range keysOf(c) {
		text, ok := env[k.env()]
		if !ok {
			continue
		}
		delete(env, k.env())
		if err := k.set(text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.env(), err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		errs = append(errs, fmt.Errorf("%s: unknown key", name))
	}
	return errs
}

// set parses text, as variables and flags give it: lists are separated by commas.
// Errors do not repeat the text of a secret.
func (k *key) set(text string) error {
	switch v := k.value.Addr().Interface().(type) {
	case *string:
		*v = text
	case *[]string:
		*v = []string{}
		for one := range strings.SplitSeq(text, ",") {
			if one = strings.TrimSpace(one); one != "" {
				*v = append(*v, one)
			}
		}
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*v = b
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || k.value.OverflowInt(n) {
			return fmt.Errorf("%q is not a whole number", text)
		}
		k.value.SetInt(n)
	}
	return nil
}

// setYAML sets the keys that text, one YAML document, holds. Unknown keys, keys
// set twice and values of another kind are errors with their line.
func (c *Config) setYAML(text []byte) []error {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // an empty file sets nothing
		}
		return []error{err}
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return []error{errors.New("line 1: more than one YAML document")}
	}
	keys := map[string]*key{}
	groups := map[string]bool{}
	for _, k := range keysOf(c) {
		keys[k.path] = &k
		if group, _, ok := strings.Cut(k.path, "."); ok {
			groups[group] = true
		}
	}
	return setMapping("", doc.Content[0], keys, groups)
}

func setMapping(prefix string, m *yaml.Node, keys map[string]*key, groups map[string]bool) []error {
	if m.Kind == yaml.AliasNode {
		m = m.Alias
	}
	if m.Kind == yaml.ScalarNode && m.Tag == "!!null" {
		return nil
	}
	if m.Kind != yaml.MappingNode {
		return []error{fmt.Errorf("line %d: %sexpected keys and values", m.Line, prefix)}
	}
	var errs []error
	first := map[string]int{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		name, value := m.Content[i], m.Content[i+1]
		path := prefix + name.Value
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("line %d: %s: %w", name.Line, path, fmt.Errorf(format, args...)))
		}
		if line := first[path]; line != 0 {
			fail("set already in line %d", line)
			continue
		}
		first[path] = name.Line
		switch k := keys[path]; {
		case name.Kind == yaml.ScalarNode && prefix == "" && groups[path]:
			errs = append(errs, setMapping(path+".", value, keys, groups)...)
		case name.Kind != yaml.ScalarNode || k == nil:
			fail("unknown key")
		default:
			if err := k.setNode(value); err != nil {
				fail("%w", err)
			}
		}
	}
	return errs
}

// setNode takes the value from YAML. It decodes into a fresh value, so that a
// failure leaves k as it was.
func (k *key) setNode(n *yaml.Node) error {
	v := reflect.New(k.value.Type())
	if n.Tag == "!!null" || n.Decode(v.Interface()) != nil {
		return fmt.Errorf("expected %s", map[reflect.Kind]string{
			reflect.String: "a text", reflect.Slice: "a list of texts", reflect.Bool: "true or false",
			reflect.Int: "a whole number", reflect.Int64: "a whole number",
		}[k.value.Kind()])
	}
	k.value.Set(v.Elem())
	return nil
}
