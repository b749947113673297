package core

import "sync/atomic"

// counters are what core counts about itself.
type counters struct {
	sent         atomic.Uint64 // messages accepted
	repeated     atomic.Uint64 // resends answered from the first message
	refused      atomic.Uint64 // messages refused by a rule
	busy         atomic.Uint64 // messages refused because too much was in flight
	delivered    atomic.Uint64 // messages that went through a deliverer
	pushes       atomic.Uint64 // frames handed to the sink for receivers
	kicked       atomic.Uint64 // sessions ended by a newer login or by force
	kickOverflow atomic.Uint64 // logins refused because too many kicks were waiting
	marksLost    atomic.Uint64 // at-marks not set because too many jobs were waiting
}

// Stats is a snapshot of core's counters and sizes.
type Stats struct {
	Sent, Repeated, Refused, Busy uint64
	Delivered, Pushes             uint64
	Kicked, KickOverflow          uint64
	MarksLost                     uint64

	InFlightBytes int64 // decided, not yet delivered
	HotStates     int   // conversation states in memory
	Online        int   // users with at least one session
	Sessions      int
	Tokens        int // token states in memory
}

// Stats returns the present figures. It takes every shard's lock in turn.
func (c *Core) Stats() Stats {
	s := Stats{
		Sent: c.stats.sent.Load(), Repeated: c.stats.repeated.Load(), Refused: c.stats.refused.Load(),
		Busy: c.stats.busy.Load(), Delivered: c.stats.delivered.Load(), Pushes: c.stats.pushes.Load(),
		Kicked: c.stats.kicked.Load(), KickOverflow: c.stats.kickOverflow.Load(),
		MarksLost: c.stats.marksLost.Load(), Tokens: c.tokens.len(),
	}
	c.inFlight.mu.Lock()
	s.InFlightBytes = c.inFlight.max - c.inFlight.free
	c.inFlight.mu.Unlock()
	for i := range c.shards.all {
		sh := &c.shards.all[i]
		sh.mu.Lock()
		s.HotStates += len(sh.states)
		sh.mu.Unlock()
	}
	for i := range c.presence.parts {
		p := &c.presence.parts[i]
		p.mu.RLock()
		s.Online += len(p.online.first)
		s.Sessions += p.online.size
		p.mu.RUnlock()
	}
	return s
}
