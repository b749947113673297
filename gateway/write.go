package gateway

import (
	"syscall"

	"gannet/internal/wire"
)

const (
	scratchBytes = 64 << 10 // frames of one session are joined up to this size for one write
	smallBytes   = 1 << 20  // a larger arena of own frames is not kept
)

// outFrame is one frame that waits for its write, in a list per session.
type outFrame struct {
	frame []byte
	next  int32
}

// send notes frame for s. The frame may be shared and is not changed.
func (l *loop) send(s *session, frame []byte) {
	if s.phase == phaseClosing || s.phase == phaseFree {
		l.stats.drops[dropGone].Add(1)
		return
	}
	if int(s.waiting)+len(frame)+s.conn.OutboundBuffered() > l.srv.opt.OutboundBytes {
		l.stats.drops[dropSlow].Add(1)
		l.end(s, endSlow)
		return
	}
	at := l.place(frame)
	if s.first == 0 {
		s.first = at
	} else {
		l.out[s.last].next = at
	}
	s.last = at
	s.waiting += int32(len(frame))
	l.stats.framesOut.Add(1)
	l.touch(s)
}

// place puts frame into a free place of out.
func (l *loop) place(frame []byte) int32 {
	l.outUsed++
	at := l.outFree
	if at == 0 {
		l.out = append(l.out, outFrame{frame: frame})
		return int32(len(l.out) - 1)
	}
	l.outFree = l.out[at].next
	l.out[at] = outFrame{frame: frame}
	return at
}

// take empties place at and returns its frame and its successor.
func (l *loop) take(at int32) (frame []byte, next int32) {
	l.outUsed--
	frame, next = l.out[at].frame, l.out[at].next
	l.out[at] = outFrame{next: l.outFree}
	l.outFree = at
	return frame, next
}

// forget drops the frames that wait for s.
func (l *loop) forget(s *session) {
	for at := s.first; at != 0; {
		_, at = l.take(at)
	}
	s.first, s.last, s.waiting = 0, 0, 0
}

// touch makes sure that s is written to.
func (l *loop) touch(s *session) {
	switch {
	case l.later && !s.inLine:
		s.inLine = true
		l.line = append(l.line, s)
	case !l.later && !s.dirty:
		s.dirty = true
		l.touched = append(l.touched, s)
	}
}

// sendBuilt notes a frame that build appends to the loop's arena, or to memory of
// its own when it must outlive the callback.
func (l *loop) sendBuilt(s *session, build func(dst []byte) []byte) {
	if l.later {
		l.send(s, build(nil))
		return
	}
	from := len(l.small)
	l.small = build(l.small)
	l.send(s, l.small[from:len(l.small):len(l.small)])
}

func (l *loop) sendClose(s *session, code uint16) {
	l.sendBuilt(s, func(dst []byte) []byte { return wire.AppendCloseFrame(dst, code, "") })
}

// settle ends a callback: the writes it owes, then the closes.
func (l *loop) settle() {
	for _, s := range l.touched {
		s.dirty = false
		l.write(s)
	}
	clear(l.touched)
	l.touched = l.touched[:0]
	if l.small = l.small[:0]; cap(l.small) > smallBytes {
		l.small = nil
	}
	for i := 0; i < len(l.doomed); i++ {
		if s := l.doomed[i]; s.conn != nil {
			_ = l.events.Close(s.conn)
		}
	}
	clear(l.doomed)
	l.doomed = l.doomed[:0]
}

// write hands the frames that wait for s to its connection, joined into as few
// writes as scratchBytes allows. A failing write closes the connection underneath,
// which frees s and forgets the rest.
func (l *loop) write(s *session) {
	if s.phase == phaseFree {
		return
	}
	for s.first != 0 {
		var frame []byte
		frame, s.first = l.take(s.first)
		if s.first != 0 && len(frame)+len(l.out[s.first].frame) <= scratchBytes {
			joined := append(l.scratch[:0], frame...)
			for s.first != 0 && len(joined)+len(l.out[s.first].frame) <= scratchBytes {
				frame, s.first = l.take(s.first)
				joined = append(joined, frame...)
			}
			frame, l.scratch = joined, joined
		}
		s.handed += uint64(len(frame))
		s.waiting -= int32(len(frame))
		l.stats.bytesOut.Add(uint64(len(frame)))
		_, _ = s.conn.Write(frame)
	}
	if s.phase == phaseFree {
		return
	}
	switch left := s.conn.OutboundBuffered(); {
	case left > 0 && !s.stalled:
		s.stalled = true
		l.stalls = append(l.stalls, stall{s.id, s.handed, l.now + l.srv.ticksOf.write})
	case left == 0 && s.phase == phaseClosing:
		l.shutWrite(s)
	}
}

// shutWrite says to the peer that nothing follows. The socket stays until the
// peer closes or the linger time is over: closing it while the peer's bytes are
// unread would make the kernel destroy what we wrote.
func (l *loop) shutWrite(s *session) {
	_ = syscall.Shutdown(s.conn.Fd(), syscall.SHUT_WR)
}
