package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"gannet/api"
	"gannet/core"
	"gannet/gateway"
	"gannet/storage"
)

const (
	failedDrain = 2 * time.Second                   // for answering with errors after the store failed
	stopGrace   = storage.CloseWait + 5*time.Second // beyond the drain, for closing what is open
)

var (
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
)

// serve runs the server until a signal or a failure ends it. A drain that was
// asked for is no error.
func serve(c *Config, stdout, stderr io.Writer) error {
	log := newLogger(c.Log, stderr)
	tuneGC(c.GC)
	ended := make(chan struct{})
	defer close(ended)
	go newReleaser().run(ended)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	fatal := make(chan error, 1)
	n := newNode(c, log, func(err error) {
		select {
		case fatal <- err:
		default: // the first cause counts
		}
	})
	drain := time.Duration(c.Limits.DrainSeconds) * time.Second
	err := n.start()
	if err == nil {
		n.banner(stdout)
		select {
		case err = <-fatal:
		case s := <-signals:
			log.Info("draining", "signal", s.String(), "seconds", c.Limits.DrainSeconds)
		}
	}
	if err != nil {
		drain = failedDrain
	}
	go func() {
		s := <-signals
		fmt.Fprintln(stderr, "gannet: second signal, ending at once")
		os.Exit(128 + int(s.(syscall.Signal)))
	}()
	late := time.AfterFunc(drain+stopGrace, func() {
		fmt.Fprintln(stderr, "gannet: the shutdown hangs, ending at once")
		os.Exit(1)
	})
	defer late.Stop()
	return errors.Join(err, n.stop(drain))
}

func newLogger(l Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// node is one running server: the rooms, wired. Not safe for concurrent use but
// for ready.
type node struct {
	// Immutable after newNode.
	config  *Config
	log     *slog.Logger
	onFatal func(error) // any goroutine; stops the process

	// Set by start, in this order; nil what did not come up.
	store   *storage.Store
	core    *core.Core
	gateway *gateway.Server
	api     *api.Server
	ops     *api.Ops

	notReady atomic.Pointer[error] // why no work is taken; nil while it is
}

func newNode(c *Config, log *slog.Logger, onFatal func(error)) *node {
	n := &node{config: c, log: log}
	n.onFatal = func(err error) {
		n.notReady.Store(&err)
		onFatal(err)
	}
	n.notReady.Store(&errStarting)
	return n
}

// start opens the store and brings the rooms up. After an error stop takes down
// what came up.
func (n *node) start() error {
	c := n.config
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	var err error
	n.store, err = storage.Open(storage.Options{
		Dir: c.Data, CacheBytes: c.Store.CacheBytes, Logger: n.log, OnFatal: n.onFatal,
	})
	if err != nil {
		return err
	}
	n.core, err = core.New(core.Options{
		Store: n.store, Logger: n.log,
		Secret: c.Secret, Secrets: c.Secrets, KeyV2: c.TokenKeyV2, Admins: c.Admins,
		TokenLife:  time.Duration(c.TokenDays) * 24 * time.Hour,
		TokenLife2: time.Duration(c.TokenDaysV2) * 24 * time.Hour,
		Policy:     core.LoginPolicy(c.MultiLogin.Policy), MaxTokens: c.MultiLogin.MaxNumOneEnd,
		FriendVerify: c.FriendVerify,
	})
	if err != nil {
		return err
	}
	gw, err := gateway.New(gateway.Options{
		Addr: c.WS, Core: n.core, Logger: n.log, OnFatal: n.onFatal, MaxConns: c.Limits.MaxConnections,
		MaxFrameBytes: c.Limits.MaxFrameBytes, OutboundBytes: c.Limits.OutboundBytes,
	})
	if err != nil {
		return err
	}
	n.core.Start(gw)
	if err := gw.Start(); err != nil {
		return err
	}
	n.gateway = gw
	if n.api, err = api.New(api.Options{Core: n.core, Logger: n.log, BodyBytes: c.Limits.HTTPBodyBytes}); err != nil {
		return err
	}
	if err := n.api.Listen(c.API, core.DialectV3); err != nil {
		return err
	}
	if c.APIV2 != "" {
		if err := n.api.Listen(c.APIV2, core.DialectV2); err != nil {
			return err
		}
	}
	if c.Ops != "" {
		n.ops, err = api.NewOps(api.OpsOptions{
			Addr: c.Ops, Logger: n.log, Ready: n.ready, Rooms: newCollector(n.snapshot),
		})
		if err != nil {
			return err
		}
	}
	n.notReady.CompareAndSwap(&errStarting, nil)
	return nil
}

func (n *node) ready() error {
	if why := n.notReady.Load(); why != nil {
		return *why
	}
	return nil
}

func (n *node) snapshot() snapshot {
	return snapshot{gateway: n.gateway.Stats(), api: n.api.Stats(), core: n.core.Stats(), storage: n.store.Stats()}
}

// stop ends the rooms in the order that lets each finish what it has: sessions
// are told to come back, API requests are answered, deliveries done, then the
// store closes. What has not finished after drain is logged and left behind: the
// store then closes under it, so that it fails instead of being half done.
func (n *node) stop(drain time.Duration) error {
	n.notReady.CompareAndSwap(nil, &errDraining)
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	finished := true
	if n.gateway != nil {
		finished = n.finished("gateway", n.gateway.Shutdown(ctx))
	}
	if n.api != nil {
		finished = n.finished("api", n.api.Shutdown(ctx)) && finished
	}
	if n.core != nil && finished {
		n.core.Close()
	}
	if n.ops != nil {
		cancel() // a profile may run for long
		n.finished("ops", n.ops.Shutdown(ctx))
	}
	if n.store == nil {
		return nil
	}
	if err := n.store.Close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	n.log.Info("stopped")
	return nil
}

func (n *node) finished(room string, err error) bool {
	if err != nil {
		n.log.Warn("did not finish in time", "room", room, "error", err)
	}
	return err == nil
}
