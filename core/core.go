package core

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"gannet/internal/im"
)

// LoginPolicy says which older sessions a new login ends (sdk-websocket contract §4.2).
type LoginPolicy int

// The policies that OpenIM v3 knows, by its numbers.
const (
	PolicyKickNone      LoginPolicy = 0 // keep all; at most MaxTokens tokens per platform
	PolicySamePlatform  LoginPolicy = 1 // one session per platform
	PolicySameClass     LoginPolicy = 4 // one session per class of platforms
	PolicyPCAndOneOther LoginPolicy = 5 // any number of PC sessions and one other
)

// Valid reports whether p is one of the four policies.
func (p LoginPolicy) Valid() bool {
	return p == PolicyKickNone || p == PolicySamePlatform || p == PolicySameClass || p == PolicyPCAndOneOther
}

// Options configure a Core. Zero values of the limits get the defaults named.
type Options struct {
	Store  Store
	Clock  Clock // nil: the system clock
	Logger *slog.Logger

	Secret     string        // signs v3 tokens and is the password of get_admin_token
	Secrets    []string      // further secrets that token and registration routes accept
	KeyV2      string        // signs v2 tokens
	Admins     []string      // user IDs with the administrator's rights; created when absent
	TokenLife  time.Duration // of v3 tokens; default 90 days
	TokenLife2 time.Duration // of v2 tokens; default 7 days

	Policy    LoginPolicy
	MaxTokens int // normal tokens kept per (user, platform) under PolicyKickNone; default 30

	FriendVerify bool // single messages only between friends

	InFlightBytes int64 // decided but not yet delivered messages; default 64 MiB. Full: im.ErrBusy
	HotStates     int   // conversation states kept in memory; default 200,000 (about 400 B each)
	Deliverers    int   // delivering goroutines; default 2
}

func (o *Options) setDefaults() error {
	if o.Store == nil {
		return fmt.Errorf("core: no store")
	}
	if !o.Policy.Valid() {
		return fmt.Errorf("core: multi-login policy %d is not one of 0, 1, 4, 5", o.Policy)
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.TokenLife, 90*24*time.Hour)
	setDefault(&o.TokenLife2, 7*24*time.Hour)
	setDefault(&o.MaxTokens, 30)
	setDefault(&o.InFlightBytes, 64<<20)
	setDefault(&o.HotStates, 200_000)
	setDefault(&o.Deliverers, 2)
	return nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// Core holds the IM rules and the state they need in memory. Its methods are
// safe for concurrent use. Unless a method says otherwise it may wait for the
// disk and MUST NOT be called on an event loop.
type Core struct {
	// Immutable after New.
	opt    Options
	log    *slog.Logger
	store  Store
	admins map[string]bool
	idSeed [8]byte

	// Set once by Start.
	sink Sink

	stripes  stripes     // one lock per group of users and groups: who decides about them
	shards   shards      // conversation states
	tokens   tokens      // states of issued tokens
	proven   proven      // tokens that need no verifying again
	presence presence    // who is online where
	groups   groupStates // members of the groups in use
	pairs    epochs      // when what is cached about a user went stale
	inFlight gate        // bound on decided, undelivered messages
	deliver  []*deliverer
	jobs     *jobs // kicks: a loop started them but must not wait for them
	marks    *jobs // at-marks; apart, so that a flood of them refuses no login
	idNext   atomic.Uint64
	stats    counters
}

// New builds a Core on o.Store: it loads the token states and creates the
// administrators that do not exist yet. Start must follow before any session.
func New(o Options) (*Core, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	c := &Core{opt: o, log: o.Logger, store: o.Store, admins: make(map[string]bool)}
	for _, id := range o.Admins {
		c.admins[id] = true
	}
	if _, err := rand.Read(c.idSeed[:]); err != nil {
		return nil, fmt.Errorf("core: random seed: %w", err)
	}
	c.inFlight.init(o.InFlightBytes)
	c.shards.init(o.HotStates)
	c.presence.init()
	c.groups.init()
	if err := c.tokens.load(o.Store, c.nowMS()/1000); err != nil {
		return nil, fmt.Errorf("core: load tokens: %w", err)
	}
	for range o.Deliverers {
		c.deliver = append(c.deliver, newDeliverer(c))
	}
	c.jobs, c.marks = newJobs(jobWorkers), newJobs(1)
	if err := c.createAdmins(); err != nil {
		c.Close()
		return nil, fmt.Errorf("core: create administrators: %w", err)
	}
	return c, nil
}

// Start names the sink that delivers to sessions. It must be called once, before
// the first session connects.
func (c *Core) Start(s Sink) { c.sink = s }

// Close ends core's goroutines after what is queued was delivered. The gateway
// and the API must have stopped calling; the store must still be open.
func (c *Core) Close() {
	c.jobs.close()
	c.marks.close()
	for _, d := range c.deliver {
		d.close()
	}
}

// Caller is who asks: the user of a verified token, on which platform, and the
// operationID under which this call appears in the log.
type Caller struct {
	UserID      string
	Platform    im.Platform
	Admin       bool
	OperationID string
}

// self returns ErrNoPermission unless the caller is userID or an administrator,
// and ErrArgs when userID is empty.
func (f Caller) self(userID string) error {
	if userID == "" {
		return im.ErrArgs.With("userID is empty")
	}
	if f.Admin || f.UserID == userID {
		return nil
	}
	return im.ErrNoPermission.With("user %s may not act for %s", f.UserID, userID)
}

// admin returns ErrNoPermission unless the caller is an administrator.
func (f Caller) admin() error {
	if f.Admin {
		return nil
	}
	return im.ErrNoPermission.With("user %s is not admin userID", f.UserID)
}

// Options returns the options in force.
func (c *Core) Options() Options { return c.opt }

// IsAdmin reports whether userID is a configured administrator.
func (c *Core) IsAdmin(userID string) bool { return c.admins[userID] }

// SecretOK reports whether secret is one that token and registration routes accept.
func (c *Core) SecretOK(secret string) bool {
	ok := sameSecret(secret, c.opt.Secret)
	for _, s := range c.opt.Secrets {
		ok = sameSecret(secret, s) || ok
	}
	return ok
}

func (c *Core) nowMS() int64 { return c.opt.Clock.Now().UnixMilli() }

// newID returns 32 hex digits that no other call on this store returns: a random
// part per process, then a counter.
func (c *Core) newID() string {
	var b [16]byte
	copy(b[:8], c.idSeed[:])
	binary.BigEndian.PutUint64(b[8:], c.idNext.Add(1))
	return hex.EncodeToString(b[:])
}

// uniqueIDs reports an error when ids holds an empty or a repeated one.
func uniqueIDs(ids []string, what string) error {
	seen := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		if id == "" {
			return im.ErrArgs.With("%s is empty", what)
		}
		if _, dup := seen[id]; dup {
			return im.ErrArgs.With("%s repeated", what)
		}
		seen[id] = struct{}{}
	}
	return nil
}

// listMax bounds the elements of a list that a request names, where the contract
// sets no smaller bound: it is what one request may cost in reads.
const listMax = 10_000

// checkList refuses a list of more than listMax elements.
func checkList(n int, what string) error {
	if n > listMax {
		return im.ErrArgs.With("more than %d %s", listMax, what)
	}
	return nil
}

// page returns the elements of s on page number (from 1) of size show.
func page[T any](s []T, number, show int32) []T {
	if number < 1 || show < 1 {
		return nil
	}
	lo := int64(number-1) * int64(show)
	if lo >= int64(len(s)) {
		return nil
	}
	return slices.Clone(s[lo:min(lo+int64(show), int64(len(s)))])
}
