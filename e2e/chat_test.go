package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/openimsdk/openim-sdk-core/v3/sdk_struct"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/wrapperspb"
	"google.golang.org/protobuf/proto"
)

// newestOf is the body of a request 1001.
func newestOf(user string) *sdkws.GetMaxSeqReq { return &sdkws.GetMaxSeqReq{UserID: user} }

// newest returns the last seq of a conversation as the user is told.
func (e *env) newest(r *raw, conversation string) int64 {
	e.Helper()
	var resp sdkws.GetMaxSeqResp
	e.ask(r, reqNewestSeq, newestOf(r.user), &resp)
	return resp.MaxSeqs[conversation]
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("message %d", i+1)
	}
	return out
}

// Acceptance 5: each device of both sides has a message once, the sending one its
// seq.
func TestTwoDevicesEach(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.user("_a"), e.user("_b_c") // user IDs may contain _
	a1, a2 := e.device(a, android).login(), e.device(a, windows).login()
	b1, b2 := e.device(b, iOS).login(), e.device(b, web).login()
	conversation := single(a, b)

	exchange := func(from *device, to, text string, others ...*device) {
		t.Helper()
		m := from.send(to, text)
		for _, d := range others {
			e.eventually(fmt.Sprintf("%q at %s on %d", text, d.user, d.platform), func() bool { return d.received(m.ClientMsgID) > 0 })
		}
		e.eventually("seq of "+text+" at its sender", func() bool { return from.local(conversation, m.ClientMsgID).Seq > 0 })
	}
	exchange(a1, b, "hello", a2, b1, b2)
	exchange(b2, a, "hello yourself", a1, a2, b1)
	exchange(b1, a, "from the phone", a1, a2, b2)

	want := []string{"hello", "hello yourself", "from the phone"}
	for _, d := range []*device{a1, a2, b1, b2} {
		settled(300*time.Millisecond, func() int { return d.count(onMessage) })
		received := d.messages(onMessage)
		for i, m := range received {
			if d.received(m.ClientMsgID) != 1 || m.TextElem == nil || i > 0 && m.Seq <= received[i-1].Seq {
				t.Errorf("%s on %d received %+v", d.user, d.platform, received)
			}
		}
		history := d.scroll(conversation, 20)
		if !slices.Equal(texts(history), want) {
			t.Errorf("%s on %d: history %q", d.user, d.platform, texts(history))
		}
		for i, m := range history {
			if m.Seq != int64(i)+1 || m.Status != 2 {
				t.Errorf("%s on %d: %q has seq %d, status %d", d.user, d.platform, m.TextElem.Content, m.Seq, m.Status)
			}
		}
	}
	if n := a1.count(onMessage); n != 2 {
		t.Errorf("sender's device received %d messages, want the 2 of the other side", n)
	}
	batch := e.device(b, android)
	batch.init()
	batch.sdk.SetBatchMsgListener(batches{batch.recorder})
	batch.login()
	m := a1.send(b, "to the list")
	e.eventually("message in a list", func() bool {
		for _, ev := range batch.all(onMessages) {
			var list []sdk_struct.MsgStruct
			if json.Unmarshal([]byte(ev.arg), &list) == nil && len(list) == 1 && list[0].ClientMsgID == m.ClientMsgID {
				return true
			}
		}
		return false
	})
}

// Acceptance 5 in every envelope: what is stored and pushed is the client's
// message with the server's fields, also on the connection that sent it.
func TestPushedMessage(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		a, b := e.raw(e.user("a"), android, v), e.raw(e.user("b"), iOS, v)
		sent := a.text(b.user, "héllo")
		sent.Ex, sent.SenderPlatformID, sent.SendTime = "extra", windows, 12345
		var ack sdkws.UserSendMsgResp
		e.ask(a, reqSend, sent, &ack)
		want := proto.Clone(sent).(*sdkws.MsgData)
		want.ServerMsgID, want.Seq, want.SendTime, want.Status, want.SenderPlatformID = ack.ServerMsgID, 1, ack.SendTime, 2, android
		for _, r := range []*raw{a, b} {
			e.eventually("pushed to "+r.user, func() bool { return len(r.pushes(nil)) > 0 })
			if got := r.pushes(nil); len(got) != 1 || !proto.Equal(got[0], want) {
				e.Errorf("pushed to %s:\n%v\nwant\n%v", r.user, got, want)
			}
			if got := e.pullAll(r, single(a.user, b.user)); len(got) != 1 || !proto.Equal(got[0], want) {
				e.Errorf("pulled by %s:\n%v\nwant\n%v", r.user, got, want)
			}
		}
		if now := time.Now().UnixMilli(); ack.SendTime < now-60_000 || ack.SendTime > now+60_000 {
			e.Errorf("sendTime %d is not the server's clock (%d)", ack.SendTime, now)
		}
	})
}

// Acceptance 6 by the SDK.
func TestManyBySDK(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.device(e.user("a"), android).login(), e.device(e.user("b"), iOS).login()
	const n = 200
	conversation, want := single(a.user, b.user), numbered(n)
	for _, text := range want {
		a.send(b.user, text)
	}
	e.eventually("all received", func() bool { return b.count(onMessage) >= n })
	var got []string
	for _, m := range b.messages(onMessage) {
		got = append(got, m.TextElem.Content)
	}
	if !slices.Equal(got, want) {
		t.Errorf("received %q", got)
	}
	last := b.messages(onMessage)[n-1].ClientMsgID
	e.eventually("all numbered at the sender", func() bool { return a.local(conversation, last).Seq == n })
	for _, d := range []*device{a, b, e.device(b.user, web).login()} {
		history := d.scroll(conversation, 30)
		if !slices.Equal(texts(history), want) {
			t.Errorf("%s on %d: history of %d: %q", d.user, d.platform, len(history), texts(history))
			continue
		}
		for i, m := range history {
			if m.Seq != int64(i)+1 || i > 0 && m.SendTime <= history[i-1].SendTime {
				t.Errorf("%s on %d: seq %d, sendTime %d at place %d", d.user, d.platform, m.Seq, m.SendTime, i)
			}
		}
	}
}

// Acceptance 6 in every envelope: 200 messages, most sent before the first answer.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		a, b := e.raw(e.user("a"), android, v), e.raw(e.user("b"), iOS, v)
		const n = 200
		sendMany(e, a, b.user, n)
		for _, r := range []*raw{a, b} {
			e.eventually("all pushed to "+r.user, func() bool { return len(r.pushes(nil)) >= n })
			for name, msgs := range map[string][]*sdkws.MsgData{"pushed": r.pushes(nil), "pulled": e.pullAll(r, single(a.user, b.user))} {
				if err := inOrder(msgs); err != nil || len(msgs) != n {
					e.Errorf("%d %s to %s: %v", len(msgs), name, r.user, err)
				}
				for i, m := range msgs {
					if want := string(a.text("", fmt.Sprintf("message %d", i+1)).Content); string(m.Content) != want {
						e.Errorf("%s to %s at place %d: %s", name, r.user, i, m.Content)
						break
					}
				}
			}
		}
	})
}

// Acceptance 7: the answer to a send comes after the SDK's 10 s, the app sends
// the same message again.
func TestResendBySDK(t *testing.T) {
	t.Parallel()
	e := shared(t)
	proxy := e.relay()
	a, b := e.device(e.user("a"), android), e.device(e.user("b"), iOS).login()
	a.ws = proxy.addr
	a.login()
	conversation := single(a.user, b.user)

	m := a.newText("once")
	proxy.hold()
	if code := a.post(m, b.user); code != 10001 {
		t.Fatalf("send without an answer: %d, want the SDK's time-out", code)
	}
	e.eventually("stored meanwhile", func() bool { return b.received(m.ClientMsgID) > 0 })
	resent := make(chan int, 1)
	again := *m
	again.TextElem = &sdk_struct.TextElem{Content: "once"}
	go func() { resent <- a.post(&again, b.user) }()
	e.eventually("sent again", func() bool { return len(proxy.requests(reqSend)) == 2 })
	proxy.release()
	if code := <-resent; code != 0 {
		t.Fatalf("second send: %d", code)
	}
	e.eventually("seq at the sender", func() bool { return a.local(conversation, m.ClientMsgID).Seq == 1 })
	after := a.send(b.user, "next")
	e.eventually("next received", func() bool { return b.received(after.ClientMsgID) > 0 })

	for _, d := range []*device{a, b, e.device(b.user, web).login()} {
		if got := texts(d.scroll(conversation, 20)); !slices.Equal(got, []string{"once", "next"}) {
			t.Errorf("%s on %d: history %q", d.user, d.platform, got)
		}
	}
	if n := b.received(m.ClientMsgID); n != 1 {
		t.Errorf("received %d times", n)
	}
	if got := a.local(conversation, after.ClientMsgID).Seq; got != 2 {
		t.Errorf("next has seq %d, want 2", got)
	}
}

// Acceptance 7 in every envelope: the second send gets the first one's answer,
// and only the sending connection hears of the message again.
func TestResend(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		a, b := e.raw(e.user("a"), android, v), e.raw(e.user("b"), iOS, v)
		m, first := e.sendText(a, b.user, "once")
		var second sdkws.UserSendMsgResp
		e.ask(a, reqSend, m, &second)
		if !proto.Equal(first, &second) {
			e.Errorf("second answer %v, first %v", &second, first)
		}
		e.eventually("pushed to the sender again", func() bool { return len(a.pushes(nil)) == 2 })
		if p := a.pushes(nil); !proto.Equal(p[0], p[1]) {
			e.Errorf("pushed %v, then %v", p[0], p[1])
		}
		e.sendText(a, b.user, "next")
		e.eventually("both received", func() bool { return len(b.pushes(nil)) >= 2 })
		if err := inOrder(b.pushes(nil)); err != nil {
			e.Errorf("receiver: %v", err)
		}
		if err := inOrder(e.pullAll(b, single(a.user, b.user))); err != nil {
			e.Errorf("stored: %v", err)
		}
	})
}

// Acceptance 8: messages that came while the receiver was away, on a device that
// knows him and on a new one.
func TestOfflineReceiver(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.raw(e.user("a"), android, envelopes[0]), e.user("b")
	known := e.device(b, iOS).login()
	known.quit()
	const n = 30
	want := numbered(n)
	for _, text := range want {
		e.sendText(a, b, text)
	}
	conversation := single(a.user, b)
	for name, d := range map[string]*device{"known": known, "new": e.device(b, web)} {
		proxy := e.relay()
		d.ws = proxy.addr
		d.login()
		pulls := proxy.requests(reqPullRange)
		if len(pulls) == 0 {
			t.Errorf("%s device: no request 1002", name)
		}
		for _, q := range pulls {
			var req sdkws.PullMessageBySeqsReq
			if err := proto.Unmarshal(q.Data, &req); err != nil || len(req.SeqRanges) != 1 || req.SeqRanges[0].Num != 1 {
				t.Errorf("%s device: request 1002 %v %v", name, &req, err)
			}
		}
		e.eventually(name+" device: unread number", func() bool { return d.unread(conversation) == n })
		if got := texts(d.scroll(conversation, 20)); !slices.Equal(got, want) {
			t.Errorf("%s device: history %q", name, got)
		}
		lists := proxy.requests(reqPullSeqs)
		if len(lists) == 0 {
			t.Errorf("%s device: no request 1005", name)
		}
		for _, q := range lists {
			var req msg.GetSeqMessageReq
			if err := proto.Unmarshal(q.Data, &req); err != nil || len(req.Conversations) != 1 || len(req.Conversations[0].Seqs) > 50 {
				t.Errorf("%s device: request 1005 %v %v", name, &req, err)
			}
		}
		asked := len(lists)
		if got := texts(d.scroll(conversation, 20)); !slices.Equal(got, want) {
			t.Errorf("%s device, again: history %q", name, got)
		}
		if n := len(proxy.requests(reqPullSeqs)); n != asked {
			t.Errorf("%s device: %d requests 1005, %d more for what it has", name, asked, n-asked)
		}
	}
	m, _ := e.sendText(a, b, "live")
	e.eventually("live message", func() bool { return known.received(m.ClientMsgID) == 1 })
	if got := texts(known.scroll(conversation, 20)); !slices.Equal(got, append(want, "live")) {
		t.Errorf("history at the end %q", got)
	}
}

// What has no seq: typing and online-only messages reach who is there and leave
// no trace.
func TestOnlineOnly(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.device(e.user("a"), android).login(), e.device(e.user("b"), iOS).login()
	if err := a.sdk.Conversation().TypingStatusUpdate(a.ctx(), b.user, "yes"); err != nil {
		t.Fatal(err)
	}
	e.eventually("typing seen", func() bool { return b.count(onInputStatus) > 0 })
	var seen struct {
		UserID      string
		PlatformIDs []int32
	}
	if err := json.Unmarshal([]byte(b.all(onInputStatus)[0].arg), &seen); err != nil || seen.UserID != a.user || !slices.Equal(seen.PlatformIDs, []int32{android}) {
		t.Errorf("typing: %+v %v", seen, err)
	}
	m := a.newText("now or never")
	if _, err := a.sdk.Conversation().SendMessageNotOss(a.ctx(), m, b.user, "", nil, true); err != nil {
		t.Fatal(err)
	}
	e.eventually("online-only message", func() bool { return b.count(onOnlineOnly) > 0 })
	kept := a.send(b.user, "kept")
	e.eventually("kept message", func() bool { return b.received(kept.ClientMsgID) > 0 })
	if got := b.messages(onMessage); len(got) != 1 || got[0].Seq != 1 {
		t.Errorf("received %+v, want the kept one with seq 1", got)
	}
}

// What an AppServer sends arrives in the SDK.
func TestFromAppServer(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.user("a"), e.device(e.user("b"), iOS).login()
	var ack struct {
		ServerMsgID, ClientMsgID string
		SendTime                 int64
	}
	e.must("/msg/send_msg", e.admin, obj{"sendID": a, "recvID": b.user, "senderNickname": "A", "senderPlatformID": android,
		"content": obj{"content": "by HTTP"}, "contentType": 101, "sessionType": 1}, &ack)
	e.eventually("message by HTTP", func() bool { return b.received(ack.ClientMsgID) == 1 })
	if m := b.messages(onMessage)[0]; m.TextElem.Content != "by HTTP" || m.ServerMsgID != ack.ServerMsgID || m.SendTime != ack.SendTime || m.Seq != 1 {
		t.Errorf("received %+v, answered %+v", m, ack)
	}
	e.must("/msg/send_business_notification", e.admin, obj{"key": "k", "data": "d", "sendUserID": a, "recvUserID": b.user}, nil)
	e.eventually("business notification", func() bool { return b.count(onBusiness) > 0 })
	var detail struct{ Key, Data string }
	if err := json.Unmarshal([]byte(b.all(onBusiness)[0].arg), &detail); err != nil || detail.Key != "k" || detail.Data != "d" {
		t.Errorf("business notification %+v %v", detail, err)
	}
}

// A profile changed on one device reaches the other.
func TestProfileChange(t *testing.T) {
	t.Parallel()
	e := shared(t)
	user := e.user("a")
	one, two := e.device(user, android).login(), e.device(user, web).login()
	e.eventually("profile stored", func() bool {
		u, err := two.sdk.User().GetSelfUserInfo(two.ctx())
		return err == nil && u.Nickname == "nick "+user
	})
	if err := one.sdk.User().SetSelfInfo(one.ctx(), &sdkws.UserInfoWithEx{Nickname: wrapped("new name")}); err != nil {
		t.Fatal(err)
	}
	e.eventually("new name on the other device", func() bool {
		for _, ev := range two.all(onSelfInfo) {
			var u struct{ Nickname string }
			if json.Unmarshal([]byte(ev.arg), &u) == nil && u.Nickname == "new name" {
				return true
			}
		}
		return false
	})
}

// Acceptance 16, the part without friends and groups: a refused message is marked
// as failed and can be sent again.
func TestRefusedMessage(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a := e.device(e.user("a"), android).login()
	nobody := e.prefix + "later"
	m := a.newText("to nobody")
	if code := a.post(m, nobody); code != 1004 {
		t.Fatalf("send to an unknown user: %d", code)
	}
	failed := func(status int32) func() bool {
		return func() bool { return a.local(single(a.user, nobody), m.ClientMsgID).Status == status }
	}
	e.eventually("marked as failed", failed(3))
	e.register(nobody)
	again := *m
	again.TextElem = &sdk_struct.TextElem{Content: "to nobody"}
	if code := a.post(&again, nobody); code != 0 {
		t.Fatalf("send again: %d", code)
	}
	e.eventually("marked as sent", failed(2))
}

func wrapped(s string) *wrapperspb.StringValue { return &wrapperspb.StringValue{Value: s} }
