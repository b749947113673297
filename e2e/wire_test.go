package e2e

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/push"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

var flagBacklog = flag.Int("backlog", 20000, "notifications waiting in TestBacklog")

// Every request once in every envelope, up to the log-out.
func TestRequests(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		a, b := e.raw(e.user("a"), android, v), e.raw(e.user("b"), iOS, v)
		conversation := single(a.user, b.user)
		sent, ack := e.sendText(a, b.user, "hello")
		e.sendText(b, a.user, "hello yourself")
		if n := e.newest(b, conversation); n != 2 {
			e.Errorf("1001: %d", n)
		}
		var pulled sdkws.PullMessageBySeqsResp
		e.ask(b, reqPullRange, &sdkws.PullMessageBySeqsReq{UserID: b.user, SeqRanges: []*sdkws.SeqRange{
			{ConversationID: conversation, Begin: 0, End: 2, Num: 1}}}, &pulled)
		if got := pulled.Msgs[conversation].GetMsgs(); len(got) != 1 || got[0].Seq != 2 {
			e.Errorf("1002 with num 1: %v", got)
		}
		e.ask(b, reqPullRange, &sdkws.PullMessageBySeqsReq{UserID: b.user}, nil)
		var listed msg.GetSeqMessageResp
		for _, order := range []sdkws.PullOrder{sdkws.PullOrder_PullOrderAsc, sdkws.PullOrder_PullOrderDesc} {
			e.ask(b, reqPullSeqs, &msg.GetSeqMessageReq{UserID: b.user, Order: order,
				Conversations: []*msg.ConversationSeqs{{ConversationID: conversation, Seqs: []int64{1, 2, 3}}}}, &listed)
			list := listed.Msgs[conversation]
			if len(list.GetMsgs()) != 2 || list.Msgs[0].Seq != 1 || list.Msgs[1].Seq != 2 || list.IsEnd != (order == sdkws.PullOrder_PullOrderAsc) {
				e.Errorf("1005, order %v: %v", order, list)
			}
		}
		if got := listed.Msgs[conversation].Msgs[0]; got.ClientMsgID != sent.ClientMsgID || got.ServerMsgID != ack.ServerMsgID || got.SendTime != ack.SendTime {
			e.Errorf("1005: %v, answered %v", got, ack)
		}
		var last msg.GetLastMessageResp
		e.ask(a, reqLastMessages, &msg.GetLastMessageReq{UserID: a.user, ConversationIDs: []string{conversation, single(a.user, "nobody")}}, &last)
		if len(last.Msgs) != 1 || last.Msgs[conversation].GetSeq() != 2 {
			e.Errorf("1007: %v", last.Msgs)
		}
		for _, background := range []bool{true, false} {
			e.ask(a, reqBackground, &sdkws.SetAppBackgroundStatusReq{UserID: a.user, IsBackground: background}, nil)
		}
		if code, err := a.do(1004, newestOf(a.user), nil); err != nil || code != codeArgs {
			e.Errorf("1004: %d %v", code, err)
		}
		e.ask(a, reqLogout, &push.DelUserPushTokenReq{UserID: a.user, PlatformID: a.platform}, nil)
		e.closeCode(a)
	})
}

// A message larger than any buffer, in many fragments.
func TestFragments(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		a, b := e.user("a"), e.raw(e.user("b"), iOS, v)
		dialer := websocket.Dialer{WriteBufferSize: 128}
		conn, _, err := dialer.Dial("ws://"+e.srv.ws+"/?"+v.query(a, android, e.token(a, android)).Encode(), nil)
		if err != nil {
			e.Fatal(err)
		}
		defer conn.Close()
		r := &raw{user: a, platform: android, envelope: v, conn: conn, done: make(chan struct{}), waiting: map[string]chan *rawResponse{}}
		go r.read()
		var text strings.Builder
		for i := 0; text.Len() < 100_000; i++ {
			fmt.Fprintf(&text, "%x ", uint32(i)*2654435761)
		}
		sent, _ := e.sendText(r, b.user, text.String())
		e.eventually("received", func() bool { return len(b.pushes(nil)) == 1 })
		if got := b.pushes(nil)[0]; !slices.Equal(got.Content, sent.Content) {
			e.Errorf("received %d bytes of %d", len(got.Content), len(sent.Content))
		}
	})
}

// Pings by text, as browsers' SDKs send them, and the handshake in one parameter.
func TestTextPing(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		user := e.user("web")
		packed := obj{"token": e.token(user, web), "userID": user, "platformID": web, "operationID": operationID()}
		if v.json {
			packed["sdkType"] = "js"
		}
		if v.gzip {
			packed["compression"] = "gzip"
		}
		b, err := json.Marshal(packed)
		if err != nil {
			e.Fatal(err)
		}
		r, err := dial(e.srv.ws, user, web, v, url.Values{"v": {base64.RawURLEncoding.EncodeToString(b)}})
		if err != nil {
			e.Fatal(err)
		}
		e.Cleanup(r.close)
		go r.read()
		if err := r.writeFrame(websocket.TextMessage, []byte(`{"type":"pong"}`)); err != nil {
			e.Fatal(err)
		}
		if err := r.writeFrame(websocket.TextMessage, []byte(`{"type":"ping","body":{"at":[1,"x"]}}`)); err != nil {
			e.Fatal(err)
		}
		var texts []string
		e.eventually("pong", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			texts = slices.Clone(r.texts)
			return len(texts) > 0
		})
		var pong struct {
			Type string
			Body json.RawMessage
		}
		if err := json.Unmarshal([]byte(texts[0]), &pong); err != nil || len(texts) != 1 || pong.Type != "pong" || string(pong.Body) != `{"at":[1,"x"]}` {
			e.Errorf("answer %q", texts)
		}
		e.ask(r, reqNewestSeq, newestOf(user), nil)
	})
}

// Acceptance 17: a long backlog of notifications neither blocks nor drops an SDK.
func TestBacklog(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.user("a"), e.user("b")
	known := e.device(a, iOS).login()
	known.quit()
	conversation, twin := single(a, b), notifications(a, b)
	n := *flagBacklog
	began := time.Now()
	fill(e, a, b, n)
	t.Logf("%d notifications made in %v", n, time.Since(began))

	for _, v := range envelopes {
		r := e.raw(a, web, v)
		if got := e.newest(r, twin); got != int64(n) {
			t.Fatalf("%d notifications, want %d", got, n)
		}
		var resp sdkws.PullMessageBySeqsResp
		code, err := r.do(reqPullRange, &sdkws.PullMessageBySeqsReq{UserID: a, SeqRanges: []*sdkws.SeqRange{
			{ConversationID: twin, Begin: 0, End: int64(n), Num: 1}}}, &resp)
		got := resp.NotificationMsgs[twin].GetMsgs()
		if code != 0 || err != nil || len(got) == 0 || got[len(got)-1].Seq != int64(n) {
			t.Errorf("%s: errCode %d, %v; %d notifications, up to the newest?", v.name, code, err, len(got))
			continue
		}
		for i, m := range got {
			if m.Seq != got[0].Seq+int64(i) {
				t.Fatalf("%s: seq %d at place %d after %d", v.name, m.Seq, i, got[0].Seq)
			}
		}
		r.mu.Lock()
		largest := r.largest
		r.mu.Unlock()
		if largest >= 1<<20 {
			t.Errorf("%s: a frame of %d bytes", v.name, largest)
		}
		t.Logf("%s: the newest %d in %d bytes", v.name, len(got), largest)
		r.close()
	}
	connects := known.count(onConnecting)
	known.begin(e.token(a, iOS))
	e.eventuallyIn(time.Minute, "backlog synced", func() bool { return known.count(onSyncFinish) == 2 })
	known.send(b, "still here")
	settled(2*time.Second, func() int { return known.count(onConnecting) })
	if got := known.count(onConnecting) - connects; got != 1 || known.count(onSyncFailed) != 0 {
		t.Errorf("connected %d times, sync failed %d times", got, known.count(onSyncFailed))
	}
	if got := texts(known.page(conversation, 2, "").MessageList); !slices.Equal(got, []string{fmt.Sprint("message ", n), "still here"}) {
		t.Errorf("end of history %q", got)
	}
}

// fill makes n notifications between a and b: a sends n messages, b reads each by
// itself, which is a receipt (2200) of its own.
func fill(e *env, a, b string, n int) {
	e.Helper()
	sender := e.raw(a, android, envelope{"gob", false, false})
	sendMany(e, sender, b, n)
	sender.close()
	token := e.token(b, android)
	seqs, failed := make(chan int), make(chan error, 32)
	var readers sync.WaitGroup
	for range cap(failed) {
		readers.Go(func() {
			for seq := range seqs {
				code, text, err := apiCall(e.srv.api, "/msg/mark_msgs_as_read", token,
					obj{"conversationID": single(a, b), "userID": b, "seqs": []int{seq}}, nil)
				if code != 0 || err != nil {
					select {
					case failed <- fmt.Errorf("mark_msgs_as_read: %d %s %v", code, text, err):
					default:
					}
				}
			}
		})
	}
	for seq := 1; seq <= n && len(failed) == 0; seq++ {
		seqs <- seq
	}
	close(seqs)
	readers.Wait()
	select {
	case err := <-failed:
		e.Fatal(err)
	default:
	}
}

// Acceptance 18: nobody reads or writes what is not his.
func TestForeign(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		a, b, eve := e.raw(e.user("a"), android, v), e.raw(e.user("b"), iOS, v), e.raw(e.user("eve"), web, v)
		conversation, twin := single(a.user, b.user), notifications(a.user, b.user)
		e.sendText(a, b.user, "secret")
		e.must("/msg/revoke_msg", e.admin, obj{"conversationID": conversation, "seq": 1, "userID": adminUser}, nil)
		e.sendText(a, b.user, "secret too")
		both := []string{conversation, twin}

		requests := func(user string) map[int][2]proto.Message {
			var ranges []*sdkws.SeqRange
			var lists []*msg.ConversationSeqs
			for _, id := range both {
				ranges = append(ranges, &sdkws.SeqRange{ConversationID: id, Begin: 1, End: 9, Num: 9})
				lists = append(lists, &msg.ConversationSeqs{ConversationID: id, Seqs: []int64{1, 2}})
			}
			return map[int][2]proto.Message{
				reqNewestSeq:    {newestOf(user), &sdkws.GetMaxSeqResp{}},
				reqPullRange:    {&sdkws.PullMessageBySeqsReq{UserID: user, SeqRanges: ranges}, &sdkws.PullMessageBySeqsResp{}},
				reqPullSeqs:     {&msg.GetSeqMessageReq{UserID: user, Conversations: lists}, &msg.GetSeqMessageResp{}},
				reqReadSeqs:     {&msg.GetConversationsHasReadAndMaxSeqReq{UserID: user, ConversationIDs: both}, &msg.GetConversationsHasReadAndMaxSeqResp{}},
				reqLastMessages: {&msg.GetLastMessageReq{UserID: user, ConversationIDs: both}, &msg.GetLastMessageResp{}},
			}
		}
		for id, r := range requests(eve.user) {
			if code, err := eve.do(id, r[0], r[1]); err != nil || code != 0 && code != codeNoPermission {
				e.Errorf("%d for a foreign conversation: %d %v", id, code, err)
			}
			if leaked(r[1]) {
				e.Errorf("%d for a foreign conversation: %v", id, r[1])
			}
		}
		for id, r := range requests(a.user) {
			if code, err := eve.do(id, r[0], r[1]); err != nil || code != codeNoPermission {
				e.Errorf("%d in another's name: %d %v", id, code, err)
			}
		}
		forged := a.text(b.user, "not from a")
		if code, err := eve.do(reqSend, forged, nil); err != nil || code != codeNoPermission {
			e.Errorf("send in another's name: %d %v", code, err)
		}
		notice := eve.text(b.user, "forged notification")
		notice.ContentType = 2101
		if code, err := eve.do(reqSend, notice, nil); err != nil || code != codeArgs {
			e.Errorf("notification by a client: %d %v", code, err)
		}
		for id, req := range map[int]proto.Message{
			reqLogout:     &push.DelUserPushTokenReq{UserID: a.user, PlatformID: android},
			reqBackground: &sdkws.SetAppBackgroundStatusReq{UserID: a.user, IsBackground: true},
		} {
			if code, err := eve.do(id, req, nil); err != nil || code != codeNoPermission {
				e.Errorf("%d in another's name: %d %v", id, code, err)
			}
		}
		if n := e.newest(a, conversation); n != 2 {
			e.Errorf("conversation has %d messages, want 2", n)
		}
		for _, path := range []string{"/conversation/get_all_conversations", "/conversation/get_owner_conversation"} {
			e.refused(path, e.token(eve.user, windows), obj{"ownerUserID": a.user, "userID": a.user,
				"pagination": obj{"pageNumber": 1, "showNumber": 10}}, codeNoPermission)
		}
	})
}

// leaked says whether an answer about a foreign conversation holds anything.
func leaked(answer proto.Message) bool {
	switch r := answer.(type) {
	case *sdkws.GetMaxSeqResp:
		return len(r.MaxSeqs) > 0
	case *sdkws.PullMessageBySeqsResp:
		return holds(r.Msgs) || holds(r.NotificationMsgs)
	case *msg.GetSeqMessageResp:
		return holds(r.Msgs) || holds(r.NotificationMsgs)
	case *msg.GetConversationsHasReadAndMaxSeqResp:
		for _, s := range r.Seqs {
			if s.MaxSeq != 0 || s.MaxSeqTime != 0 {
				return true
			}
		}
		return false
	case *msg.GetLastMessageResp:
		return len(r.Msgs) > 0
	}
	return true
}

func holds(lists map[string]*sdkws.PullMsgs) bool {
	for _, l := range lists {
		if len(l.GetMsgs()) > 0 || l.GetEndSeq() != 0 {
			return true
		}
	}
	return false
}

// Acceptance 19: a connection that talks nonsense ends, alone.
func TestGarbage(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		user, other := e.user("a"), e.raw(e.user("b"), iOS, v)
		token := e.token(user, android)
		neighbour := e.rawToken(user, android, v, token)
		request := func(id int, sender string, data []byte) []byte {
			b, err := v.encode(&rawRequest{ReqIdentifier: id, SendID: sender, MsgIncr: "1", OperationID: "x", Data: data})
			if err != nil {
				e.Fatal(err)
			}
			return b
		}
		good := request(reqNewestSeq, user, nil)
		for name, frame := range map[string]struct {
			kind int
			data []byte
		}{
			"noise":              {websocket.BinaryMessage, []byte("\x00\xff\x13\x37 noise")},
			"empty":              {websocket.BinaryMessage, nil},
			"cut off":            {websocket.BinaryMessage, good[:len(good)/2]},
			"unknown identifier": {websocket.BinaryMessage, request(4711, user, nil)},
			"push by a client":   {websocket.BinaryMessage, request(pushMessages, user, nil)},
			"another's sendID":   {websocket.BinaryMessage, request(reqNewestSeq, other.user, nil)},
			"text":               {websocket.TextMessage, []byte("hello")},
			"text, JSON":         {websocket.TextMessage, []byte(`{"type":"hello"}`)},
			"too large":          {websocket.BinaryMessage, make([]byte, 1<<20+1)},
		} {
			r := e.rawToken(user, android, v, token)
			_ = r.writeFrame(frame.kind, frame.data) // the server may close before it has all
			e.closeCode(r)
			r.mu.Lock()
			answers := len(r.texts) + len(r.pushed)
			r.mu.Unlock()
			if answers != 0 {
				e.Errorf("%s: answered", name)
			}
		}
		e.ask(neighbour, reqNewestSeq, newestOf(user), nil)
		m, _ := e.sendText(other, user, "still there?")
		e.eventually("message at the neighbour", func() bool {
			got := neighbour.pushes(nil)
			return len(got) == 1 && got[0].ClientMsgID == m.ClientMsgID
		})
	})
}

// Acceptance 20: IDs that could not be put into a URL, or not be told apart.
func TestUserIDs(t *testing.T) {
	t.Parallel()
	e := shared(t)
	for _, bad := range []string{"+", "&", "#", "%", "=", "?", "/", " ", ":", "\x00", "\n"} {
		id := e.prefix + bad + "x"
		e.refused("/user/user_register", e.admin, obj{"users": []obj{{"userID": id, "nickname": "x"}}}, codeArgs)
		// Nothing of a batch is stored when one of it is bad.
		e.refused("/user/user_register", e.admin, obj{"users": []obj{{"userID": e.prefix + "good", "nickname": "x"}, {"userID": id, "nickname": "x"}}}, codeArgs)
	}
	e.refused("/user/user_register", e.admin, obj{"users": []obj{{"userID": "", "nickname": "x"}}}, codeArgs)
	e.register(e.prefix + "good")
	e.refused("/user/user_register", e.admin, obj{"users": []obj{{"userID": e.prefix + "good", "nickname": "x"}}}, codeRegistered)
}

// Two pairs of users whose conversation would have the same ID: the first keeps
// it, the second is refused.
func TestAmbiguousPair(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		p, q, s := e.prefix+"p", e.prefix+"q", e.prefix+"s"
		first := [2]string{p, q + "_" + s}
		second := [2]string{p + "_" + q, s}
		e.register(first[0], first[1], second[0], second[1])
		conversation := single(first[0], first[1])
		if other := single(second[0], second[1]); other != conversation {
			e.Fatalf("the test's own IDs differ: %s, %s", conversation, other)
		}
		a, b := e.raw(first[0], android, v), e.raw(first[1], android, v)
		c, d := e.raw(second[0], android, v), e.raw(second[1], android, v)
		e.sendText(a, b.user, "ours")
		for _, pair := range [][2]*raw{{c, d}, {d, c}} {
			code, err := pair[0].do(reqSend, pair[0].text(pair[1].user, "theirs"), nil)
			if err != nil || code == 0 || code >= 1501 && code <= 1507 {
				e.Errorf("%s → %s: %d %v", pair[0].user, pair[1].user, code, err)
			}
		}
		for _, r := range []*raw{c, d} {
			var resp sdkws.PullMessageBySeqsResp
			code, err := r.do(reqPullRange, &sdkws.PullMessageBySeqsReq{UserID: r.user, SeqRanges: []*sdkws.SeqRange{
				{ConversationID: conversation, Begin: 1, End: 9, Num: 9}}}, &resp)
			if err != nil || code != 0 && code != codeNoPermission || leaked(&resp) || e.newest(r, conversation) != 0 || len(r.pushes(nil)) != 0 {
				e.Errorf("%s sees the other pair's messages: %d %v %v", r.user, code, err, &resp)
			}
		}
		e.sendText(b, a.user, "ours still")
		if got := e.pullAll(a, conversation); len(got) != 2 {
			e.Errorf("%d messages, want 2", len(got))
		}
	})
}
