//go:build linux

package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"gannet/internal/im"
	"gannet/internal/wire"

	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

// fake is a server of just what the generator needs. It does right unless tamper
// says otherwise.
type fake struct {
	t      *testing.T
	ws     net.Listener
	api    *httptest.Server
	tamper func(n int64, o *outcome) // of the nth message of the run, 1 and up; may block
	refuse int                       // error code of every handshake; 0 accepts
	drop   bool                      // close each connection after its handshake
	busy   [2]int                    // handshakes from the one to before the other are hung up on

	wg    sync.WaitGroup
	mu    sync.Mutex // guards what follows and all writes to connections
	conns map[string]*fakeConn
	all   []net.Conn
	known map[string]bool
	seqs  map[string]int64
	held  map[string][]func() // pushes that wait for the next of their conversation
	n     int64

	shakes int                 // handshakes seen
	groups map[string][]string // members
	logs   map[string][][]byte // stored messages by conversation, from seq 1
	watch  map[string][]string // who watches whether a user is there
	skips  map[string]bool     // what is not done: "pull" the last message, "presence", "receipt", "typing", "notice"
}

// outcome is what fake does with a message.
type outcome struct {
	acks, deliveries, echoes int
	refuse                   int
	seqStep                  int64
	hold                     bool // the delivery comes after the conversation's next one
	conversation             string
	edit                     func(ack *msg.SendMsgResp, push *sdkws.MsgData)
}

type fakeConn struct {
	net.Conn
	user    string
	variant wire.Variant
}

func newFake(t *testing.T, tamper func(n int64, o *outcome)) *fake {
	f := &fake{t: t, tamper: tamper, conns: map[string]*fakeConn{}, known: map[string]bool{}, seqs: map[string]int64{}, held: map[string][]func(){},
		groups: map[string][]string{}, logs: map[string][][]byte{}, watch: map[string][]string{}, skips: map[string]bool{}}
	f.api = httptest.NewServer(http.HandlerFunc(f.call))
	var err error
	if f.ws, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	f.wg.Go(func() {
		for {
			c, err := f.ws.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.all = append(f.all, c)
			f.mu.Unlock()
			f.wg.Go(func() {
				defer c.Close()
				f.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		f.ws.Close()
		f.api.Close()
		f.mu.Lock()
		for _, c := range f.all {
			c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

func (f *fake) flags() []string {
	return []string{"--ws", "ws://" + f.ws.Addr().String(), "--api", f.api.URL}
}

func (f *fake) call(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Users        []struct{ UserID string }
		CheckUserIDs []string

		OwnerUserID, GroupID, ConversationID, UserID string
		MemberUserIDs, InvitedUserIDs, KickedUserIDs []string
		GroupInfo                                    struct{ GroupID string }
		Seqs                                         []int64
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &in); err != nil || r.Header.Get("operationID") == "" {
		f.t.Errorf("%s: body %q, header %v", r.URL.Path, body, r.Header)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var data any
	switch r.URL.Path {
	case "/auth/get_admin_token", "/auth/get_user_token":
		data = map[string]string{"token": "token"}
	case "/user/user_register":
		for _, u := range in.Users {
			if f.known[u.UserID] {
				fmt.Fprint(w, `{"errCode":1102,"errMsg":"RegisteredAlreadyError"}`)
				return
			}
		}
		for _, u := range in.Users {
			f.known[u.UserID] = true
		}
	case "/user/account_check":
		list := []map[string]any{}
		for i, id := range in.CheckUserIDs {
			status := any(map[bool]string{true: "registered", false: "unregistered"}[f.known[id]])
			if i%2 == 0 {
				status = map[bool]int{true: 1}[f.known[id]]
			}
			list = append(list, map[string]any{"userID": id, "accountStatus": status})
		}
		data = map[string]any{"results": list}
	case "/group/create_group":
		f.groups[in.GroupInfo.GroupID] = append([]string{in.OwnerUserID}, in.MemberUserIDs...)
	case "/group/invite_user_to_group":
		f.groups[in.GroupID] = append(f.groups[in.GroupID], in.InvitedUserIDs...)
		f.notify(im.NotifyMemberInvited, in.GroupID)
	case "/group/kick_group":
		f.groups[in.GroupID] = slices.DeleteFunc(f.groups[in.GroupID], func(id string) bool { return slices.Contains(in.KickedUserIDs, id) })
		f.notify(im.NotifyMemberKicked, in.GroupID)
	case "/msg/mark_conversation_as_read":
		a, b, _ := strings.Cut(strings.TrimPrefix(in.ConversationID, "si_"), "_load") // IDs are load_<number>
		friend := map[bool]string{true: "load" + b, false: a}[a == in.UserID]
		tips, _ := json.Marshal(&sdkws.MarkAsReadTips{MarkAsReadUserID: in.UserID, ConversationID: in.ConversationID, Seqs: in.Seqs})
		if c := f.conns[friend]; c != nil && !f.skips["receipt"] {
			f.system(c, "n"+in.ConversationID[2:], im.NotifyHasRead, string(tips))
		}
	default:
		http.NotFound(w, r)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"errCode": 0, "data": data})
}

// system pushes a notification to c.
func (f *fake) system(c *fakeConn, conversation string, kind int32, detail string) {
	f.n++
	content, _ := wire.NotificationContent(json.RawMessage(detail))
	m, _ := proto.Marshal(&sdkws.MsgData{ContentType: kind, Content: content, ClientMsgID: fmt.Sprint("n", f.n), SendTime: 1, Status: im.MsgStatusSent})
	f.n--
	c.Write(wire.AppendPush(nil, c.variant, "", conversation, m))
}

// notify tells a group's connected members of a change, as gannet does: by a message
// in the chat, and by a notification.
func (f *fake) notify(kind int32, group string) {
	chat := im.GroupID(group)
	f.seqs[chat]++
	m, _ := proto.Marshal(&sdkws.MsgData{ContentType: kind, GroupID: group, ClientMsgID: fmt.Sprint("c", f.seqs[chat]),
		Seq: f.seqs[chat], SendTime: 1_700_000_000_000 + f.seqs[chat], Status: im.MsgStatusSent})
	f.logs[chat] = append(f.logs[chat], m)
	for i, id := range f.groups[group] {
		c := f.conns[id]
		if c == nil {
			continue
		}
		c.Write(wire.AppendPush(nil, c.variant, "", chat, m))
		if i != 1 || !f.skips["notice"] {
			f.system(c, im.NotifyGroupID(group), kind, "{}")
		}
	}
}

// present tells those who watch user.
func (f *fake) present(user string) {
	for _, id := range f.watch[user] {
		if c := f.conns[id]; c != nil && !f.skips["presence"] {
			f.answer(c, wire.ReqSubscribe, nil, f.status(user))
		}
	}
}

func (f *fake) status(user string) *sdkws.SubUserOnlineStatusTips {
	s := &sdkws.SubUserOnlineStatusElem{UserID: user}
	if f.conns[user] != nil {
		s.OnlinePlatformIDs = []int32{2}
	}
	return &sdkws.SubUserOnlineStatusTips{Subscribers: []*sdkws.SubUserOnlineStatusElem{s}}
}

func (f *fake) answer(c *fakeConn, id int32, incr []byte, m proto.Message) {
	data, _ := proto.Marshal(m)
	c.Write(wire.AppendResponse(nil, c.variant, &wire.Response{ReqIdentifier: id, MsgIncr: incr, Data: data}))
}

// request answers what is not a message.
func (f *fake) request(c *fakeConn, r *wire.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.ReqIdentifier {
	case wire.ReqNewestSeq:
		f.answer(c, r.ReqIdentifier, r.MsgIncr, &sdkws.GetMaxSeqResp{MaxSeqs: f.seqs})
	case wire.ReqPullByRange:
		var in sdkws.PullMessageBySeqsReq
		proto.Unmarshal(r.Data, &in)
		out := &sdkws.PullMessageBySeqsResp{Msgs: map[string]*sdkws.PullMsgs{}}
		for _, g := range in.SeqRanges {
			list := &sdkws.PullMsgs{}
			for seq := g.Begin; seq <= g.End; seq++ {
				m := &sdkws.MsgData{}
				proto.Unmarshal(f.logs[g.ConversationID][seq-1], m)
				if seq != g.End || !f.skips["pull"] {
					list.Msgs = append(list.Msgs, m)
				}
			}
			out.Msgs[g.ConversationID] = list
		}
		f.answer(c, r.ReqIdentifier, r.MsgIncr, out)
	case wire.ReqSubscribe:
		var in sdkws.SubUserOnlineStatus
		proto.Unmarshal(r.Data, &in)
		for _, id := range in.SubscribeUserID {
			if !slices.Contains(f.watch[id], c.user) {
				f.watch[id] = append(f.watch[id], c.user)
			}
			f.answer(c, r.ReqIdentifier, r.MsgIncr, f.status(id))
		}
	default:
		f.t.Errorf("request %d", r.ReqIdentifier)
	}
}

func (f *fake) serve(nc net.Conn) {
	in := bufio.NewReader(nc)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	q := r.URL.Query()
	if q.Get("token") != "token" || q.Get("isBackground") != "false" || q.Get("platformID") == "" || q.Get("operationID") == "" {
		f.t.Errorf("query %v", q)
	}
	if f.refuse != 0 {
		body := fmt.Sprintf(`{"errCode":%d,"errMsg":"no"}`, f.refuse)
		fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		return
	}
	f.mu.Lock()
	n := f.shakes
	f.shakes++
	f.mu.Unlock()
	if n >= f.busy[0] && n < f.busy[1] {
		return
	}
	c := &fakeConn{Conn: nc, user: q.Get("sendID")}
	if q.Get("compression") == "gzip" {
		c.variant |= wire.VariantGzip
	}
	if q.Get("sdkType") == "js" {
		c.variant |= wire.VariantJSON
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	f.mu.Lock()
	f.conns[c.user] = c
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.conns[c.user] == c {
			delete(f.conns, c.user)
			f.present(c.user)
		}
	}()
	// The ping shares a segment with the answer: its bytes must not get lost.
	nc.Write(wire.AppendControlFrame([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n"), opPing, []byte("x")))
	f.present(c.user)
	f.mu.Unlock()
	for !f.drop {
		opcode, payload, err := readClientFrame(in)
		if err != nil {
			return
		}
		switch opcode {
		case opBinary:
			f.message(c, payload)
		case opPing:
			f.mu.Lock()
			nc.Write(wire.AppendControlFrame(nil, opPong, payload))
			f.mu.Unlock()
		}
	}
}

func readClientFrame(in *bufio.Reader) (opcode byte, payload []byte, err error) {
	var head [14]byte
	if _, err = io.ReadFull(in, head[:2]); err != nil {
		return 0, nil, err
	}
	size, mask := uint64(head[1]&0x7f), 0
	switch size {
	case 126:
		mask = 2
	case 127:
		mask = 8
	}
	if _, err = io.ReadFull(in, head[2:6+mask]); err != nil {
		return 0, nil, err
	}
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		size = binary.BigEndian.Uint64(head[2:])
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(in, payload)
	for i := range payload {
		payload[i] ^= head[2+mask+i%4]
	}
	if head[0]&0x80 == 0 || head[1]&0x80 == 0 {
		err = fmt.Errorf("client frame starts with % x", head[:2])
	}
	return head[0] & 0x0f, payload, err
}

func (f *fake) message(c *fakeConn, payload []byte) {
	r, err := wire.DecodeRequest(payload, c.variant, frameMax)
	var m sdkws.MsgData
	if err == nil && r.ReqIdentifier != wire.ReqSendMsg {
		f.request(c, &r)
		return
	}
	if err != nil || r.ReqIdentifier != wire.ReqSendMsg || string(r.SendID) != c.user || proto.Unmarshal(r.Data, &m) != nil ||
		m.SendID != c.user || m.CreateTime == 0 || m.SenderNickname == "" || m.Seq != 0 || !json.Valid(m.Content) {
		f.t.Errorf("request %+v of %s: %v; message %v", r, c.user, err, &m)
		return
	}
	if m.ContentType == im.ContentTyping {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.answer(c, wire.ReqSendMsg, r.MsgIncr, &msg.SendMsgResp{ClientMsgID: m.ClientMsgID})
		if to := f.conns[m.RecvID]; to != nil && !f.skips["typing"] {
			push, _ := proto.Marshal(&m)
			to.Write(wire.AppendPush(nil, to.variant, "", im.SingleID(m.SendID, m.RecvID), push))
		}
		return
	}
	id, members := im.SingleID(m.SendID, m.RecvID), []string{m.RecvID}
	f.mu.Lock()
	if m.GroupID != "" {
		id = im.GroupID(m.GroupID)
		members = slices.DeleteFunc(slices.Clone(f.groups[m.GroupID]), func(id string) bool { return id == m.SendID })
	}
	f.n++
	o := outcome{acks: 1, deliveries: 1, echoes: 1, seqStep: 1, conversation: id}
	n := f.n
	f.mu.Unlock()
	if f.tamper != nil {
		f.tamper(n, &o)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.refuse != 0 {
		c.Write(wire.AppendResponse(nil, c.variant, &wire.Response{ReqIdentifier: wire.ReqSendMsg, MsgIncr: r.MsgIncr, ErrCode: o.refuse, ErrMsg: "no"}))
		return
	}
	f.seqs[id] += o.seqStep
	m.Seq, m.SendTime, m.Status, m.ServerMsgID = f.seqs[id], 1_700_000_000_000+f.seqs[id], im.MsgStatusSent, fmt.Sprint("s", n)
	ack := msg.SendMsgResp{ServerMsgID: m.ServerMsgID, ClientMsgID: m.ClientMsgID, SendTime: m.SendTime}
	if o.edit != nil {
		o.edit(&ack, &m)
	}
	push, _ := proto.Marshal(&m)
	f.logs[id] = append(f.logs[id], push)
	for range o.acks {
		f.answer(c, wire.ReqSendMsg, r.MsgIncr, &ack)
	}
	for range o.echoes {
		c.Write(wire.AppendPush(nil, c.variant, "", o.conversation, push))
	}
	for i, member := range members {
		to := f.conns[member]
		if to == nil {
			continue
		}
		frame := wire.AppendPush(nil, to.variant, "", o.conversation, push)
		if i > 0 { // all that goes wrong goes wrong for one member
			to.Write(frame)
			continue
		}
		if o.hold {
			f.held[id] = append(f.held[id], func() { to.Write(frame) })
			continue
		}
		for range o.deliveries {
			to.Write(frame)
		}
		for _, write := range f.held[id] {
			write()
		}
		delete(f.held, id)
	}
}

// load runs the generator against f.
func (f *fake) load(scenario string, flags ...string) (*report, int) {
	f.t.Helper()
	var log strings.Builder
	r, code := execute(f.t.Context(), append(append([]string{scenario}, f.flags()...), flags...), &log, &log)
	f.t.Log(log.String())
	if r == nil || len(r.Reports) == 0 {
		return nil, code
	}
	return r.Reports[0], code
}
