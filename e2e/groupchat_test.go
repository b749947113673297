package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/openimsdk/openim-sdk-core/v3/sdk_struct"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

// newGroup makes a group by the API and returns its ID.
func (e *env) newGroup(owner string, members ...string) string {
	e.Helper()
	var data struct{ GroupInfo struct{ GroupID string } }
	e.must("/group/create_group", e.admin, obj{"ownerUserID": owner, "memberUserIDs": members,
		"groupInfo": obj{"groupType": 2, "groupName": "group of " + owner}}, &data)
	if data.GroupInfo.GroupID == "" {
		e.Fatal("create_group: no groupID")
	}
	return data.GroupInfo.GroupID
}

// isText says whether a message is a user's text.
func isText(m *sdkws.MsgData) bool { return m.ContentType == 101 }

// Acceptance 5 for groups: each device of each member has a message once, the
// sending one its seq; who is no member has nothing.
func TestGroupMessages(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b, c, x := e.user("a"), e.user("b"), e.user("c"), e.user("x")
	a1, a2, b1, c1 := e.device(a, android).login(), e.device(a, windows).login(), e.device(b, iOS).login(), e.device(c, web).login()
	stranger := e.device(x, android).login()
	id := e.newGroup(a, b, c)
	chat := groupChat(id)
	members := []*device{a1, a2, b1, c1}
	for _, d := range members {
		e.eventually("group at "+d.user, func() bool { return d.group(id) != nil })
	}
	for i, from := range members {
		m := from.sendGroup(id, fmt.Sprint("message ", i+1))
		for _, d := range members {
			if d != from {
				e.eventually(m.TextElem.Content+" at "+d.user, func() bool { return d.received(m.ClientMsgID) > 0 })
			}
		}
		e.eventually("seq at the sender", func() bool { return from.local(chat, m.ClientMsgID).Seq == int64(i)+2 })
	}
	want := append([]string{"type 1501"}, numbered(len(members))...)
	for _, d := range append(members, e.device(b, windows).login()) {
		settled(quiet/3, func() int { return d.count(onMessage) })
		for _, m := range d.messages(onMessage) {
			if d.received(m.ClientMsgID) != 1 {
				t.Errorf("%s on %d received %s twice", d.user, d.platform, m.ClientMsgID)
			}
		}
		history := d.scroll(chat, 20)
		if !slices.Equal(texts(history), want) {
			t.Errorf("%s on %d: history %q", d.user, d.platform, texts(history))
			continue
		}
		for i, m := range history {
			if m.Seq != int64(i)+1 || m.Status != 2 {
				t.Errorf("%s on %d: place %d has seq %d, status %d", d.user, d.platform, i, m.Seq, m.Status)
			}
		}
	}
	if n := stranger.count(onMessage); n != 0 {
		t.Errorf("a stranger received %d messages", n)
	}

	at, err := a1.sdk.Conversation().CreateTextAtMessage(a1.ctx(), "you!", []string{b}, []*sdk_struct.AtInfo{{AtUserID: b, GroupNickname: "b"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if code := a1.postGroup(at, id); code != 0 {
		t.Fatalf("at-message: %d", code)
	}
	e.eventually("marked as addressed", func() bool { r := b1.conversation(chat); return r != nil && r.GroupAtType == 1 })
	if r := c1.conversation(chat); r.GroupAtType != 0 {
		t.Errorf("the others are marked too: %d", r.GroupAtType)
	}
}

// Acceptance 6 for groups, in every envelope: 200 messages of three members at
// once, in one order for all.
func TestManyToGroup(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		members := []*raw{e.raw(e.user("a"), android, v), e.raw(e.user("b"), iOS, v), e.raw(e.user("c"), web, v)}
		id := e.newGroup(members[0].user, members[1].user, members[2].user)
		const each = 67
		done := make(chan bool)
		for _, r := range members {
			go func() {
				defer func() { done <- true }()
				sendMany(e, r, groupChat(id), each)
			}()
		}
		for range members {
			<-done
		}
		var first []*sdkws.MsgData
		for _, r := range members {
			inChat := func(m *sdkws.MsgData) bool { return m.Seq > 0 && m.GroupID == id }
			e.eventually("all pushed to "+r.user, func() bool { return len(r.pushes(inChat)) >= 3*each+1 })
			for name, msgs := range map[string][]*sdkws.MsgData{"pushed": r.pushes(inChat), "pulled": e.pullAll(r, groupChat(id))} {
				if err := inOrder(msgs); err != nil || len(msgs) != 3*each+1 {
					e.Errorf("%d %s to %s: %v", len(msgs), name, r.user, err)
				}
				if first == nil {
					first = msgs
				}
				if !slices.EqualFunc(first, msgs, func(a, b *sdkws.MsgData) bool { return proto.Equal(a, b) }) {
					e.Errorf("%s to %s: not the same messages in the same order", name, r.user)
				}
			}
		}
	})
}

// Acceptance 8 for groups: messages that came while a member was away, on a
// device that knows him and on a new one; what a later member finds.
func TestOfflineMember(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b, c := e.raw(e.user("a"), android, envelopes[0]), e.user("b"), e.device(e.user("c"), android).login()
	known := e.device(b, iOS).login()
	id := e.newGroup(a.user, b)
	chat := groupChat(id)
	e.eventually("joined", func() bool { return known.unread(chat) == 1 })
	known.quit()
	const n = 30
	for _, text := range numbered(n) {
		e.sendText(a, chat, text)
	}
	want := append([]string{"type 1501"}, numbered(n)...)
	for name, d := range map[string]*device{"known": known, "new": e.device(b, web)} {
		d.login()
		e.eventually(name+" device: unread number", func() bool { return d.unread(chat) == n+1 })
		if got := texts(d.scroll(chat, 20)); !slices.Equal(got, want) {
			t.Errorf("%s device: history %q", name, got)
		}
	}
	e.must("/group/invite_user_to_group", e.admin, obj{"groupID": id, "invitedUserIDs": []string{c.user}}, nil)
	e.hears("OnJoinedGroupAdded", []string{field("groupID", id)}, c)
	m, _ := e.sendText(a, chat, "live")
	for _, d := range []*device{known, c} {
		e.eventually("live message", func() bool { return d.received(m.ClientMsgID) == 1 })
	}
	want = append(want, "type 1509", "live")
	for _, d := range []*device{known, c, e.device(c.user, windows).login()} {
		if got := texts(d.scroll(chat, 20)); !slices.Equal(got, want) {
			t.Errorf("%s on %d: history at the end %q", d.user, d.platform, got)
		}
	}
	if unread := e.device(c.user, web).login().unread(chat); unread != 2 {
		t.Errorf("who came last has %d unread, want his welcome and what came after it", unread)
	}
}

// Acceptance 10 for groups: who may revoke whose message, and that all see it.
func TestRevokeInGroup(t *testing.T) {
	t.Parallel()
	e := shared(t)
	owner, manager, a, b := e.device(e.user("owner"), android).login(), e.user("manager"), e.device(e.user("a"), android).login(), e.user("b")
	here, away := e.device(b, iOS).login(), e.device(b, windows).login()
	id := e.newGroup(owner.user, manager, a.user, b)
	chat := groupChat(id)
	e.must("/group/set_group_member_info", e.admin, obj{"members": []obj{{"groupID": id, "userID": manager, "roleLevel": roleAdmin}}}, nil)
	e.eventually("joined", func() bool { return a.group(id) != nil && here.group(id) != nil && away.group(id) != nil })
	var ids []string
	for _, text := range numbered(5) {
		m := a.sendGroup(id, text)
		ids = append(ids, m.ClientMsgID)
		e.eventually("received", func() bool { return here.received(m.ClientMsgID) > 0 && away.received(m.ClientMsgID) > 0 })
	}
	ownerSays := owner.sendGroup(id, "by the owner")
	e.eventually("numbered", func() bool { return a.received(ownerSays.ClientMsgID) == 1 && a.local(chat, ids[4]).Seq > 0 })
	away.quit()
	seq := func(i int) int64 { return a.local(chat, ids[i]).Seq }

	revoke := func(token, user string, seq int64) int {
		t.Helper()
		code, _ := e.call("/msg/revoke_msg", token, obj{"conversationID": chat, "seq": seq, "userID": user}, nil)
		return code
	}
	a.do("revoke", a.sdk.Conversation().RevokeMessage(a.ctx(), chat, ids[1]))
	if code := revoke(owner.token, owner.user, seq(2)); code != 0 {
		t.Errorf("by the owner: %d", code)
	}
	managerToken := e.token(manager, web)
	if code := revoke(managerToken, manager, seq(3)); code != 0 {
		t.Errorf("by a role administrator: %d", code)
	}
	if code := revoke(e.admin, adminUser, seq(4)); code != 0 {
		t.Errorf("by the administrator: %d", code)
	}
	if code := revoke(here.token, b, seq(0)); code != codeNoPermission {
		t.Errorf("by an ordinary member: %d", code)
	}
	if code := revoke(managerToken, manager, a.messageSeq(ownerSays.ClientMsgID)); code != codeNoPermission {
		t.Errorf("the owner's by a role administrator: %d", code)
	}
	x := e.user("x")
	if code := revoke(e.token(x, web), x, seq(0)); code != codeNoPermission && code != codeNotFound {
		t.Errorf("by a stranger: %d", code)
	}
	all := []revocation{
		{a.user, ids[1], seq(1), false}, {owner.user, ids[2], seq(2), false},
		{manager, ids[3], seq(3), false}, {adminUser, ids[4], seq(4), true},
	}
	for _, d := range []*device{a, owner, here, away.login()} {
		for _, r := range all {
			revokedAt(d, r)
		}
	}
	for _, d := range []*device{a, owner, here, away, e.device(b, web).login()} {
		history := texts(d.scroll(chat, 20))
		history = slices.DeleteFunc(history, func(s string) bool { return s == "type 1501" || s == "type 1517" })
		if want := []string{"message 1", "type 2101", "type 2101", "type 2101", "type 2101", "by the owner"}; !slices.Equal(history, want) {
			t.Errorf("%s on %d: history %q", d.user, d.platform, history)
		}
	}
}

// messageSeq returns the seq of a message the app was told of.
func (d *device) messageSeq(clientMsgID string) int64 {
	for _, m := range d.messages(onMessage) {
		if m.ClientMsgID == clientMsgID {
			return m.Seq
		}
	}
	return 0
}

// Acceptance 11 for groups: read on one device is read on the reader's others,
// and nobody else hears of it.
func TestReadInGroup(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b, c := e.device(e.user("a"), android).login(), e.user("b"), e.raw(e.user("c"), android, envelopes[0])
	reader, other := e.device(b, iOS).login(), e.device(b, web).login()
	id := e.newGroup(a.user, b, c.user)
	chat := groupChat(id)
	e.eventually("joined", func() bool { return a.group(id) != nil })
	for _, text := range numbered(3) {
		a.sendGroup(id, text)
	}
	for _, d := range []*device{reader, other} {
		e.eventually("unread number", func() bool { return d.unread(chat) == 4 })
	}
	reader.do("read", reader.sdk.Conversation().MarkConversationMessageAsRead(reader.ctx(), chat))
	for _, d := range []*device{reader, other, e.device(b, windows).login()} {
		e.eventually("nothing unread", func() bool { return d.unread(chat) == 0 })
	}
	var mine, others msg.GetConversationsHasReadAndMaxSeqResp
	r := e.raw(b, android, envelopes[0])
	e.ask(r, reqReadSeqs, &msg.GetConversationsHasReadAndMaxSeqReq{UserID: b}, &mine)
	e.ask(c, reqReadSeqs, &msg.GetConversationsHasReadAndMaxSeqReq{UserID: c.user}, &others)
	if p := mine.Seqs[chat]; p.GetMaxSeq() != 4 || p.GetHasReadSeq() != 4 {
		t.Errorf("reader: %v", p)
	}
	if p := others.Seqs[chat]; p.GetMaxSeq() != 4 || p.GetHasReadSeq() != 0 {
		t.Errorf("who did not read: %v", p)
	}
	if n := a.count(onReceipt) + len(c.pushes(func(m *sdkws.MsgData) bool { return m.ContentType == 2200 })); n != 0 {
		t.Errorf("%d receipts to others", n)
	}
}
