//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// What a worker hears from its connections.

func (w *worker) opened(c *conn) {
	w.tally.Counts[nConnected]++
	if w.phase == phaseConnect || w.plan.measured(c.dialed) {
		w.tally.Times[tHandshake].record(w.loop.now - c.dialed)
	}
	if w.script != nil {
		w.script.opened(c)
	}
}

func (w *worker) closed(c *conn, err error) {
	if w.script != nil && w.script.closed(c, err) {
		return
	}
	w.faults.add(faultDisconnected, "%s: %v", w.order.Users[c.id].UserID, err)
	if w.phase == phaseConnect && len(w.threads) > 0 {
		w.fatal = fmt.Errorf("%s: %w", w.order.Users[c.id].UserID, err)
	}
	for _, t := range w.byMember[c.id] {
		if !t.dead {
			t.dead = true
			w.alive--
		}
	}
}

// message is one message from the server.
func (w *worker) message(c *conn, payload []byte) {
	slot := w.memo.slot(payload)
	if !slot.holds(payload) {
		r, err := wire.DecodeResponse(payload, w.sdk.variant, frameMax)
		switch {
		case err != nil:
			w.faults.add(faultBadFrame, "%s: %v", w.order.Users[c.id].UserID, err)
			return
		case r.ReqIdentifier == wire.ReqSendMsg:
			w.answer(c, &r)
			return
		case r.ReqIdentifier == wire.PushKick:
			w.faults.add(faultDisconnected, "%s: kicked; does another generator use the same --users-prefix?", w.order.Users[c.id].UserID)
			return
		case r.ReqIdentifier != wire.PushMsg:
			if w.script == nil {
				w.faults.add(faultBadFrame, "%s: identifier %d", w.order.Users[c.id].UserID, r.ReqIdentifier)
				return
			}
			w.script.answer(c, &r)
			return
		}
		slot.hold(payload, w.examine(r.Data))
	}
	for i := range slot.parts {
		w.push(c, &slot.parts[i])
	}
}

// answer is the response to a message of the plan.
func (w *worker) answer(c *conn, r *wire.Response) {
	t, n := w.messageOf(c, r.MsgIncr)
	if t == nil {
		if w.script == nil {
			w.faults.add(faultNeverSent, "%s: answer to msgIncr %q", w.order.Users[c.id].UserID, r.MsgIncr)
			return
		}
		w.script.answer(c, r)
		return
	}
	defer w.fill(t)
	if r.ErrCode != 0 {
		w.tally.refuse(r.ErrCode, 1)
		t.refuse(n)
		if w.interval == 0 && t.retryAt == 0 {
			t.retryAt = w.loop.now + refusedPause
			w.paused = append(w.paused, t)
		}
		return
	}
	a, err := parseAck(r.Data)
	if err != nil {
		w.faults.add(faultBadFrame, "%s: ack: %v", t.id, err)
		return
	}
	if due, ok := t.ack(int(c.id)-t.first, n, &a); ok {
		w.tally.Counts[nAcked]++
		w.time(tAck, due, w.loop.now)
	}
}

// messageOf is the message that an answer to c with this msgIncr belongs to; nil if
// it was not made by a composer.
func (w *worker) messageOf(c *conn, incr []byte) (*thread, int64) {
	user := w.order.Users[c.id].UserID
	if len(incr) < len(user)+2 || string(incr[:len(user)]) != user || incr[len(user)] != '_' || len(w.threads) == 0 {
		return nil, 0
	}
	n, err := strconv.ParseInt(string(incr[len(user)+1:]), 10, 64)
	if n -= w.incr0; err != nil || n < 0 {
		return nil, 0
	}
	t := w.threads[n%int64(len(w.threads))]
	if !slices.Contains(w.byMember[c.id], t) {
		return nil, 0
	}
	return t, n / int64(len(w.threads))
}

// examine takes a PushMessages apart and checks what does not depend on who got it.
func (w *worker) examine(data []byte) (parts []pushed) {
	err := parsePush(data, func(id []byte, notification bool, b []byte) {
		p := pushed{conversation: string(id)}
		if err := wire.ScanMsg(b, &p.msg); err != nil {
			w.faults.add(faultBadFrame, "%s: %v", id, err)
			return
		}
		p.thread = w.byID[p.conversation]
		switch {
		case p.msg.ContentType == im.ContentTyping && w.script != nil:
			p.thread = nil // has no seq
		case p.thread != nil && !notification:
			var ok bool
			if p.arrival, ok = p.thread.examine(&p.msg); !ok {
				return
			}
		case w.script == nil && !notification:
			w.faults.add(faultMisfiled, "pushed under %q", id)
			return
		default:
			p.thread = nil
		}
		parts = append(parts, p)
	})
	if err != nil {
		w.faults.add(faultBadFrame, "push: %v", err)
	}
	return parts
}

// push is one pushed message.
func (w *worker) push(c *conn, p *pushed) {
	t := p.thread
	if t == nil {
		if w.script != nil {
			w.script.push(c, p.conversation, &p.msg)
		}
		return
	}
	member := int(c.id) - t.first
	if member < 0 || member >= len(t.members) {
		w.faults.add(faultMisfiled, "%s pushed to %s", t.id, w.order.Users[c.id].UserID)
		return
	}
	m, what := t.conversation.push(member, &p.arrival)
	switch what {
	case arrivedAgain:
		return
	case arrivedEcho:
		w.tally.Counts[nEchoed]++
	case arrivedOne, arrivedLast:
		w.tally.Counts[nDelivered]++
		w.time(tDeliver, m.due, w.loop.now)
	}
	if what == arrivedLast && len(t.members) > 2 {
		w.time(tLast, m.due, w.loop.now)
	}
	if what != arrivedOne {
		w.fill(t)
	}
	if w.script != nil {
		w.script.push(c, p.conversation, &p.msg)
	}
}
