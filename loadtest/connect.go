//go:build linux

package main

import (
	"fmt"
	"time"

	"gannet/internal/wire"
)

// sdkBackoff is how long the SDK waits after its first, second, … failed attempt to
// connect; then it starts over.
var sdkBackoff = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}

// connector is the script of connect. It either makes connections one after the
// other, so many at a time, or drops all and sees them come back.
type connector struct {
	w        *worker
	todo     int // connections still to start
	made     int
	next     int   // user who connects next
	dropped  int64 // nanos at which a storm began; 0 before
	failures []int // by slot: failed attempts since
	waiting  []attempt
	earliest int64 // of waiting
}

// attempt is a slot that connects again at a time.
type attempt struct {
	slot int
	at   int64
}

func newConnector(w *worker) script {
	c := &connector{w: w, failures: make([]int, len(w.order.Users)), earliest: never}
	c.todo = (w.opts.conns*(w.order.Index+1))/w.order.Workers - w.opts.conns*w.order.Index/w.order.Workers
	return c
}

func (c *connector) connects() bool { return !c.w.opts.storm }

func (c *connector) tick(now int64) (int64, bool) {
	if c.w.opts.storm {
		return c.storm(now)
	}
	dialers := max(1, c.w.opts.dialers/c.w.order.Workers)
	for c.todo > 0 && c.w.loop.dialing < dialers {
		if old := c.w.loop.conns[c.next]; old != nil && old.state != stateClosed {
			break // more dialers than users
		}
		c.dial(c.next)
		c.next = (c.next + 1) % len(c.w.order.Users)
		c.todo--
	}
	return now + wakeMax, c.todo == 0 && c.w.loop.dialing == 0
}

// dial starts a connection; a system call that fails is a failed attempt.
func (c *connector) dial(slot int) {
	if err := c.w.dial(slot); err != nil {
		c.retry(slot, fmt.Errorf("dial: %w", err))
	}
}

// storm drops all connections when measuring begins, and lets all come back.
func (c *connector) storm(now int64) (int64, bool) {
	if now < c.w.plan.Measure {
		return c.w.plan.Measure, false
	}
	if c.dropped == 0 {
		for _, old := range c.w.loop.conns {
			if old.state != stateClosed {
				c.w.loop.abort(old)
			}
		}
		c.dropped = nanos()
		for slot := range c.w.loop.conns {
			c.dial(slot)
		}
	}
	if c.earliest <= now {
		due := c.waiting
		c.waiting, c.earliest = nil, never
		for _, a := range due {
			if a.at > now {
				c.waiting, c.earliest = append(c.waiting, a), min(c.earliest, a.at)
				continue
			}
			c.dial(a.slot)
		}
	}
	return min(c.earliest, now+wakeMax), c.made == len(c.w.loop.conns)
}

func (c *connector) opened(conn *conn) {
	switch {
	case c.w.opts.storm && c.dropped == 0: // the connections to be lost
	case c.w.opts.storm:
		c.made++
		c.w.time(tBack, c.dropped, c.w.loop.now)
	case !c.w.opts.keep:
		c.w.loop.abort(conn)
	}
}

func (c *connector) closed(conn *conn, err error) bool {
	if !c.w.opts.storm || c.dropped == 0 || conn.id < 0 {
		return false
	}
	c.retry(int(conn.id), err)
	return true
}

// retry lets slot try again, at once or as late as the SDK would.
func (c *connector) retry(slot int, err error) {
	c.w.tally.Counts[nFailed]++
	at := c.w.loop.now
	if !c.w.opts.storm {
		c.w.faults.add(faultDisconnected, "%s: %v", c.w.order.Users[slot].UserID, err)
		return
	}
	if c.w.opts.backoff {
		at += int64(sdkBackoff[c.failures[slot]%len(sdkBackoff)])
	}
	c.failures[slot]++
	c.waiting, c.earliest = append(c.waiting, attempt{slot, at}), min(c.earliest, at)
}

func (c *connector) writes(int) bool               { return true }
func (c *connector) answer(*conn, *wire.Response)  {}
func (c *connector) push(*conn, string, *wire.Msg) {}
func (c *connector) settled() bool                 { return true }
func (c *connector) finish() {
	if c.w.opts.storm && c.dropped != 0 && c.made < len(c.w.loop.conns) {
		c.w.faults.add(faultDisconnected, "%d clients of a storm are not back", len(c.w.loop.conns)-c.made)
	}
}
