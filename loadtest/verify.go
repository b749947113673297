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
	faultPull
	faultLostNotice

	faultKinds
)

var faultNames = [faultKinds]string{
	faultLostAck:          "sent, neither acknowledged nor refused",
	faultLostDelivery:     "acknowledged, not delivered to a member",
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
	faultPull:             "login did not get exactly what it had missed",
	faultLostNotice:       "not told to a connected client: change of members, receipt, presence or typing",
}

// faults counts what went wrong and keeps the first examples. Its worker owns it.
type faults struct {
	Counts   [faultKinds]int64
	Examples []string
}

const examplesMax = 10

func (f *faults) add(kind fault, format string, args ...any) {
	f.Counts[kind]++
	if len(f.Examples) < examplesMax {
		f.Examples = append(f.Examples, faultNames[kind]+": "+fmt.Sprintf(format, args...))
	}
}

func (f *faults) total() (n int64) {
	for _, c := range f.Counts {
		n += c
	}
	return n
}

func (f *faults) merge(other *faults) {
	for kind, n := range other.Counts {
		f.Counts[kind] += n
	}
	f.Examples = append(f.Examples, other.Examples...)
	f.Examples = f.Examples[:min(examplesMax, len(f.Examples))]
}

// What has happened to a message, beside who has it.
const (
	msgAcked = 1 << iota
	msgEchoed
	msgRefused
)

// message is one message that is not settled: not yet refused, or acknowledged,
// echoed and delivered to all.
type message struct {
	due      int64 // nanos at which it was to be sent
	seq      int64 // as the first push of it said; 0 before
	sendTime int64 // as the first ack or push of it said; 0 before
	serverID uint64
	from     int32 // member who sent it
	missing  int32 // members without the sender who have not got it
	state    uint8
	got      []uint64 // a bit for each member who has it
}

// open reports whether m takes a slot of a closed loop.
func (m *message) open() bool {
	return m.state&msgRefused == 0 && (m.state&msgAcked == 0 || m.missing > 0)
}

func (m *message) settled() bool {
	return m.state&msgRefused != 0 || !m.open() && m.state&msgEchoed != 0
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

// conversation checks the messages of a pair or a group. It knows nothing of
// sockets: calls tell it what was sent and what arrived. Members are numbered from 0.
type conversation struct {
	id      string
	group   string // its ID; "" for a pair
	members []string
	names   naming
	text    *text // expected content
	faults  *faults

	next, low int64     // messages sent; the first that is not settled
	window    []message // message n is at n modulo the length, a power of two
	open      int       // see message.open
	streams   []stream  // by member
	absences  []absence // by member; nil if nobody ever left
}

// absence is a member's last time without a connection.
type absence struct {
	left   int64 // seq up to which it had everything when it left
	first  int64 // seq of the first push after its return; 0 before
	pulled int64 // seq up to which it pulled after its return
}

// room reports whether one more message may be sent: a settled window is bounded.
func (c *conversation) room() bool { return c.next-c.low < windowMax }

// sent notes a new message of member from and returns its number.
func (c *conversation) sent(from int, due int64) int64 {
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
	m := c.at(n)
	got := m.got
	if got == nil {
		got = make([]uint64, (len(c.members)+63)/64)
	}
	clear(got)
	*m = message{due: due, from: int32(from), missing: int32(len(c.members) - 1), got: got}
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
	default:
		if m.seq != 0 {
			c.faults.add(faultRefusedDelivered, "%s: message %d", c.id, n)
		}
		c.advance(m, func() { m.state |= msgRefused })
	}
}

// ack notes the success answer that member got for message n. It returns the
// message's due time, or false if this was not its first answer.
func (c *conversation) ack(member int, n int64, a *sendAck) (due int64, ok bool) {
	m, known := c.find(n)
	if !known {
		c.faults.add(faultNeverSent, "%s: ack of message %d", c.id, n)
		return 0, false
	}
	if m == nil || m.state&(msgAcked|msgRefused) != 0 {
		c.faults.add(faultDoubleAck, "%s: message %d", c.id, n)
		return 0, false
	}
	if got, mine := c.names.number(a.clientMsgID); !mine || got != n || int(m.from) != member {
		c.faults.add(faultWrongAck, "%s: message %d of member %d as %q to member %d", c.id, n, m.from, a.clientMsgID, member)
	}
	c.agree(n, m, 0, a.sendTime, a.serverMsgID)
	c.advance(m, func() { m.state |= msgAcked })
	return m.due, true
}

// arrival is a message of a conversation as a push shows it. All members are pushed
// the same bytes, so its content is checked once, by examine.
type arrival struct {
	conv          *conversation
	n             int64 // -1: not one of ours, but of the server's own
	seq, sendTime int64
}

// examine checks all of a pushed message that does not depend on who got it.
func (c *conversation) examine(p *wire.Msg) (arrival, bool) {
	a := arrival{conv: c, n: -1, seq: p.Seq, sendTime: p.SendTime}
	if p.ContentType > im.ContentNotificationBase { // a notification that is shown in the chat
		return a, true
	}
	n, mine := c.names.number(p.ClientMsgID)
	m, known := c.find(n)
	if !mine || !known {
		c.faults.add(faultNeverSent, "%s: clientMsgID %q", c.id, p.ClientMsgID)
		return a, false
	}
	a.n = n
	if m == nil {
		return a, true
	}
	to, toGroup := c.group, string(p.GroupID)
	if c.group == "" {
		to, toGroup = c.members[1-m.from], string(p.RecvID)
	}
	if string(p.SendID) != c.members[m.from] || toGroup != to || p.ContentType != im.ContentText ||
		p.Status != im.MsgStatusSent || !bytes.Equal(p.Content, c.text.content(n)) {
		c.faults.add(faultAltered, "%s: message %d", c.id, n)
	}
	c.agree(n, m, p.Seq, p.SendTime, p.ServerMsgID)
	return a, true
}

// arrived is what a push or a pull was for a member.
type arrived uint8

// What an arrival can be.
const (
	arrivedAgain arrived = iota // a fault, a message of the server's own, or one that a pull had brought
	arrivedEcho
	arrivedOne  // at a member who is not the last
	arrivedLast // now every member has it
)

// push notes that a was pushed to member.
func (c *conversation) push(member int, a *arrival) (*message, arrived) {
	s := &c.streams[member]
	last := *s
	if a.n < 0 {
		if !s.next(a.seq, a.sendTime) {
			c.faults.add(faultOrder, "%s: notification with seq %d after seq %d", c.id, a.seq, last.seq)
		}
		return nil, arrivedAgain
	}
	if c.absences != nil && c.returned(member, a) {
		return nil, arrivedAgain
	}
	m, _ := c.find(a.n)
	if has := m == nil || m.settled() || m.got[member/64]&(1<<(member%64)) != 0; has {
		double := faultDoubleDelivery
		if m != nil && m.state&msgRefused != 0 {
			double = faultRefusedDelivered
		} else if m != nil && int(m.from) == member {
			double = faultDoubleEcho
		}
		c.faults.add(double, "%s: message %d with seq %d to member %d", c.id, a.n, a.seq, member)
		return m, arrivedAgain
	}
	if !s.next(a.seq, a.sendTime) {
		c.faults.add(faultOrder, "%s: member %d got seq %d at %d after seq %d at %d",
			c.id, member, a.seq, a.sendTime, last.seq, last.sendTime)
	}
	return m, c.has(member, m)
}

// has notes that member has m.
func (c *conversation) has(member int, m *message) (what arrived) {
	c.advance(m, func() {
		m.got[member/64] |= 1 << (member % 64)
		if int(m.from) == member {
			m.state |= msgEchoed
			what = arrivedEcho
			return
		}
		m.missing--
		what = arrivedOne
		if m.missing == 0 {
			what = arrivedLast
		}
	})
	return what
}

// leave notes that member lost its connection; the next push to it may have any seq.
func (c *conversation) leave(member int) {
	if c.absences == nil {
		c.absences = make([]absence, len(c.members))
	}
	s := &c.streams[member]
	c.absences[member] = absence{left: s.seq}
	*s = stream{}
}

// returned notes the first push after an absence. It returns true for one that a pull
// had brought, since a push under way when the pull was answered comes late.
func (c *conversation) returned(member int, a *arrival) bool {
	absent := &c.absences[member]
	if absent.first == 0 {
		absent.first = a.seq
	}
	return a.seq <= absent.pulled
}

// pulled notes that member pulled a message, and returns true if it had not got it.
func (c *conversation) pulled(member int, a *arrival) bool {
	m, _ := c.find(a.n)
	if a.n < 0 || m == nil || m.settled() || m.got[member/64]&(1<<(member%64)) != 0 {
		return false
	}
	c.has(member, m)
	return true
}

// resume ends an absence: member has pulled everything up to seq end.
func (c *conversation) resume(member int, end int64) {
	if c.absences == nil {
		return
	}
	s, absent := &c.streams[member], &c.absences[member]
	absent.pulled = max(end, absent.left)
	if absent.first > absent.pulled+1 {
		c.faults.add(faultPull, "%s: member %d pulled up to seq %d, and was pushed from %d", c.id, member, absent.pulled, absent.first)
	}
	s.seq = max(s.seq, absent.pulled)
}

// unanswered reports whether a message of member has neither ack nor refusal.
func (c *conversation) unanswered(member int) bool {
	for n := c.low; n < c.next; n++ {
		if m := c.at(n); int(m.from) == member && m.state&(msgAcked|msgRefused) == 0 {
			return true
		}
	}
	return false
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

// advance makes a change to m and moves the window.
func (c *conversation) advance(m *message, change func()) {
	was := m.open()
	change()
	if was && !m.open() {
		c.open--
	}
	for c.low < c.next && c.at(c.low).settled() {
		c.low++
	}
}

// finish counts what is still missing.
func (c *conversation) finish() {
	for n := c.low; n < c.next; n++ {
		m := c.at(n)
		switch {
		case m.state&msgRefused != 0:
			continue
		case m.state&msgAcked == 0:
			c.faults.add(faultLostAck, "%s: message %d", c.id, n)
			continue
		case m.missing > 0:
			c.faults.add(faultLostDelivery, "%s: message %d to %d members", c.id, n, m.missing)
		}
		if m.state&msgEchoed == 0 {
			c.faults.add(faultLostEcho, "%s: message %d", c.id, n)
		}
	}
}
