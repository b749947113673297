package gateway

// wheelSize is the number of ticks a wheel looks ahead. Later deadlines wait in
// the farthest bucket and are put back when it comes round.
const wheelSize = 64

// wheel wakes sessions at ticks of their loop. It keeps one entry per session and
// does not move it when a frame comes: the entry that fires looks at the session
// and goes back in for the deadline that holds then. An entry of a session that
// ended is dropped when it fires. Owned by the loop.
type wheel struct {
	buckets [wheelSize][]uint64 // session IDs
	at      uint32              // the last tick that fired
}

// add makes id fire at tick due, or the next tick if that is past.
func (w *wheel) add(id uint64, due uint32) {
	due = min(max(due, w.at+1), w.at+wheelSize-1)
	b := &w.buckets[due%wheelSize]
	*b = append(*b, id)
}

// advance fires every entry due up to tick now. fire may add entries.
func (w *wheel) advance(now uint32, fire func(id uint64)) {
	for w.at < now {
		w.at++
		b := &w.buckets[w.at%wheelSize]
		ids := *b
		*b = nil
		for _, id := range ids {
			fire(id)
		}
		if *b == nil {
			*b = ids[:0]
		}
	}
}

// stall is a connection whose socket did not take all it was given: a frame for
// the wheel to judge. Everything up to target must have left by tick due.
type stall struct {
	id     uint64
	target uint64
	due    uint32
}

// tick is the loop's clock: it moves time forward, wakes what is due, and judges
// the connections that do not drain.
func (l *loop) tick() {
	l.now, l.later = l.srv.ticks(), true
	l.wheel.advance(l.now, func(id uint64) {
		if s := l.slab.find(id); s != nil {
			l.expire(s)
		}
	})
	kept := l.stalls[:0]
	for _, st := range l.stalls {
		if s := l.slab.find(st.id); s != nil && l.stillStalled(s, &st) {
			kept = append(kept, st)
		}
	}
	l.stalls = kept
	l.finishTask(0)
}

// expire judges a session whose wheel entry fired.
func (l *loop) expire(s *session) {
	o, silent := &l.srv.ticksOf, l.now-s.seen
	switch {
	case s.phase == phaseClosing:
		if silent >= o.linger {
			l.cut(s)
			return
		}
		l.wheel.add(s.id, s.seen+o.linger)
	case s.phase == phaseHandshake:
		if silent >= o.handshake {
			l.end(s, endHandshakeTimeout)
			return
		}
		l.wheel.add(s.id, l.now+min(o.handshake-silent, o.ping)) // it may log in meanwhile
	case silent >= o.read:
		l.end(s, endHeartbeat)
	case silent < o.ping:
		l.wheel.add(s.id, s.seen+o.ping)
	default:
		if !s.pinged {
			s.pinged = true
			l.send(s, pingFrame)
		}
		l.wheel.add(s.id, min(s.seen+o.read, l.now+o.ping))
	}
}

// stillStalled updates st and reports whether it must be looked at again.
func (l *loop) stillStalled(s *session, st *stall) bool {
	left := uint64(s.conn.OutboundBuffered())
	switch {
	case left == 0:
		s.stalled = false
		if s.phase == phaseClosing {
			l.shutWrite(s)
		}
		return false
	case s.handed-left >= st.target:
		st.target, st.due = s.handed, l.now+l.srv.ticksOf.write
	case l.now >= st.due && s.phase == phaseOpen:
		l.end(s, endStalled)
		return false
	}
	return true
}
