//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"time"

	"gannet/internal/wire"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// idleOptions are the flags of idle.
type idleOptions struct{ conns int }

func (o *idleOptions) define(fs *flag.FlagSet) {
	fs.IntVar(&o.conns, "conns", 1000, "connections, each of its own user")
}

func (o *idleOptions) check() error {
	if o.conns < 1 {
		return errors.New("--conns must be at least 1")
	}
	return nil
}

// idleResult is what idle measured. "Before" is with all users registered and no
// connection open.
type idleResult struct {
	Connections       int      `json:"connections"`
	ConnectSeconds    float64  `json:"connectSeconds"`
	ConnectsPerSecond float64  `json:"connectsPerSecond"`
	Handshake         *latency `json:"handshake"` // from connect() to the answer to the upgrade
	ConnectCPU        float64  `json:"serverCpuUsPerConnect"`
	HoldSeconds       float64  `json:"holdSeconds"`
	Open              int      `json:"openAtEnd"`
	Pings             int64    `json:"pings"`
	Pongs             int64    `json:"pongs"`
	RSSBefore         int64    `json:"serverRssBeforeBytes"`
	RSSConnected      int64    `json:"serverRssConnectedBytes"`
	RSSAfter          int64    `json:"serverRssAfterBytes"`
	RSSPerConn        float64  `json:"serverRssPerConnectionBytes"`
	CoresAtRest       float64  `json:"serverCoresAtRest"`
	HeapBefore        *heap    `json:"heapBefore,omitempty"`
	HeapAfter         *heap    `json:"heapAfter,omitempty"`
	ObjectsPerConn    float64  `json:"heapObjectsPerConnection,omitempty"`
	HeapPerConn       float64  `json:"heapBytesPerConnection,omitempty"`
	Cores             float64  `json:"generatorCores"`
}

func (i *idleResult) print(row rower) {
	row("connections", "%d in %.2f s, %.0f/s, %.1f µs server CPU each", i.Connections, i.ConnectSeconds, i.ConnectsPerSecond, i.ConnectCPU)
	i.Handshake.print(row, "handshake")
	row("held", "%.1f s, %d open at the end, %d pings, %d pongs", i.HoldSeconds, i.Open, i.Pings, i.Pongs)
	row("server RSS", "%s → %s → %s, %.0f bytes per connection", mib(i.RSSBefore), mib(i.RSSConnected), mib(i.RSSAfter), i.RSSPerConn)
	if i.HeapAfter != nil {
		row("server heap", "%.1f objects and %.0f bytes per connection", i.ObjectsPerConn, i.HeapPerConn)
	}
	row("server at rest", "%.2f %% of a core", 100*i.CoresAtRest)
	row("generator", "%.2f %% of a core at rest", 100*i.Cores)
}

// idler opens connections and holds them.
type idler struct {
	r          *runner
	loop       *loop
	out        *idleResult
	handshakes *hdrhistogram.Histogram
	faults     faults
	said       int64 // nanos of the last progress line
}

func runIdle(ctx context.Context, r *runner, o *idleOptions) error {
	if err := fitDescriptors(o.conns); err != nil {
		return err
	}
	users, err := r.api.accounts(ctx, r.opts.prefix, o.conns, r.sdk.platform)
	if err != nil {
		return err
	}
	i := &idler{r: r, out: &idleResult{}, handshakes: newHistogram()}
	if i.loop, err = newLoop(r.addr, i, r.opts.seed); err != nil {
		return err
	}
	defer i.loop.close()
	i.loop.handshake = func(ns int64) { record(i.handshakes, ns) }
	if i.out.HeapBefore, err = i.heap(ctx); err != nil {
		return err
	}
	before := r.usage()
	i.out.RSSBefore = before.rss
	if err := i.connect(ctx, users); err != nil {
		return err
	}
	connected := r.usage()
	i.out.RSSConnected = connected.rss
	if i.out.Connections > 0 {
		i.out.ConnectCPU = (connected.cpu - before.cpu).Seconds() * 1e6 / float64(i.out.Connections)
	}
	if err := i.hold(ctx); err != nil {
		return err
	}
	if i.out.HeapAfter, err = i.heap(ctx); err != nil {
		r.report.warn("heap figures: %v", err)
	}
	i.finish(o)
	return nil
}

func (i *idler) heap(ctx context.Context) (*heap, error) {
	if i.r.opts.ops == "" {
		return nil, nil
	}
	h, err := readHeap(context.WithoutCancel(ctx), i.r.opts.ops)
	return &h, err
}

// connect dials every user, dialers at a time, and goes on past those that fail.
func (i *idler) connect(ctx context.Context, users []account) error {
	began := nanos()
	for (len(i.loop.conns) < len(users) || i.loop.dialing > 0) && ctx.Err() == nil {
		for len(i.loop.conns) < len(users) && i.loop.dialing < i.r.opts.dialers {
			if err := i.loop.dial(i.r.sdk.target(i.r.path, &users[len(i.loop.conns)])); err != nil {
				return err
			}
		}
		if err := i.round(); err != nil {
			return err
		}
	}
	i.out.Connections = int(i.handshakes.TotalCount())
	i.out.ConnectSeconds = float64(nanos()-began) / 1e9
	i.out.ConnectsPerSecond = float64(i.out.Connections) / i.out.ConnectSeconds
	return nil
}

// hold keeps the connections for the run's duration.
func (i *idler) hold(ctx context.Context) error {
	began, server, own := nanos(), i.r.usage(), ownCPU()
	end := began + int64(i.r.opts.duration)
	for nanos() < end && i.loop.open > 0 && ctx.Err() == nil {
		if err := i.round(); err != nil {
			return err
		}
	}
	after := i.r.usage()
	took := float64(nanos()-began) / 1e9
	i.out.HoldSeconds, i.out.RSSAfter = took, after.rss
	i.out.CoresAtRest = (after.cpu - server.cpu).Seconds() / took
	i.out.Cores = (ownCPU() - own).Seconds() / took
	return nil
}

// round is one round of the loop and, each second, a line.
func (i *idler) round() error {
	if err := i.loop.poll(nanos() + wakeMax); err != nil {
		return err
	}
	if i.loop.now-i.said >= int64(time.Second) {
		i.said = i.loop.now
		u := i.r.usage()
		i.r.progress("%6d open  %d dialing  %d lost  %d pings  %d pongs  server %s", i.loop.open, i.loop.dialing,
			i.faults.total(), i.loop.pings, i.loop.pongs, mib(u.rss))
	}
	return nil
}

func (i *idler) finish(o *idleOptions) {
	out, report := i.out, i.r.report
	report.Idle = out
	out.Handshake = summarise(i.handshakes)
	out.Open, out.Pings, out.Pongs = i.loop.open, i.loop.pings, i.loop.pongs
	if n := float64(out.Open); n > 0 {
		out.RSSPerConn = float64(out.RSSAfter-out.RSSBefore) / n
		if out.HeapBefore != nil && out.HeapAfter != nil {
			out.ObjectsPerConn = float64(out.HeapAfter.Objects-out.HeapBefore.Objects) / n
			out.HeapPerConn = float64(out.HeapAfter.Bytes-out.HeapBefore.Bytes) / n
		}
	}
	report.setFaults(&i.faults)
	report.Complete = out.Open == o.conns && out.HoldSeconds >= i.r.opts.duration.Seconds()
	if !report.Complete {
		report.warn("%d of %d connections held for %.1f s", out.Open, o.conns, out.HoldSeconds)
	}
}

func (i *idler) opened(*conn) {}

func (i *idler) closed(c *conn, err error) {
	i.faults.add(faultDisconnected, "connection %d: %v", c.id, err)
}

func (i *idler) message(c *conn, payload []byte) {
	r, err := wire.DecodeResponse(payload, i.r.sdk.variant, frameMax)
	switch {
	case err != nil:
		i.faults.add(faultBadFrame, "connection %d: %v", c.id, err)
	case r.ReqIdentifier == wire.PushKick:
		i.faults.add(faultDisconnected, "connection %d: kicked; does another generator use the same --users-prefix?", c.id)
	}
}
