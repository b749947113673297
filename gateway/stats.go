package gateway

import (
	"sync/atomic"

	"gannet/internal/im"
)

// counters are one loop's. Written mostly by the loop, read by Stats.
type counters struct {
	sessions  atomic.Int64
	accepted  atomic.Uint64
	framesIn  atomic.Uint64
	framesOut atomic.Uint64
	bytesIn   atomic.Uint64
	bytesOut  atomic.Uint64
	requests  atomic.Uint64
	endings   [endings]atomic.Uint64
	drops     [drops]atomic.Uint64
	refused   [len(handshakeErrors)]atomic.Uint64
}

// handshakeErrors are the errors a handshake can be answered with. Anything else
// is answered as the first.
var handshakeErrors = [...]*im.Error{
	im.ErrInternal, im.ErrConnOverMax, im.ErrConnArgs, im.ErrTokenExpired, im.ErrTokenInvalid,
	im.ErrTokenMalformed, im.ErrTokenNotValidYet, im.ErrTokenUnknown, im.ErrTokenKicked, im.ErrTokenNotExist,
}

// Stats are the gateway's figures at one moment. Counters run from the start of
// the process.
type Stats struct {
	MaxConns    int   // connections allowed by Options and the descriptor limit
	Connections int64 // open now, with handshakes under way and closing ones
	Sessions    int64 // logged in now
	Accepted    uint64

	FramesIn, FramesOut uint64
	BytesIn, BytesOut   uint64
	Requests            uint64            // envelopes accepted as a known command
	HandshakeErrors     map[int]uint64    // by errCode
	Endings             map[string]uint64 // connections ended, by reason
	Drops               map[string]uint64 // frames and requests not carried out, by reason

	InFlight    int64 // requests queued or running
	QueuedBytes int64 // their bytes
	LaneQueue   int   // requests waiting in the lanes of 1003
	ReadQueue   int   // requests waiting for a reader
	InboxBytes  int64 // frames waiting for a loop
}

// Stats returns the current figures.
func (s *Server) Stats() Stats {
	st := Stats{
		MaxConns: s.maxConns, Connections: s.conns.Load(),
		HandshakeErrors: make(map[int]uint64), Endings: make(map[string]uint64), Drops: make(map[string]uint64),
		InFlight: s.inFlight.Load(), QueuedBytes: s.queued.Load(), ReadQueue: len(s.reads),
	}
	for _, lane := range s.lanes {
		st.LaneQueue += len(lane)
	}
	for _, l := range s.loops {
		c := &l.stats
		st.Sessions += c.sessions.Load()
		st.Accepted += c.accepted.Load()
		st.FramesIn += c.framesIn.Load()
		st.FramesOut += c.framesOut.Load()
		st.BytesIn += c.bytesIn.Load()
		st.BytesOut += c.bytesOut.Load()
		st.Requests += c.requests.Load()
		for e := endPeerClosed; e < endings; e++ {
			st.Endings[e.String()] += c.endings[e].Load()
		}
		for d := range drops {
			st.Drops[d.String()] += c.drops[d].Load()
		}
		for i, e := range handshakeErrors {
			st.HandshakeErrors[e.Code] += c.refused[i].Load()
		}
		l.mu.Lock()
		st.InboxBytes += l.inboxSize
		l.mu.Unlock()
	}
	return st
}
