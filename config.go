package main

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Config is everything an operator can set. Each field is one key: the yaml tag
// names it in the file, the path in capitals joined by "_" names its variable
// (limits.max-frame-bytes is GANNET_LIMITS_MAX_FRAME_BYTES). The tags min, max
// and oneof bound the value, secret hides it in everything that is printed.
type Config struct {
	// Data is the folder of the store; created with mode 0700. Default ./data.
	Data string `yaml:"data"`
	// WS is where SDK clients connect by WebSocket. Default 127.0.0.1:10001.
	WS string `yaml:"ws"`
	// API is where the v3 HTTP API is served. Default 127.0.0.1:10002.
	API string `yaml:"api"`
	// APIV2 is where the v2 HTTP API is served; empty: not at all.
	// Default 127.0.0.1:10000.
	APIV2 string `yaml:"api-v2"`
	// Ops is where health, metrics and profiles are served, unauthenticated;
	// empty: not at all. Default 127.0.0.1:10003.
	Ops string `yaml:"ops"`

	// Secret signs the tokens of the v3 dialect and is the password of
	// /auth/get_admin_token. Changing it invalidates every token. Default openIM123,
	// with which only loopback addresses are served.
	Secret string `yaml:"secret" secret:"true"`
	// Secrets are further passwords accepted where Secret is; they sign nothing.
	// Default tuoyun, the one v2 documents use, under the same restriction.
	Secrets []string `yaml:"secrets" secret:"true"`
	// TokenKeyV2 signs the tokens of the v2 dialect. Default open_im_server, under
	// the same restriction.
	TokenKeyV2 string `yaml:"token-key-v2" secret:"true"`
	// Admins are the user IDs with every right; missing ones are created at start.
	// Default openIM123456, openIM654321, openIMAdmin, imAdmin.
	Admins []string `yaml:"admins"`
	// TokenDays is the life of a v3 token in days. Default 90.
	TokenDays int `yaml:"token-days" min:"1" max:"36500"`
	// TokenDaysV2 is the life of a v2 token in days. Default 7.
	TokenDaysV2 int `yaml:"token-days-v2" min:"1" max:"36500"`

	MultiLogin MultiLogin `yaml:"multi-login"`
	// FriendVerify refuses messages between users who are not friends (1303). It
	// costs one more cached look-up per message. Default false.
	FriendVerify bool `yaml:"friend-verify"`

	Limits Limits `yaml:"limits"`
	Store  Store  `yaml:"store"`
	Log    Log    `yaml:"log"`
	GC     GC     `yaml:"gc"`
}

// MultiLogin says which of a user's other logins a new one ends.
type MultiLogin struct {
	// Policy is OpenIM's number: 0 none, 1 those of the same platform, 4 those of
	// the same class of platforms, 5 all but PCs, of which any number may stay.
	// Default 1.
	Policy int `yaml:"policy" oneof:"0 1 4 5"`
	// MaxNumOneEnd is how many tokens one platform keeps under policy 0. Default 30.
	MaxNumOneEnd int `yaml:"max-num-one-end" min:"1" max:"1000"`
}

// Limits bound what clients can cost.
type Limits struct {
	// MaxConnections is how many WebSocket connections are open at once; further
	// ones are refused with 1601. 0: as many as the process' descriptor limit
	// allows. Default 0.
	MaxConnections int `yaml:"max-connections" min:"0" max:"100000000"`
	// MaxFrameBytes bounds one inbound message, on the wire and inflated; a larger
	// one closes its connection. A connection receiving such a message holds as
	// much memory. Default 1 MiB.
	MaxFrameBytes int `yaml:"max-frame-bytes" min:"65536" max:"67108864"`
	// OutboundBytes bounds what waits unsent for one connection; one that exceeds
	// it is closed as slow. Default 4 MiB.
	OutboundBytes int `yaml:"outbound-bytes" min:"1048576" max:"268435456"`
	// HTTPBodyBytes bounds the body of one API request. Default 8 MiB.
	HTTPBodyBytes int `yaml:"http-body-bytes" min:"65536" max:"268435456"`
	// DrainSeconds is how long a shutdown waits for what is in flight. Default 10.
	DrainSeconds int `yaml:"drain-seconds" min:"1" max:"600"`
}

// Store tunes the store.
type Store struct {
	// CacheBytes is the memory for blocks read from disk. It is allocated outside
	// the heap as it fills. Default 256 MiB.
	CacheBytes int64 `yaml:"cache-bytes" min:"1048576" max:"1099511627776"`
}

// Log says what goes to standard error.
type Log struct {
	// Level is the least severe level written: debug, info, warn, error. Default info.
	Level string `yaml:"level" oneof:"debug info warn error"`
	// Format is text or json. Default text.
	Format string `yaml:"format" oneof:"text json"`
}

// GC trades memory for processor time.
type GC struct {
	// Percent is how far the heap grows over the live data before it is collected;
	// the variable GOGC, if set, goes before it. Default 400.
	Percent int `yaml:"percent" min:"10" max:"10000"`
	// MemoryLimitBytes is the size above which the collector works harder instead of
	// letting the process grow; GOMEMLIMIT, if set, goes before it. 0: no limit.
	// Default 0.
	MemoryLimitBytes int64 `yaml:"memory-limit-bytes" min:"0" max:"1099511627776"`
}

// Secrets that every reader of OpenIM's documents knows.
const (
	defaultSecret     = "openIM123"
	defaultSecretV2   = "tuoyun"
	defaultTokenKeyV2 = "open_im_server"
)

func defaults() Config {
	return Config{
		Data:         "./data",
		WS:           "127.0.0.1:10001",
		API:          "127.0.0.1:10002",
		APIV2:        "127.0.0.1:10000",
		Ops:          "127.0.0.1:10003",
		Secret:       defaultSecret,
		Secrets:      []string{defaultSecretV2},
		TokenKeyV2:   defaultTokenKeyV2,
		Admins:       []string{"openIM123456", "openIM654321", "openIMAdmin", "imAdmin"},
		TokenDays:    90,
		TokenDaysV2:  7,
		MultiLogin:   MultiLogin{Policy: 1, MaxNumOneEnd: 30},
		FriendVerify: false,
		Limits: Limits{
			MaxFrameBytes: 1 << 20,
			OutboundBytes: 4 << 20,
			HTTPBodyBytes: 8 << 20,
			DrainSeconds:  10,
		},
		Store: Store{CacheBytes: 256 << 20},
		Log:   Log{Level: "info", Format: "text"},
		GC:    GC{Percent: 400},
	}
}

// validate returns every problem of c; each names its key.
func (c *Config) validate() []error {
	var errs []error
	for _, k := range keysOf(c) {
		if err := k.check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.path, err))
		}
	}
	if c.Data == "" {
		errs = append(errs, errors.New("data: must not be empty"))
	}
	errs = append(errs, c.validateListeners()...)
	for _, s := range []struct{ key, value string }{{"secret", c.Secret}, {"token-key-v2", c.TokenKeyV2}} {
		if s.value == "" {
			errs = append(errs, fmt.Errorf("%s: must not be empty", s.key))
		}
	}
	if slices.Contains(c.Secrets, "") {
		errs = append(errs, errors.New("secrets: an empty secret is not accepted"))
	}
	if len(c.Admins) == 0 {
		errs = append(errs, errors.New("admins: at least one administrator is needed"))
	}
	seen := map[string]bool{}
	for _, id := range c.Admins {
		if !validUserID(id) {
			errs = append(errs, fmt.Errorf("admins: %q is not a user ID (letters, digits and _)", id))
		}
		if seen[id] {
			errs = append(errs, fmt.Errorf("admins: %q is there twice", id))
		}
		seen[id] = true
	}
	return errs
}

func validUserID(id string) bool {
	return id != "" && !strings.ContainsFunc(id, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// listener is one address the server listens on, with the key that sets it.
type listener struct{ key, addr string }

func (c *Config) listeners() []listener {
	return []listener{{"ws", c.WS}, {"api", c.API}, {"api-v2", c.APIV2}, {"ops", c.Ops}}
}

func (c *Config) validateListeners() []error {
	var errs []error
	taken := map[string]string{}
	var exposed []string
	for _, l := range c.listeners() {
		if l.addr == "" {
			if l.key == "ws" || l.key == "api" {
				errs = append(errs, fmt.Errorf("%s: must not be empty", l.key))
			}
			continue
		}
		host, port, err := net.SplitHostPort(l.addr)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is not host:port", l.key, l.addr))
			continue
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is not a port (0 to 65535)", l.key, port))
		} else if other := taken[l.addr]; other != "" && n != 0 {
			errs = append(errs, fmt.Errorf("%s: %s is the address of %s already", l.key, l.addr, other))
		}
		taken[l.addr] = l.key
		if !isLoopback(host) {
			exposed = append(exposed, l.key+" "+l.addr)
		}
	}
	if hints := c.defaultSecrets(); len(exposed) > 0 && len(hints) > 0 {
		errs = append(errs, fmt.Errorf("%s: refusing to listen beyond loopback with secrets that everybody knows; %s",
			strings.Join(exposed, ", "), strings.Join(hints, "; ")))
	}
	return errs
}

// defaultSecrets says, for each well-known secret still in force, what to set.
func (c *Config) defaultSecrets() []string {
	var hints []string
	wellKnown := func(s string) bool {
		return s == defaultSecret || s == defaultSecretV2 || s == defaultTokenKeyV2
	}
	if wellKnown(c.Secret) {
		hints = append(hints, "set secret (--secret or GANNET_SECRET) to a value of your own")
	}
	if slices.ContainsFunc(c.Secrets, wellKnown) {
		hints = append(hints, "set secrets (GANNET_SECRETS, may be empty) without the default "+defaultSecretV2)
	}
	if wellKnown(c.TokenKeyV2) {
		hints = append(hints, "set token-key-v2 (GANNET_TOKEN_KEY_V2) to a value of your own")
	}
	return hints
}

// isLoopback says no when in doubt: other names than localhost are not resolved.
func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// masked is a copy of c that may be shown: secrets are replaced by ***.
func (c *Config) masked() Config {
	m := *c
	for _, k := range keysOf(&m) {
		if !k.secret {
			continue
		}
		switch v := k.value.Addr().Interface().(type) {
		case *string:
			*v = "***"
		case *[]string:
			*v = slices.Repeat([]string{"***"}, len(*v))
		}
	}
	return m
}

// key is one leaf of a Config.
type key struct {
	path   string // as in the file, groups joined by "."
	value  reflect.Value
	tag    reflect.StructTag
	secret bool
}

// env is the name of k's variable.
func (k *key) env() string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(k.path))
}

// keysOf lists the leaves of c in the order of the struct.
func keysOf(c *Config) []key {
	var keys []key
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			path := prefix + f.Tag.Get("yaml")
			if f.Type.Kind() == reflect.Struct {
				walk(path+".", v.Field(i))
				continue
			}
			keys = append(keys, key{path, v.Field(i), f.Tag, f.Tag.Get("secret") != ""})
		}
	}
	walk("", reflect.ValueOf(c).Elem())
	return keys
}

// check compares k's value with its tags.
func (k *key) check() error {
	text := fmt.Sprint(k.value.Interface())
	if set := k.tag.Get("oneof"); set != "" && !slices.Contains(strings.Fields(set), text) {
		return fmt.Errorf("%q is none of %s", text, strings.Join(strings.Fields(set), ", "))
	}
	if !k.value.CanInt() {
		return nil
	}
	for _, bound := range []struct {
		tag  string
		sign int64
		word string
	}{{"min", 1, "below"}, {"max", -1, "above"}} {
		limit, err := strconv.ParseInt(k.tag.Get(bound.tag), 10, 64)
		if err == nil && k.value.Int()*bound.sign < limit*bound.sign {
			return fmt.Errorf("%s is %s the bound %d", text, bound.word, limit)
		}
	}
	return nil
}
