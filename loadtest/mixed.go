//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gannet/internal/im"
	"gannet/internal/wire"

	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

const (
	// awayFor is how long a user of mixed is gone before the next login.
	awayFor = int64(time.Second)
	// readCallers is how many marks over HTTP are under way; readsWaiting how many may
	// wait for one. More are not made.
	readCallers, readsWaiting = 8, 1024
)

// day is the script of mixed: what people do beside writing. They type before they
// write, mark as read what they got, log out and in again, pull what they missed, and
// watch whether their friend is there. The friend is the other one of their pair.
type day struct {
	w       *worker
	people  []person // by slot
	syncing int      // people who are not ready
	typed   activity // of typing, and of logging out
	left    activity
	serial  int64 // of requests
	away    []int // slots that log out, or will come back
	expects map[string]expectation
	marks   chan mark // to the callers; closed by finish
	marked  chan time.Duration
}

// person is what a user does now.
type person struct {
	asked   int   // typings without an answer
	friend  int   // slot
	leaving bool  // sends no more, and logs out when all is acknowledged
	ready   bool  // connected and synced
	known   bool  // has synced before
	since   int64 // nanos of the login, or of the logout
	pulls   []gap
}

// gap is a range of a thread's messages that a login has to pull.
type gap struct {
	t         *thread
	from, end int64
}

// activity is something that happens at fixed times.
type activity struct {
	every int64 // nanoseconds
	next  int64 // nanos
	turn  int
}

// expectation is something that a connected user must be told.
type expectation struct {
	due  int64
	slot int
	dial int32 // of the connection: after another login it may have been missed
	time timer
}

// mark is a conversation to be marked as read.
type mark struct {
	user *account
	conv string
	seq  int64
}

func newDay(w *worker) script {
	d := &day{
		w: w, people: make([]person, len(w.order.Users)), syncing: len(w.order.Users), expects: map[string]expectation{},
		marks: make(chan mark, readsWaiting), marked: make(chan time.Duration, readsWaiting+readCallers),
	}
	for slot := range d.people {
		for _, t := range w.byMember[slot] {
			if t.group == "" {
				d.people[slot].friend = 2*t.first + 1 - slot
			}
		}
	}
	share := int64(w.order.Workers)
	d.typed.every = int64(1e9/w.opts.rate) * 2 * share // every second message is typed
	d.left.every = int64(1e9/w.opts.logins) * share
	api := newAPI(w.order.API)
	for range readCallers {
		go func() { // ends with marks
			for m := range d.marks {
				began := time.Now()
				err := api.callAs(context.Background(), m.user.Token, "/msg/mark_conversation_as_read", map[string]any{
					"conversationID": m.conv, "userID": m.user.UserID, "hasReadSeq": m.seq, "seqs": []int64{m.seq}}, nil)
				took := time.Since(began)
				if err != nil {
					took = -1
				}
				d.marked <- took
			}
		}()
	}
	return d
}

func (d *day) connects() bool { return false }

// writes reports whether a person may send now.
func (d *day) writes(slot int) bool { return d.people[slot].ready && !d.people[slot].leaving }

func (d *day) tick(now int64) (int64, bool) {
	d.collect()
	if d.typed.next == 0 {
		d.typed.next, d.left.next = now, now
	}
	for ; d.typed.next <= now; d.typed.next += d.typed.every {
		d.typing(d.typed.turn % len(d.people))
		d.typed.turn++
	}
	// First one of each pair, then the other: two friends are never away together. Who
	// leaves must have the time to come back.
	for ; d.left.next <= now && now < d.w.plan.End-2*awayFor; d.left.next += d.left.every {
		n := 2 * d.left.turn
		slot := n%len(d.people) + n/len(d.people)%2
		if p := &d.people[slot]; p.ready && d.people[p.friend].ready && !d.people[p.friend].leaving {
			p.leaving = true
			d.away = append(d.away, slot)
		}
		d.left.turn++
	}
	d.comeAndGo(now)
	return min(d.typed.next, now+wakeMax/4), false
}

// comeAndGo moves those who are about to.
func (d *day) comeAndGo(now int64) {
	waiting := d.away[:0]
	for _, slot := range d.away {
		if !d.move(slot, now) {
			waiting = append(waiting, slot)
		}
	}
	d.away = waiting
}

// move logs out a person whose messages are all acknowledged, and in again when the
// time has come; then it returns true.
func (d *day) move(slot int, now int64) bool {
	p, conn := &d.people[slot], d.w.loop.conns[slot]
	switch {
	case p.ready:
		if p.asked > 0 {
			return false
		}
		for _, t := range d.w.byMember[slot] {
			if t.unanswered(slot - t.first) {
				return false
			}
		}
		d.w.loop.abort(conn)
		p.ready, p.since = false, now
		d.syncing++
		d.expect(d.presence(p.friend, slot, false), p.friend, now, tPresence)
	case now-p.since >= awayFor:
		d.expect(d.presence(p.friend, slot, true), p.friend, now, tPresence) // he may hear of it before the answer comes here
		if err := d.w.dial(slot); err != nil {
			d.w.faults.add(faultDisconnected, "%s: %v", d.w.order.Users[slot].UserID, err)
		}
		return true
	}
	return false
}

// opened starts a login's sync.
func (d *day) opened(c *conn) {
	p := &d.people[c.id]
	if p.known {
		d.w.tally.Counts[nLogins]++
		for _, t := range d.w.byMember[c.id] {
			t.leave(int(c.id) - t.first)
		}
	}
	p.since = c.dialed
	d.request(c, wire.ReqNewestSeq, &sdkws.GetMaxSeqReq{UserID: d.w.order.Users[c.id].UserID})
}

func (d *day) closed(*conn, error) bool { return false }

// request sends one request other than a message of the plan.
func (d *day) request(c *conn, id int32, m proto.Message) {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err) // our own message
	}
	d.serial++
	serial := strconv.AppendInt(nil, d.serial, 10)
	payload, err := wire.AppendRequest(nil, d.w.sdk.variant, &wire.Request{ReqIdentifier: id, SendID: []byte(d.w.order.Users[c.id].UserID),
		OperationID: serial, MsgIncr: serial, Data: data})
	if err != nil {
		panic(err) // our own bytes
	}
	d.w.loop.send(c, opBinary, payload)
}

func (d *day) answer(c *conn, r *wire.Response) {
	if r.ReqIdentifier == wire.ReqSendMsg {
		d.people[c.id].asked--
	}
	if r.ErrCode != 0 {
		d.w.tally.refuse(r.ErrCode, 1)
		return
	}
	var err error
	switch r.ReqIdentifier {
	case wire.ReqNewestSeq:
		var m sdkws.GetMaxSeqResp
		if err = proto.Unmarshal(r.Data, &m); err == nil {
			d.positions(c, m.MaxSeqs)
		}
	case wire.ReqPullByRange:
		err = d.pulled(c, r.Data)
	case wire.ReqSubscribe:
		var m sdkws.SubUserOnlineStatusTips
		if err = proto.Unmarshal(r.Data, &m); err == nil {
			for _, s := range m.Subscribers {
				d.met(fmt.Sprintf("presence/%d/%s/%v", c.id, s.UserID, len(s.OnlinePlatformIDs) > 0))
			}
		}
	}
	if err != nil {
		d.w.faults.add(faultBadFrame, "%s: answer to %d: %v", d.w.order.Users[c.id].UserID, r.ReqIdentifier, err)
	}
}

// positions takes the newest seqs: at the first login they are where the run starts,
// later they say what was missed.
func (d *day) positions(c *conn, newest map[string]int64) {
	p := &d.people[c.id]
	request := &sdkws.PullMessageBySeqsReq{UserID: d.w.order.Users[c.id].UserID}
	p.pulls = p.pulls[:0]
	for _, t := range d.w.byMember[c.id] {
		member, end := int(c.id)-t.first, newest[t.id]
		if !p.known {
			t.streams[member].seq = end
			continue
		}
		left := t.absences[member].left
		if left >= end {
			t.resume(member, end)
			continue
		}
		p.pulls = append(p.pulls, gap{t, left + 1, end})
		request.SeqRanges = append(request.SeqRanges, &sdkws.SeqRange{ConversationID: t.id, Begin: left + 1, End: end, Num: end - left})
	}
	if len(p.pulls) > 0 {
		d.request(c, wire.ReqPullByRange, request)
		return
	}
	d.synced(c)
}

// pulled takes what a login had missed: exactly what was asked for.
func (d *day) pulled(c *conn, data []byte) error {
	got := map[string][]*wire.Msg{}
	err := parsePush(data, func(id []byte, notification bool, b []byte) { // the answer has the form of a push
		m := &wire.Msg{}
		if wire.ScanMsg(b, m) == nil && !notification {
			got[string(id)] = append(got[string(id)], m)
		}
	})
	for _, g := range d.people[c.id].pulls {
		member, next := int(c.id)-g.t.first, g.from
		for _, m := range got[g.t.id] {
			if m.Seq != next {
				break
			}
			next++
			if a, ok := g.t.examine(m); ok && g.t.conversation.pulled(member, &a) {
				d.w.tally.Counts[nPulled]++
			}
		}
		if next != g.end+1 {
			d.w.faults.add(faultPull, "%s: %s asked for %d … %d, and got up to %d", g.t.id, d.w.order.Users[c.id].UserID, g.from, g.end, next-1)
		}
		g.t.resume(member, g.end)
	}
	d.synced(c)
	return err
}

// synced ends a login.
func (d *day) synced(c *conn) {
	p := &d.people[c.id]
	if p.known {
		d.w.time(tLogin, p.since, d.w.loop.now)
	}
	p.ready, p.known, p.leaving = true, true, false
	d.syncing--
	d.request(c, wire.ReqSubscribe, &sdkws.SubUserOnlineStatus{SubscribeUserID: []string{d.w.order.Users[p.friend].UserID}})
}

// typing lets slot's friend see that he types.
func (d *day) typing(slot int) {
	p, from := &d.people[slot], &d.w.order.Users[slot]
	if !d.writes(slot) || !d.people[p.friend].ready {
		return
	}
	id := fmt.Sprintf("%032d", d.w.incr0+d.serial)
	off := map[string]bool{}
	for _, option := range []string{im.OptHistory, im.OptPersistent, im.OptSenderSync, im.OptConversationUpdate,
		im.OptSenderConversationUpdate, im.OptUnreadCount, im.OptOfflinePush} {
		off[option] = false
	}
	d.request(d.w.loop.conns[slot], wire.ReqSendMsg, &sdkws.MsgData{
		SendID: from.UserID, RecvID: d.w.order.Users[p.friend].UserID, ClientMsgID: id, SenderPlatformID: int32(d.w.sdk.platform),
		SenderNickname: from.Nickname, SessionType: im.SingleChat, MsgFrom: im.MsgFromUser, ContentType: im.ContentTyping,
		Content: []byte(`{"msgTips":"yes"}`), CreateTime: d.w.loop.now / 1e6, Status: im.MsgStatusSending, Options: off,
	})
	p.asked++
	d.w.tally.Counts[nTypings]++
	d.expect("typing/"+id, p.friend, d.w.loop.now, tTyping)
}

// push is a typing, a receipt, or a message that the plan's thread has taken.
func (d *day) push(c *conn, conversation string, m *wire.Msg) {
	switch m.ContentType {
	case im.ContentTyping:
		d.met("typing/" + string(m.ClientMsgID))
	case im.NotifyHasRead:
		var outer struct{ Detail string }
		var tips sdkws.MarkAsReadTips
		if err := cmp.Or(json.Unmarshal(m.Content, &outer), json.Unmarshal([]byte(outer.Detail), &tips)); err != nil {
			d.w.faults.add(faultBadFrame, "%s: receipt %q", conversation, m.Content)
		}
		if tips.MarkAsReadUserID != d.w.order.Users[c.id].UserID {
			d.met("read/" + tips.ConversationID + "/" + tips.MarkAsReadUserID)
		}
	case im.ContentText:
		if !strings.HasPrefix(conversation, "si_") {
			return
		}
		p, user := &d.people[c.id], &d.w.order.Users[c.id]
		key := "read/" + conversation + "/" + user.UserID
		if _, waits := d.expects[key]; waits || string(m.SendID) == user.UserID || !d.people[p.friend].ready || d.w.phase != phaseRun {
			return
		}
		select {
		case d.marks <- mark{user, conversation, m.Seq}:
			d.expect(key, p.friend, d.w.loop.now, tReceipt)
			d.w.tally.Counts[nReads]++
		default: // the callers are busy
		}
	}
}

func (d *day) presence(watcher, slot int, online bool) string {
	return fmt.Sprintf("presence/%d/%s/%v", watcher, d.w.order.Users[slot].UserID, online)
}

// expect notes that slot must be told something.
func (d *day) expect(key string, slot int, due int64, t timer) {
	if d.people[slot].ready {
		d.expects[key] = expectation{due, slot, d.w.loop.conns[slot].dial, t}
	}
}

// met notes that it was.
func (d *day) met(key string) {
	if e, ok := d.expects[key]; ok {
		delete(d.expects, key)
		d.w.time(e.time, e.due, d.w.loop.now)
	}
}

// collect takes the times of the marks that are done.
func (d *day) collect() {
	for {
		select {
		case took := <-d.marked:
			if took < 0 {
				d.w.faults.add(faultLostAck, "a mark as read failed")
				continue
			}
			if d.w.phase == phaseRun && d.w.loop.now >= d.w.plan.Measure {
				d.w.tally.Times[tRead].record(int64(took))
			}
		default:
			return
		}
	}
}

func (d *day) settled() bool {
	d.comeAndGo(d.w.loop.now)
	return len(d.away) == 0 && d.syncing == 0 && len(d.expects) == 0
}

func (d *day) finish() {
	d.collect()
	close(d.marks)
	for key, e := range d.expects {
		if c := d.w.loop.conns[e.slot]; c.dial == e.dial && c.state == stateOpen {
			d.w.faults.add(faultLostNotice, "%s to %s", key, d.w.order.Users[e.slot].UserID)
		}
	}
	if d.syncing > 0 {
		d.w.faults.add(faultPull, "%d logins did not end", d.syncing)
	}
}
