package gateway

import (
	"context"
	"encoding/binary"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"

	"gannet/core"
	"gannet/internal/wire"
)

var pingFrame = wire.AppendControlFrame(nil, byte(ws.OpPing), nil)

// loop is the state of one event loop. Its goroutine (gnet's) owns all of it but
// the group under mu, and never waits: not for a disk, not for another loop.
//
// A callback (bytes came, a task runs, the clock ticks) only notes what is to be
// written and who ends. What a session's own bytes caused is written at the end
// of that callback. What others sent it waits in a line of sessions, of which each
// task writes to a few: the frames that come meanwhile leave in the same write,
// and no long list keeps the loop from reading.
type loop struct {
	// Immutable after New.
	srv      *Server
	index    uint8
	more     chan struct{} // tells the pump that drain stopped short
	pumped   chan struct{} // closed when the pump has ended
	drainRun gnet.Runnable
	tickRun  gnet.Runnable

	stats counters // atomic

	mu        sync.Mutex     // leaf; guards the next group
	events    gnet.EventLoop // nil until the first connection
	inbox     []work
	inboxSize int64 // bytes of inbox and batch, as Options.InboxBytes counts them
	scheduled bool  // drain will run, or the pump will make it run
	ticking   bool  // a tick is queued
	closed    bool  // the engine stops: nothing may be queued any more

	// Owned by the loop's goroutine.
	upgrade   *upgrade
	slab      slab
	wheel     wheel
	now       uint32 // ticks since the server started
	held      int    // bytes of incomplete messages of all its sessions
	stalls    []stall
	out       []outFrame // frames not yet written; place 0 is unused
	outFree   int32      // first free place, linked by next
	outUsed   int
	small     []byte // where a callback's own frames are built
	scratch   []byte
	touched   []*session // sessions to write to at the end of this callback
	line      []*session // line[lineAt:] are written to by drain, in turn
	lineAt    int
	later     bool       // this callback's frames go to line, not touched
	doomed    []*session // sessions to close without writing
	batch     []work     // taken from inbox; batch[pos:] is to be done
	batchSize int64
	pos       int
	delivery  int // progress inside batch[pos]
	ref       int
	quota     int // frames that this task may still take
}

func newLoop(srv *Server, index int) *loop {
	l := &loop{
		srv: srv, index: uint8(index), out: make([]outFrame, 1), upgrade: newUpgrade(srv),
		more: make(chan struct{}, 1), pumped: make(chan struct{}),
	}
	l.drainRun = gnet.RunnableFunc(func(context.Context) error { l.drain(); return nil })
	l.tickRun = gnet.RunnableFunc(func(context.Context) error {
		l.mu.Lock()
		l.ticking = false
		l.mu.Unlock()
		l.tick()
		return nil
	})
	return l
}

// open takes a new connection in, or returns false when it must be closed.
func (l *loop) open(c gnet.Conn) bool {
	s := l.slab.alloc(l.index)
	if s == nil {
		return false
	}
	l.now = l.srv.ticks()
	s.conn, s.seen = c, l.now
	c.SetContext(s)
	l.wheel.add(s.id, l.now+min(l.srv.ticksOf.handshake, l.srv.ticksOf.ping))
	return true
}

// traffic handles the bytes that came for s.
func (l *loop) traffic(c gnet.Conn, s *session) {
	defer func() {
		if p := recover(); p != nil {
			l.srv.log.Error("gateway: panic while reading a connection", "user", s.userID, "panic", p, "stack", string(debug.Stack()))
			l.end(s, endPanic)
		}
		l.settle()
	}()
	b, _ := c.Peek(-1)
	held := s.frames.held()
	n := l.consume(s, b)
	l.held += s.frames.held() - held
	if l.held > l.srv.opt.InboundBytes && s.frames.held() > 0 {
		l.end(s, endInboundFull)
	}
	l.stats.bytesIn.Add(uint64(n))
	if n > 0 {
		_, _ = c.Discard(n)
	}
}

// consume handles what is complete in b and returns how many bytes that was.
func (l *loop) consume(s *session, b []byte) (n int) {
	if s.phase == phaseHandshake {
		n = l.handshake(s, b)
	}
	for s.phase == phaseOpen && n < len(b) {
		used, ev, end := s.frames.next(b[n:], l.srv.opt.MaxFrameBytes)
		n += used
		switch {
		case end != endNone:
			l.end(s, end)
		case ev.op != 0:
			l.event(s, ev)
		case used == 0:
			return n
		}
	}
	if s.phase == phaseClosing {
		return len(b)
	}
	return n
}

// event handles one message or control frame.
func (l *loop) event(s *session, ev event) {
	l.stats.framesIn.Add(1)
	s.seen, s.pinged = l.now, false
	if !l.afford(s, len(ev.payload)) {
		l.end(s, endFlood)
		return
	}
	switch ev.op {
	case ws.OpBinary:
		l.request(s, ev.payload)
	case ws.OpText:
		l.text(s, ev.payload)
	case ws.OpPing:
		l.sendBuilt(s, func(dst []byte) []byte { return wire.AppendControlFrame(dst, byte(ws.OpPong), ev.payload) })
	case ws.OpClose:
		code := uint16(ws.StatusNormalClosure)
		if len(ev.payload) >= 2 {
			code = binary.BigEndian.Uint16(ev.payload)
		}
		l.sendClose(s, code)
		l.end(s, endPeerClosed)
	}
}

// afford charges s for a frame of n bytes and reports whether it keeps to
// Options.FloodBytes per tick. It bounds what one client can make the loop decode.
func (l *loop) afford(s *session, n int) bool {
	if s.spentTick != l.now {
		s.spentTick, s.spent = l.now, 0
	}
	s.spent += uint32(n + frameCost)
	return s.spent <= uint32(l.srv.opt.FloodBytes)
}

// frameCost is what a frame costs beside its bytes, in bytes' worth of work.
const frameCost = 256

// end begins the end of s: presence is told at once, the close frame is noted,
// and settle either lets it leave or closes the socket. Later calls do nothing.
func (l *loop) end(s *session, why ending) {
	if s.phase != phaseOpen && s.phase != phaseHandshake {
		return
	}
	rule := endingRules[why]
	if rule.code != 0 && s.phase == phaseOpen {
		l.sendClose(s, rule.code)
		if s.phase == phaseClosing { // too slow even for that
			return
		}
	}
	s.phase, s.why, s.seen = phaseClosing, why, l.now
	l.offline(s)
	if rule.flush {
		l.touch(s)
		l.wheel.add(s.id, l.now+l.srv.ticksOf.linger)
	} else {
		l.cut(s)
	}
}

// cut makes settle close the socket without writing more.
func (l *loop) cut(s *session) {
	l.forget(s)
	l.doomed = append(l.doomed, s)
}

// offline tells core, once per Connect.
func (l *loop) offline(s *session) {
	if s.online {
		s.online = false
		l.stats.sessions.Add(-1)
		l.srv.core.Disconnect(s.userID, s.ref())
	}
}

// gone frees the slot of a connection that gnet has closed.
func (l *loop) gone(s *session) {
	why := s.why
	if why == endNone {
		why = endPeerGone
	}
	l.stats.endings[why].Add(1)
	l.offline(s)
	l.held -= s.frames.held()
	if l.srv.log.Enabled(context.Background(), slog.LevelDebug) {
		l.srv.log.Debug("gateway: connection ended", "user", s.userID, "reason", why.String())
	}
	l.forget(s)
	dirty, inLine := s.dirty, s.inLine
	l.slab.release(s)
	s.dirty, s.inLine = dirty, inLine // the lists still hold the slot
}

// deliver notes frame for the session id, if it still lives.
func (l *loop) deliver(id uint64, frame []byte) {
	l.quota--
	if s := l.slab.find(id); s != nil && s.phase == phaseOpen {
		l.send(s, frame)
	} else {
		l.stats.drops[dropGone].Add(1)
	}
}

// kick tells a session that another login took its place, and ends it.
func (l *loop) kick(ref core.SessionRef) {
	s := l.slab.find(ref.ID)
	if s == nil || s.phase != phaseOpen {
		return
	}
	l.sendBuilt(s, func(dst []byte) []byte {
		return wire.AppendResponse(dst, s.variant, &wire.Response{ReqIdentifier: wire.PushKick})
	})
	l.end(s, endKicked)
}
