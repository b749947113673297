//go:build linux

package main

import (
	"bytes"
	"fmt"
	"hash/maphash"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// fault is a way in which the server can break its promise.
type fault uint8

// The closed table of faults; faultNames says what each means.
const (
	faultLostAck fault = iota
	faultLostDelivery
	faultLostEcho
	faultDoubleAck
	faultDoubleDelivery
	faultDoubleEcho
	faultWrongAck
	faultNeverSent
	faultAltered
	faultOrder
	faultDisagree
	faultRefusedDelivered
	faultMisfiled
	faultBadFrame
	faultDisconnected

	faultKinds
)

var faultNames = [faultKinds]string{
	faultLostAck:          "sent, neither acknowledged nor refused",
	faultLostDelivery:     "acknowledged, not delivered to the receiver",
	faultLostEcho:         "acknowledged, not pushed back to the sender",
	faultDoubleAck:        "acknowledged twice",
	faultDoubleDelivery:   "delivered twice",
	faultDoubleEcho:       "pushed back twice",
	faultWrongAck:         "acknowledged under another clientMsgID",
	faultNeverSent:        "received, but never sent",
	faultAltered:          "delivered with other content or addresses",
	faultOrder:            "seq not the next one, or sendTime not rising",
	faultDisagree:         "ack, delivery and echo name different seq, sendTime or serverMsgID",
	faultRefusedDelivered: "refused, yet delivered",
	faultMisfiled:         "pushed under another conversation",
	faultBadFrame:         "frame that an SDK cannot use",
	faultDisconnected:     "connection ended by the server",
}

// faults counts what went wrong and keeps the first examples. Its loop owns it.
type faults struct {
	counts   [faultKinds]int64
	examples []string
}

const examplesMax = 10

func (f *faults) add(kind fault, format string, args ...any) {
	f.counts[kind]++
	if len(f.examples) < examplesMax {
		f.examples = append(f.examples, faultNames[kind]+": "+fmt.Sprintf(format, args...))
	}
}

func (f *faults) total() (n int64) {
	for _, c := range f.counts {
		n += c
	}
	return n
}

func (f *faults) merge(other *faults) {
	for kind, n := range other.counts {
		f.counts[kind] += n
	}
	f.examples = append(f.examples, other.examples...)
	f.examples = f.examples[:min(examplesMax, len(f.examples))]
}

// What has happened to a message.
const (
	msgAcked = 1 << iota
	msgDelivered
	msgEchoed
	msgRefused
)

// message is one message that is not settled: not yet refused, or acknowledged,
// delivered and echoed.
type message struct {
	due      int64 // nanos at which it was to be sent
	seq      int64 // as the first push of it said; 0 before
	sendTime int64 // as the first ack or push of it said; 0 before
	serverID uint64
	state    uint8
}

func (m *message) settled() bool {
	return m.state&msgRefused != 0 || m.state&(msgAcked|msgDelivered|msgEchoed) == msgAcked|msgDelivered|msgEchoed
}

// stream is the order in which one connection receives a conversation.
type stream struct {
	seq, sendTime int64 // of the last message; 0 before the first
}

// next reports whether seq and sendTime may follow. The first message may have any
// seq: the conversation can be older than the run.
func (s *stream) next(seq, sendTime int64) bool {
	ok := seq > 0 && sendTime > 0 && (s.seq == 0 || seq == s.seq+1 && sendTime > s.sendTime)
	s.seq, s.sendTime = max(s.seq, seq), max(s.sendTime, sendTime)
	return ok
}

// Bounds of the window of unsettled messages.
const (
	windowStart = 16
	windowMax   = 4096
)

var hashSeed = maphash.MakeSeed()

// conversation checks one sender's messages to one receiver. It knows nothing of
// sockets: calls tell it what was sent and what arrived.
type conversation struct {
	id               string
	sender, receiver string
	names            naming
	text             *text // expected content
	faults           *faults

	next, low int64     // messages sent; the first that is not settled
	window    []message // message n is at n modulo the length, a power of two
	open      int       // neither refused, nor both acknowledged and delivered

	delivered, echoed stream
}

// room reports whether one more message may be sent: a settled window is bounded.
func (c *conversation) room() bool {
	return c.next-c.low < windowMax
}

// sent notes a new message and returns its number.
func (c *conversation) sent(due int64) int64 {
	if size := int64(len(c.window)); c.next-c.low == size {
		grown := make([]message, max(windowStart, 2*size))
		for n := c.next - size; n < c.next; n++ {
			grown[n%int64(len(grown))] = *c.at(n)
		}
		c.window = grown
	}
	n := c.next
	c.next++
	c.open++
	*c.at(n) = message{due: due}
	return n
}

func (c *conversation) at(n int64) *message { return &c.window[n%int64(len(c.window))] }

// find returns message n and whether it was ever sent. A message that is settled is
// nil once a later one took its place in the window.
func (c *conversation) find(n int64) (m *message, known bool) {
	switch {
	case n < 0 || n >= c.next:
		return nil, false
	case n < c.next-int64(len(c.window)):
		return nil, true
	}
	return c.at(n), true
}

// refuse notes an error answer to message n.
func (c *conversation) refuse(n int64) {
	m, known := c.find(n)
	switch {
	case !known:
		c.faults.add(faultNeverSent, "%s: refusal of message %d", c.id, n)
	case m == nil || m.state&(msgAcked|msgRefused) != 0:
		c.faults.add(faultDoubleAck, "%s: message %d refused after its answer", c.id, n)
	case m.state&(msgDelivered|msgEchoed) != 0:
		c.faults.add(faultRefusedDelivered, "%s: message %d", c.id, n)
		c.set(m, msgRefused)
	default:
		c.set(m, msgRefused)
	}
}

// ack notes the success answer to message n. It returns the message's due time, or
// false if this was not its first answer.
func (c *conversation) ack(n int64, a *sendAck) (due int64, ok bool) {
	m, known := c.find(n)
	if !known {
		c.faults.add(faultNeverSent, "%s: ack of message %d", c.id, n)
		return 0, false
	}
	if m == nil || m.state&(msgAcked|msgRefused) != 0 {
		c.faults.add(faultDoubleAck, "%s: message %d", c.id, n)
		return 0, false
	}
	if got, mine := c.names.number(a.clientMsgID); !mine || got != n {
		c.faults.add(faultWrongAck, "%s: message %d as %q", c.id, n, a.clientMsgID)
	}
	c.agree(n, m, 0, a.sendTime, a.serverMsgID)
	due = m.due
	c.set(m, msgAcked)
	return due, true
}

// push notes a message received by the receiver, or by the sender as its own echo.
// It returns the due time, or false if this was not its first arrival there.
func (c *conversation) push(echo bool, p *wire.Msg) (due int64, ok bool) {
	n, mine := c.names.number(p.ClientMsgID)
	m, known := c.find(n)
	if !mine || !known {
		c.faults.add(faultNeverSent, "%s: clientMsgID %q", c.id, p.ClientMsgID)
		return 0, false
	}
	bit, order, double := uint8(msgDelivered), &c.delivered, faultDoubleDelivery
	if echo {
		bit, order, double = msgEchoed, &c.echoed, faultDoubleEcho
	}
	if m == nil || m.state&bit != 0 {
		c.faults.add(double, "%s: message %d with seq %d", c.id, n, p.Seq)
		return 0, false
	}
	if m.state&msgRefused != 0 {
		c.faults.add(faultRefusedDelivered, "%s: message %d", c.id, n)
		return 0, false
	}
	last := *order
	if !order.next(p.Seq, p.SendTime) {
		c.faults.add(faultOrder, "%s: seq %d at %d after seq %d at %d", c.id, p.Seq, p.SendTime, last.seq, last.sendTime)
	}
	if string(p.SendID) != c.sender || string(p.RecvID) != c.receiver || p.ContentType != im.ContentText ||
		p.Status != im.MsgStatusSent || !bytes.Equal(p.Content, c.text.content(n)) {
		c.faults.add(faultAltered, "%s: message %d", c.id, n)
	}
	c.agree(n, m, p.Seq, p.SendTime, p.ServerMsgID)
	due = m.due
	c.set(m, bit)
	return due, true
}

// agree compares what one frame says of message n with what an earlier one said.
func (c *conversation) agree(n int64, m *message, seq, sendTime int64, serverMsgID []byte) {
	id := maphash.Bytes(hashSeed, serverMsgID)
	first := m.sendTime == 0
	if len(serverMsgID) == 0 || sendTime <= 0 || !first && (m.sendTime != sendTime || m.serverID != id) ||
		seq != 0 && m.seq != 0 && m.seq != seq {
		c.faults.add(faultDisagree, "%s: message %d: seq %d, sendTime %d, serverMsgID %q; before: seq %d, sendTime %d",
			c.id, n, seq, sendTime, serverMsgID, m.seq, m.sendTime)
	}
	if first {
		m.sendTime, m.serverID = sendTime, id
	}
	if m.seq == 0 {
		m.seq = seq
	}
}

// set adds a bit to m's state and moves the window.
func (c *conversation) set(m *message, bit uint8) {
	wasOpen := m.isOpen()
	m.state |= bit
	if wasOpen && !m.isOpen() {
		c.open--
	}
	for c.low < c.next && c.at(c.low).settled() {
		c.low++
	}
}

func (m *message) isOpen() bool {
	return m.state&msgRefused == 0 && m.state&(msgAcked|msgDelivered) != msgAcked|msgDelivered
}

// finish counts what is still missing.
func (c *conversation) finish() {
	for n := c.low; n < c.next; n++ {
		m := c.at(n)
		if m.state&msgRefused != 0 {
			continue
		}
		if m.state&msgAcked == 0 {
			c.faults.add(faultLostAck, "%s: message %d", c.id, n)
			continue
		}
		if m.state&msgDelivered == 0 {
			c.faults.add(faultLostDelivery, "%s: message %d", c.id, n)
		}
		if m.state&msgEchoed == 0 {
			c.faults.add(faultLostEcho, "%s: message %d", c.id, n)
		}
	}
}
