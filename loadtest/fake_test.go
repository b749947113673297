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

	wg    sync.WaitGroup
	mu    sync.Mutex // guards what follows and all writes to connections
	conns map[string]*fakeConn
	all   []net.Conn
	known map[string]bool
	seqs  map[string]int64
	held  map[string][][]byte // pushes that wait for the next of their conversation
	n     int64
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
	f := &fake{t: t, tamper: tamper, conns: map[string]*fakeConn{}, known: map[string]bool{}, seqs: map[string]int64{}, held: map[string][][]byte{}}
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
	default:
		http.NotFound(w, r)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"errCode": 0, "data": data})
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
	// The ping shares a segment with the answer: its bytes must not get lost.
	nc.Write(wire.AppendControlFrame([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n"), opPing, []byte("x")))
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
	if err != nil || r.ReqIdentifier != wire.ReqSendMsg || string(r.SendID) != c.user || proto.Unmarshal(r.Data, &m) != nil ||
		m.SendID != c.user || m.CreateTime == 0 || m.SenderNickname == "" || m.Seq != 0 || !json.Valid(m.Content) {
		f.t.Errorf("request %+v of %s: %v; message %v", r, c.user, err, &m)
		return
	}
	f.mu.Lock()
	f.n++
	o := outcome{acks: 1, deliveries: 1, echoes: 1, seqStep: 1, conversation: im.SingleID(m.SendID, m.RecvID)}
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
	id := im.SingleID(m.SendID, m.RecvID)
	f.seqs[id] += o.seqStep
	m.Seq, m.SendTime, m.Status, m.ServerMsgID = f.seqs[id], 1_700_000_000_000+f.seqs[id], im.MsgStatusSent, fmt.Sprint("s", n)
	ack := msg.SendMsgResp{ServerMsgID: m.ServerMsgID, ClientMsgID: m.ClientMsgID, SendTime: m.SendTime}
	if o.edit != nil {
		o.edit(&ack, &m)
	}
	text, _ := proto.Marshal(&ack)
	push, _ := proto.Marshal(&m)
	for range o.acks {
		c.Write(wire.AppendResponse(nil, c.variant, &wire.Response{ReqIdentifier: wire.ReqSendMsg, MsgIncr: r.MsgIncr, Data: text}))
	}
	for range o.echoes {
		c.Write(wire.AppendPush(nil, c.variant, "", o.conversation, push))
	}
	to := f.conns[m.RecvID]
	if to == nil {
		return
	}
	frame := wire.AppendPush(nil, to.variant, "", o.conversation, push)
	if o.hold {
		f.held[id] = append(f.held[id], frame)
		return
	}
	for range o.deliveries {
		to.Write(frame)
	}
	for _, frame := range f.held[id] {
		to.Write(frame)
	}
	delete(f.held, id)
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
