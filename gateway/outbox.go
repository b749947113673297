package gateway

import (
	"math/bits"

	"gannet/core"
)

// The bounds of one task on a loop: it writes to so many sockets (about 1.5 ms of
// kernel time) and takes so many frames out of the inbox before the loop reads its
// sockets again. No more than lineFrames wait in the line; the rest stays in the
// inbox.
const (
	taskSockets = 256
	taskFrames  = 4096
	lineFrames  = 64 << 10
)

// work is what another goroutine asks of a loop. One of round, frame, kick and
// closeAll is set.
type work struct {
	round    []core.Delivery // one round of Deliver, shared by its loops, read-only
	frame    []byte          // an answer to the session id
	id       uint64
	kick     []core.SessionRef
	end      ending // of session id after its frame; of every session with closeAll
	closeAll bool
	size     int64
}

// roundSize is what a round costs an inbox besides the frames' bytes.
func roundSize(round []core.Delivery) (size int64) {
	for i := range round {
		size += int64(len(round[i].Frame)) + 32*int64(len(round[i].To))
	}
	return size
}

// Deliver implements core.Sink. Each loop concerned gets the whole round and picks
// its own sessions: that needs no allocation and one task per loop, and rounds of
// one caller stay in order.
func (s *Server) Deliver(round []core.Delivery) {
	var loops uint64
	for i := range round {
		for j := range round[i].To {
			loops |= 1 << (round[i].To[j].ID >> 56 & (maxLoops - 1))
		}
	}
	w := work{round: round, size: roundSize(round)}
	for ; loops != 0; loops &= loops - 1 {
		if at := bits.TrailingZeros64(loops); at < len(s.loops) {
			s.loops[at].post(w)
		}
	}
}

// Close implements core.Sink. LastKicked is the only last frame there is.
func (s *Server) Close(to []core.SessionRef, _ core.LastFrame) {
	var loops uint64
	for i := range to {
		loops |= 1 << (to[i].ID >> 56 & (maxLoops - 1))
	}
	for ; loops != 0; loops &= loops - 1 {
		if at := bits.TrailingZeros64(loops); at < len(s.loops) {
			s.loops[at].post(work{kick: to})
		}
	}
}

// answer sends a frame to one session, which then ends if end says so.
func (s *Server) answer(id uint64, frame []byte, end ending) {
	s.loops[loopOf(id)].post(work{frame: frame, id: id, end: end, size: int64(len(frame))})
}

// post queues w and wakes the loop if it is not awake already. It does not block.
// When the inbox is full, frames are dropped and counted; kicks and closes, which
// are bounded by the sessions there are, always get in.
func (l *loop) post(w work) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed || l.events == nil:
		l.stats.drops[dropGone].Add(1)
		return
	case l.inboxSize+w.size > l.srv.opt.InboxBytes && w.kick == nil && !w.closeAll:
		l.stats.drops[dropInbox].Add(1)
		return
	}
	l.inbox = append(l.inbox, w)
	l.inboxSize += w.size
	if !l.scheduled {
		l.scheduled = true
		_ = l.events.Execute(l.srv.ctx, l.drainRun)
	}
}

// drain does queued work up to the bounds of one task.
func (l *loop) drain() {
	l.later = true
	l.quota = min(taskFrames, lineFrames-l.outUsed)
	for l.quota > 0 {
		if l.pos == len(l.batch) {
			if !l.refill() {
				break
			}
		} else if l.step(&l.batch[l.pos]) {
			l.batch[l.pos] = work{}
			l.pos, l.delivery, l.ref = l.pos+1, 0, 0
		}
	}
	l.finishTask(taskSockets)
}

// finishTask ends a task whose frames went to the line: it writes to the first
// sockets there. If work is left, the pump queues the next task: one queued from
// inside this one would run before the loop looks at its sockets again.
func (l *loop) finishTask(sockets int) {
	for ; sockets > 0 && l.lineAt < len(l.line); sockets-- {
		s := l.line[l.lineAt]
		l.line[l.lineAt] = nil
		l.lineAt++
		s.inLine = false
		l.write(s)
	}
	if l.lineAt == len(l.line) {
		l.line, l.lineAt = l.line[:0], 0
	} else if l.lineAt >= lineFrames {
		l.line, l.lineAt = append(l.line[:0], l.line[l.lineAt:]...), 0
	}
	l.settle()
	l.later = false
	if len(l.line) == 0 && l.pos == len(l.batch) {
		return
	}
	l.mu.Lock()
	l.scheduled = true
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// refill takes the inbox as the next batch. When it is empty, the next post wakes
// the loop again.
func (l *loop) refill() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inboxSize -= l.batchSize
	l.batchSize = l.inboxSize
	if cap(l.batch) > taskFrames {
		l.batch = nil
	}
	l.batch, l.inbox, l.pos = l.inbox, l.batch[:0], 0
	l.scheduled = len(l.batch) > 0
	return l.scheduled
}

// step carries w out, or a part of it within the bounds of the task, and reports
// whether it is done.
func (l *loop) step(w *work) bool {
	if w.round != nil {
		return l.stepRound(w.round)
	}
	switch {
	case w.closeAll:
		l.slab.all(func(s *session) { l.end(s, w.end) })
	case w.kick != nil:
		for i := range w.kick {
			if loopOf(w.kick[i].ID) == int(l.index) {
				l.kick(w.kick[i])
			}
		}
	default:
		l.deliver(w.id, w.frame)
		if s := l.slab.find(w.id); s != nil && w.end != endNone {
			l.end(s, w.end)
		}
	}
	return true
}

func (l *loop) stepRound(round []core.Delivery) bool {
	for ; l.delivery < len(round); l.delivery, l.ref = l.delivery+1, 0 {
		d := &round[l.delivery]
		for ; l.ref < len(d.To); l.ref++ {
			if id := d.To[l.ref].ID; loopOf(id) == int(l.index) && id != 0 {
				if l.quota <= 0 {
					return false
				}
				l.deliver(id, d.Frame)
			}
		}
	}
	return true
}

// pump queues the next task of a drain that stopped short, until more is closed.
func (l *loop) pump() {
	defer close(l.pumped)
	for range l.more {
		l.mu.Lock()
		if !l.closed {
			_ = l.events.Execute(l.srv.ctx, l.drainRun)
		}
		l.mu.Unlock()
	}
}
