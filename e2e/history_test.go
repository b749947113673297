package e2e

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/openimsdk/openim-sdk-core/v3/sdk_struct"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

// Acceptance 9: a new device scrolls over messages that are gone for everybody.
func TestDeletedForAll(t *testing.T) {
	t.Parallel()
	e := shared(t)
	b := e.user("b")
	sender := e.user("a")
	token := e.token(sender, android)
	a := e.rawToken(sender, android, envelopes[0], token)
	conversation, all := single(sender, b), numbered(60)
	for _, text := range all {
		e.sendText(a, b, text)
	}
	// One alone, a run over the border of a page, the oldest.
	gone := []int64{55, 21, 22, 23, 24, 25, 26, 1}
	forAll := obj{"conversationID": conversation, "seqs": gone, "deleteSyncOpt": obj{"IsSyncOther": true}}
	e.refused("/msg/delete_msgs", e.token(b, windows), with(forAll, "userID", b), codeNoPermission)
	e.must("/msg/delete_msgs", token, with(forAll, "userID", sender), nil)
	var want []string
	for i, text := range all {
		if !slices.Contains(gone, int64(i)+1) {
			want = append(want, text)
		}
	}
	proxy := e.relay()
	d := e.device(b, iOS)
	d.ws = proxy.addr
	d.login()
	if got := texts(d.scroll(conversation, 20)); !slices.Equal(got, want) {
		t.Errorf("history of %d: %q", len(got), got)
	}
	asked := len(proxy.requests(reqPullSeqs))
	if asked > 6 {
		t.Errorf("%d requests 1005 for 60 messages", asked)
	}
	if got := texts(d.scroll(conversation, 20)); !slices.Equal(got, want) {
		t.Errorf("history, again: %q", got)
	}
	if n := len(proxy.requests(reqPullSeqs)); n != asked {
		t.Errorf("%d more requests 1005 for what it has", n-asked)
	}
	placeholders(e, a, conversation, gone)
}

// placeholders checks what stands at the place of deleted messages.
func placeholders(e *env, r *raw, conversation string, gone []int64) {
	e.Helper()
	msgs := e.pullAll(r, conversation)
	if err := inOrder(msgs); err != nil {
		e.Errorf("with placeholders: %v", err)
	}
	for _, seq := range gone {
		if m := msgs[seq-1]; m.Status != 4 || len(m.Content) != 0 || m.SendID == "" || m.ServerMsgID == "" {
			e.Errorf("placeholder at seq %d: %v", seq, m)
		}
	}
	if again := e.pullAll(r, conversation); !slices.EqualFunc(msgs, again, func(a, b *sdkws.MsgData) bool { return proto.Equal(a, b) }) {
		e.Errorf("placeholders differ between two pulls")
	}
}

// What one deletes or clears for oneself stays with the other.
func TestDeletedForOneself(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.device(e.user("a"), android).login(), e.device(e.user("b"), iOS).login()
	conversation := single(a.user, b.user)
	var sent []*sdk_struct.MsgStruct
	for _, text := range numbered(5) {
		sent = append(sent, a.send(b.user, text))
	}
	last := sent[4].ClientMsgID
	e.eventually("received and numbered", func() bool {
		return b.received(last) > 0 && a.local(conversation, last).Seq == 5
	})
	if err := a.sdk.Conversation().DeleteMessage(a.ctx(), conversation, sent[1].ClientMsgID); err != nil {
		t.Fatal(err)
	}
	want := []string{"message 1", "message 3", "message 4", "message 5"}
	for _, d := range []*device{a, e.device(a.user, web).login()} {
		if got := texts(d.scroll(conversation, 3)); !slices.Equal(got, want) {
			t.Errorf("%s on %d: history %q", d.user, d.platform, got)
		}
	}
	fresh := e.device(b.user, web).login()
	if got := texts(fresh.scroll(conversation, 3)); !slices.Equal(got, numbered(5)) {
		t.Errorf("the other side: history %q", got)
	}
	if err := a.sdk.Conversation().ClearConversationAndDeleteAllMsg(a.ctx(), conversation); err != nil {
		t.Fatal(err)
	}
	after := b.send(a.user, "after")
	e.eventually("message after clearing", func() bool { return a.received(after.ClientMsgID) > 0 })
	for _, d := range []*device{a, e.device(a.user, windows).login()} {
		if got := texts(d.scroll(conversation, 20)); !slices.Equal(got, []string{"after"}) {
			t.Errorf("%s on %d: history after clearing %q", d.user, d.platform, got)
		}
	}
	if got := texts(b.scroll(conversation, 20)); len(got) != 6 {
		t.Errorf("the other side after clearing: history %q", got)
	}
}

// revocation is how a revoked message and the app's callback describe it.
type revocation struct {
	RevokerID, ClientMsgID string
	Seq                    int64
	IsAdminRevoke          bool
}

// revokedAt waits until the device's app was told of a revocation.
func revokedAt(d *device, want revocation) {
	d.env.Helper()
	told := func() bool {
		for _, ev := range d.all(onRevoked) {
			var got revocation
			if json.Unmarshal([]byte(ev.arg), &got) == nil && got == want {
				return true
			}
		}
		return false
	}
	d.env.tryEventually(told, func() {
		d.env.Fatalf("%s on %d not told of %+v, but of %v", d.user, d.platform, want, d.all(onRevoked))
	})
}

// Acceptance 10: revoked by the sender and by an administrator, with the receiver
// there, away, and new.
func TestRevoke(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.device(e.user("a"), android).login(), e.user("b")
	here, away := e.device(b, iOS).login(), e.device(b, windows).login()
	conversation := single(a.user, b)
	var sent []*sdk_struct.MsgStruct
	for _, text := range numbered(4) {
		m := a.send(b, text)
		sent = append(sent, m)
		e.eventually("received", func() bool { return here.received(m.ClientMsgID) > 0 && away.received(m.ClientMsgID) > 0 })
	}
	away.quit()

	if err := a.sdk.Conversation().RevokeMessage(a.ctx(), conversation, sent[1].ClientMsgID); err != nil {
		t.Fatal(err)
	}
	e.must("/msg/revoke_msg", e.admin, obj{"conversationID": conversation, "seq": 3, "userID": adminUser}, nil)
	bySender := revocation{a.user, sent[1].ClientMsgID, 2, false}
	byAdmin := revocation{adminUser, sent[2].ClientMsgID, 3, true}
	for _, d := range []*device{a, here, away.login()} {
		revokedAt(d, bySender)
		revokedAt(d, byAdmin)
	}
	fresh := e.device(b, web).login()
	for _, d := range []*device{a, here, away, fresh} {
		history := d.scroll(conversation, 20)
		if got, want := texts(history), []string{"message 1", "type 2101", "type 2101", "message 4"}; !slices.Equal(got, want) {
			t.Errorf("%s on %d: history %q", d.user, d.platform, got)
			continue
		}
		for i, want := range []revocation{bySender, byAdmin} {
			var got revocation
			elem := history[i+1].NotificationElem
			if elem == nil || json.Unmarshal([]byte(elem.Detail), &got) != nil || got != want {
				t.Errorf("%s on %d: %+v, want %+v", d.user, d.platform, elem, want)
			}
		}
	}
	token := here.token
	refuse := func(seq int, code int) {
		t.Helper()
		e.refused("/msg/revoke_msg", token, obj{"conversationID": conversation, "seq": seq, "userID": b}, code)
	}
	refuse(1, codeNoPermission) // not his own
	refuse(99, 1004)
	e.refused("/msg/revoke_msg", a.token, obj{"conversationID": conversation, "seq": 2, "userID": a.user}, 1404)
	e.refused("/msg/revoke_msg", token, obj{"conversationID": conversation, "seq": 1, "userID": a.user}, codeNoPermission)
}

// Acceptance 10 in every envelope: the notification has a seq of its own and can
// be pulled; the message has changed in every way of reading it.
func TestRevokeOnTheWire(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		a, b := e.raw(e.user("a"), android, v), e.raw(e.user("b"), iOS, v)
		sent, ack := e.sendText(a, b.user, "wrong")
		conversation, twin := single(a.user, b.user), notifications(a.user, b.user)
		e.must("/msg/revoke_msg", e.admin, obj{"conversationID": conversation, "seq": 1, "userID": adminUser}, nil)
		isRevoke := func(m *sdkws.MsgData) bool { return m.ContentType == 2101 }
		e.eventually("notification pushed", func() bool { return len(b.pushes(isRevoke)) > 0 })
		notice := b.pushes(isRevoke)[0]
		var content struct{ Detail string }
		var tips sdkws.RevokeMsgTips
		if json.Unmarshal(notice.Content, &content) != nil || json.Unmarshal([]byte(content.Detail), &tips) != nil {
			e.Fatalf("content of 2101: %s", notice.Content)
		}
		if notice.Seq != 1 || tips.Seq != 1 || tips.ConversationID != conversation || tips.ClientMsgID != sent.ClientMsgID ||
			tips.RevokerUserID != adminUser || !tips.IsAdminRevoke || tips.SesstionType != 1 {
			e.Errorf("notification %v, tips %v", notice, &tips)
		}
		if keep, set := notice.Options["isNotNotification"]; keep || !set {
			e.Errorf("notification's options %v", notice.Options)
		}
		var pulled sdkws.PullMessageBySeqsResp
		e.ask(b, reqPullRange, &sdkws.PullMessageBySeqsReq{UserID: b.user, SeqRanges: []*sdkws.SeqRange{
			{ConversationID: twin, End: 1, Num: 1}, {ConversationID: conversation, Begin: 1, End: 1, Num: 1}}}, &pulled)
		if got := pulled.NotificationMsgs[twin].GetMsgs(); len(got) != 1 || !proto.Equal(got[0], notice) {
			e.Errorf("notification pulled: %v", got)
		}
		var last msg.GetLastMessageResp
		e.ask(b, reqLastMessages, &msg.GetLastMessageReq{UserID: b.user, ConversationIDs: []string{conversation}}, &last)
		for how, got := range map[string]*sdkws.MsgData{
			"1002": pulled.Msgs[conversation].GetMsgs()[0],
			"1005": e.pullAll(b, conversation)[0],
			"1007": last.Msgs[conversation],
		} {
			if got.GetContentType() != 2101 || got.Seq != 1 || got.ClientMsgID != sent.ClientMsgID || got.SendTime != ack.SendTime || got.SendID != a.user {
				e.Errorf("revoked message by %s: %v", how, got)
			}
		}
	})
}

// Acceptance 11: what one device reads is read on the reader's others, and the
// sender is told.
func TestRead(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.device(e.user("a"), android).login(), e.user("b")
	reader, other := e.device(b, iOS).login(), e.device(b, web).login()
	conversation := single(a.user, b)
	var ids []string
	for _, text := range numbered(3) {
		ids = append(ids, a.send(b, text).ClientMsgID)
	}
	for _, d := range []*device{reader, other} {
		e.eventually("unread number", func() bool { return d.count(onMessage) == 3 && d.unread(conversation) == 3 })
	}
	if err := reader.sdk.Conversation().MarkConversationMessageAsRead(reader.ctx(), conversation); err != nil {
		t.Fatal(err)
	}
	e.eventually("receipt at the sender", func() bool { return a.count(onReceipt) > 0 })
	var receipts []sdk_struct.MessageReceipt
	if err := json.Unmarshal([]byte(a.all(onReceipt)[0].arg), &receipts); err != nil || len(receipts) != 1 || receipts[0].UserID != b {
		t.Fatalf("receipt %s %v", a.all(onReceipt)[0].arg, err)
	}
	slices.Sort(ids)
	slices.Sort(receipts[0].MsgIDList)
	if !slices.Equal(ids, receipts[0].MsgIDList) {
		t.Errorf("receipt for %v, want %v", receipts[0].MsgIDList, ids)
	}
	for _, id := range ids {
		if !a.local(conversation, id).IsRead {
			t.Errorf("%s not read at the sender", id)
		}
	}
	for _, d := range []*device{reader, other, e.device(b, windows).login()} {
		e.eventually("nothing unread", func() bool { return d.unread(conversation) == 0 })
	}
	if unread := e.device(a.user, web).login().unread(conversation); unread != 0 {
		t.Errorf("own messages unread at a new device of the sender: %d", unread)
	}
	for _, m := range e.device(a.user, iOS).login().scroll(conversation, 20) {
		if !m.IsRead {
			t.Errorf("%q not read at a new device of the sender", m.TextElem.Content)
		}
	}
}

// Acceptance 11 in every envelope.
func TestReadOnTheWire(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		a, b := e.raw(e.user("a"), android, v), e.user("b")
		token := e.token(b, iOS)
		reader := e.rawToken(b, iOS, v, token)
		conversation := single(a.user, b)
		for _, text := range numbered(3) {
			e.sendText(a, b, text)
		}
		positions := func(r *raw) *msg.Seqs {
			var resp msg.GetConversationsHasReadAndMaxSeqResp
			e.ask(r, reqReadSeqs, &msg.GetConversationsHasReadAndMaxSeqReq{UserID: r.user}, &resp)
			return resp.Seqs[conversation]
		}
		if p := positions(reader); p.GetMaxSeq() != 3 || p.GetHasReadSeq() != 0 || p.GetMaxSeqTime() == 0 {
			e.Errorf("before: %v", p)
		}
		if p := positions(a); p.GetMaxSeq() != 3 || p.GetHasReadSeq() != 3 {
			e.Errorf("sender: %v", p)
		}
		e.must("/msg/mark_conversation_as_read", token, obj{"conversationID": conversation, "userID": b, "hasReadSeq": 2, "seqs": []int64{}}, nil)
		isReceipt := func(m *sdkws.MsgData) bool { return m.ContentType == 2200 }
		for _, r := range []*raw{a, reader} {
			e.eventually("receipt pushed to "+r.user, func() bool { return len(r.pushes(isReceipt)) > 0 })
			var content struct{ Detail string }
			var tips sdkws.MarkAsReadTips
			notice := r.pushes(isReceipt)[0]
			if json.Unmarshal(notice.Content, &content) != nil || json.Unmarshal([]byte(content.Detail), &tips) != nil ||
				tips.MarkAsReadUserID != b || tips.HasReadSeq != 2 || !slices.Equal(tips.Seqs, []int64{1, 2}) || notice.Seq != 1 {
				e.Errorf("receipt to %s: %v", r.user, notice)
			}
		}
		if p := positions(reader); p.GetMaxSeq() != 3 || p.GetHasReadSeq() != 2 {
			e.Errorf("after: %v", p)
		}
		e.refused("/msg/mark_msgs_as_read", token, obj{"conversationID": conversation, "userID": b, "seqs": []int64{9}}, codeArgs)
		e.must("/msg/mark_msgs_as_read", token, obj{"conversationID": conversation, "userID": b, "seqs": []int64{3}}, nil)
		if p := positions(reader); p.GetHasReadSeq() != 3 {
			e.Errorf("at the end: %v", p)
		}
		for _, m := range e.pullAll(a, conversation) {
			if !m.IsRead {
				e.Errorf("seq %d not read", m.Seq)
			}
		}
	})
}
