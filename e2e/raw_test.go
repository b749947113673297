package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

// Request identifiers of the WebSocket protocol.
const (
	reqNewestSeq    = 1001
	reqPullRange    = 1002
	reqSend         = 1003
	reqPullSeqs     = 1005
	reqReadSeqs     = 1006
	reqLastMessages = 1007
	pushMessages    = 2001
	pushKick        = 2002
	reqLogout       = 2003
	reqBackground   = 2004
	reqSubscribe    = 2005
)

// envelope says how a raw client's frames are encoded.
type envelope struct {
	name       string
	json, gzip bool
}

var envelopes = []envelope{
	{"gob+gzip", false, true},
	{"gob", false, false},
	{"json+gzip", true, true},
	{"json", true, false},
}

// eachEnvelope runs a test once per envelope, with its own users.
func eachEnvelope(e *env, test func(*env, envelope)) {
	for _, v := range envelopes {
		e.Run(v.name, func(t *testing.T) {
			t.Parallel()
			test(newEnv(t, e.srv), v)
		})
	}
}

type rawRequest struct {
	ReqIdentifier int    `json:"reqIdentifier"`
	Token         string `json:"token"`
	SendID        string `json:"sendID"`
	OperationID   string `json:"operationID"`
	MsgIncr       string `json:"msgIncr"`
	Data          []byte `json:"data"`
}

type rawResponse struct {
	ReqIdentifier int    `json:"reqIdentifier"`
	ErrCode       int    `json:"errCode"`
	ErrMsg        string `json:"errMsg"`
	MsgIncr       string `json:"msgIncr"`
	OperationID   string `json:"operationID"`
	Data          []byte `json:"data"`
}

func (v envelope) encode(r *rawRequest) ([]byte, error) {
	var buf bytes.Buffer
	var err error
	if v.json {
		err = json.NewEncoder(&buf).Encode(r)
	} else {
		err = gob.NewEncoder(&buf).Encode(r)
	}
	if err != nil || !v.gzip {
		return buf.Bytes(), err
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(buf.Bytes()); err != nil {
		return nil, err
	}
	err = w.Close()
	return zipped.Bytes(), err
}

func (v envelope) decode(b []byte) (*rawResponse, error) {
	if v.gzip {
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		if b, err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
	var resp rawResponse
	if v.json {
		return &resp, json.Unmarshal(b, &resp)
	}
	return &resp, gob.NewDecoder(bytes.NewReader(b)).Decode(&resp)
}

// raw is one WebSocket connection without the SDK. It answers pings but sends
// none of itself. Its methods may be called by many goroutines.
type raw struct {
	user     string
	platform int32
	envelope envelope
	conn     *websocket.Conn
	done     chan struct{} // closed when the connection has ended
	incr     atomic.Int64

	write sync.Mutex // serializes writes to conn

	mu      sync.Mutex
	waiting map[string]chan *rawResponse     // guarded by mu; by msgIncr
	pushed  []*sdkws.MsgData                 // guarded by mu; in order of arrival
	status  []*sdkws.SubUserOnlineStatusElem // guarded by mu; changes pushed by 2005
	texts   []string                         // guarded by mu; text frames
	kicks   int                              // guarded by mu; frames 2002
	pings   int                              // guarded by mu; control pings of the server
	largest int                              // guarded by mu; bytes of the largest frame
	err     error                            // guarded by mu; why it ended, or what was wrong with a frame
}

// handshakeError is a refused handshake.
type handshakeError struct {
	status int
	code   int
	size   int // of the body
}

func (e *handshakeError) Error() string {
	return fmt.Sprintf("handshake refused: status %d, errCode %d, body of %d bytes", e.status, e.code, e.size)
}

var errClosed = errors.New("connection closed")

// query returns the handshake's parameters.
func (v envelope) query(user string, platform int32, token string) url.Values {
	q := url.Values{"sendID": {user}, "platformID": {strconv.Itoa(int(platform))}, "token": {token},
		"operationID": {operationID()}, "isBackground": {"false"}}
	if v.json {
		q.Set("sdkType", "js")
	}
	if v.gzip {
		q.Set("compression", "gzip")
	}
	return q
}

// dial connects with the given parameters.
func dial(addr, user string, platform int32, v envelope, q url.Values) (*raw, error) {
	dialer := websocket.Dialer{HandshakeTimeout: 15 * time.Second}
	conn, resp, err := dialer.Dial("ws://"+addr+"/?"+q.Encode(), nil)
	if err != nil {
		if resp == nil {
			return nil, err
		}
		body, _ := io.ReadAll(resp.Body)
		refused := &handshakeError{status: resp.StatusCode, size: len(body)}
		var answer struct{ ErrCode int }
		if json.Unmarshal(body, &answer) != nil {
			return nil, fmt.Errorf("handshake refused with status %d and no JSON: %q", resp.StatusCode, body)
		}
		refused.code = answer.ErrCode
		return nil, refused
	}
	r := &raw{user: user, platform: platform, envelope: v, conn: conn,
		done: make(chan struct{}), waiting: map[string]chan *rawResponse{}}
	conn.SetPingHandler(func(data string) error {
		r.mu.Lock()
		r.pings++
		r.mu.Unlock()
		return conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(10*time.Second))
	})
	return r, nil
}

// raw logs a user in with a fresh token.
func (e *env) raw(user string, platform int32, v envelope) *raw {
	e.Helper()
	return e.rawToken(user, platform, v, e.token(user, platform))
}

func (e *env) rawToken(user string, platform int32, v envelope, token string) *raw {
	e.Helper()
	r, err := dial(e.srv.ws, user, platform, v, v.query(user, platform, token))
	if err != nil {
		e.Fatalf("%s: %v", user, err)
	}
	e.Cleanup(r.close)
	go r.read()
	return r
}

func (r *raw) close() { r.conn.Close() }

// read takes frames until the connection ends.
func (r *raw) read() {
	defer close(r.done)
	for {
		kind, b, err := r.conn.ReadMessage()
		if err == nil {
			err = r.take(kind, b)
		}
		if err != nil {
			r.mu.Lock()
			r.err = err
			r.waiting = map[string]chan *rawResponse{}
			r.mu.Unlock()
			return
		}
	}
}

func (r *raw) take(kind int, b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.largest = max(r.largest, len(b))
	if kind == websocket.TextMessage {
		r.texts = append(r.texts, string(b))
		return nil
	}
	resp, err := r.envelope.decode(b)
	if err != nil {
		return fmt.Errorf("undecodable frame: %w", err)
	}
	if ch := r.waiting[resp.MsgIncr]; ch != nil && resp.MsgIncr != "" {
		delete(r.waiting, resp.MsgIncr)
		ch <- resp
		return nil
	}
	switch resp.ReqIdentifier {
	case pushMessages:
		// The SDK takes a push's operationID for the HTTP calls the push makes
		// necessary, and cannot make them without one.
		if resp.OperationID == "" {
			return errors.New("push without an operationID")
		}
		return r.takePush(resp.Data)
	case pushKick:
		r.kicks++
	case reqSubscribe:
		var tips sdkws.SubUserOnlineStatusTips
		if err := proto.Unmarshal(resp.Data, &tips); err != nil {
			return err
		}
		r.status = append(r.status, tips.Subscribers...)
	default:
		return fmt.Errorf("frame %d with msgIncr %q, which nobody asked for", resp.ReqIdentifier, resp.MsgIncr)
	}
	return nil
}

// takePush is called with mu held.
func (r *raw) takePush(data []byte) error {
	var push sdkws.PushMessages
	if err := proto.Unmarshal(data, &push); err != nil {
		return err
	}
	if len(push.Msgs)+len(push.NotificationMsgs) != 1 {
		return fmt.Errorf("push of %d conversations in one frame", len(push.Msgs)+len(push.NotificationMsgs))
	}
	for _, half := range []map[string]*sdkws.PullMsgs{push.Msgs, push.NotificationMsgs} {
		for _, list := range half {
			r.pushed = append(r.pushed, list.Msgs...)
		}
	}
	return nil
}

// start sends a request; its answer comes on the channel, which stays silent when
// the connection ends first.
func (r *raw) start(id int, req proto.Message) (<-chan *rawResponse, error) {
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	incr := r.user + "_" + strconv.FormatInt(r.incr.Add(1), 10)
	b, err := r.envelope.encode(&rawRequest{ReqIdentifier: id, SendID: r.user,
		OperationID: operationID(), MsgIncr: incr, Data: data})
	if err != nil {
		return nil, err
	}
	ch := make(chan *rawResponse, 1)
	r.mu.Lock()
	r.waiting[incr] = ch
	r.mu.Unlock()
	return ch, r.writeFrame(websocket.BinaryMessage, b)
}

func (r *raw) writeFrame(kind int, b []byte) error {
	r.write.Lock()
	defer r.write.Unlock()
	_ = r.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	return r.conn.WriteMessage(kind, b)
}

// do makes a request and waits for its answer: the errCode, or an error when
// there is none. out may be nil.
func (r *raw) do(id int, req, out proto.Message) (int, error) {
	ch, err := r.start(id, req)
	if err != nil {
		return 0, err
	}
	resp, err := r.await(ch)
	if err != nil {
		return 0, fmt.Errorf("request %d: %w", id, err)
	}
	if resp.ReqIdentifier != id {
		return 0, fmt.Errorf("request %d answered as %d", id, resp.ReqIdentifier)
	}
	if resp.ErrCode == 0 && out != nil {
		err = proto.Unmarshal(resp.Data, out)
	}
	return resp.ErrCode, err
}

// outstanding is how many requests a test has under way on one connection at
// most: an SDK has one, the server refuses more than 128.
const outstanding = 100

// await waits for the answer to a request that start has sent.
func (r *raw) await(ch <-chan *rawResponse) (*rawResponse, error) {
	select {
	case resp := <-ch:
		return resp, nil
	default:
	}
	select {
	case resp := <-ch:
		return resp, nil
	case <-r.done:
		return nil, errClosed
	case <-time.After(within):
		return nil, fmt.Errorf("no answer in %v", within)
	}
}

// ask is do for a request that has to succeed.
func (e *env) ask(r *raw, id int, req, out proto.Message) {
	e.Helper()
	if code, err := r.do(id, req, out); code != 0 || err != nil {
		e.Fatalf("%s: request %d: errCode %d, %v", r.user, id, code, err)
	}
}

var clientMsgIDs atomic.Int64

// text makes a message to a user, or to a group's conversation, as the SDK would.
func (r *raw) text(to, content string) *sdkws.MsgData {
	body, _ := json.Marshal(obj{"content": content})
	now := time.Now()
	m := &sdkws.MsgData{SendID: r.user, RecvID: to, ClientMsgID: fmt.Sprintf("%s-%d-%d", r.user, now.UnixNano(), clientMsgIDs.Add(1)),
		SenderPlatformID: r.platform, SenderNickname: "nick " + r.user, SessionType: 1, MsgFrom: 100,
		ContentType: 101, Content: body, CreateTime: now.UnixMilli(), Status: 1, AttachedInfo: "{}"}
	if id, ok := strings.CutPrefix(to, groupChat("")); ok {
		m.SessionType, m.GroupID, m.RecvID = 3, id, ""
	}
	return m
}

// sendText sends a text, which has to succeed.
func (e *env) sendText(r *raw, to, content string) (*sdkws.MsgData, *sdkws.UserSendMsgResp) {
	e.Helper()
	m, resp := r.text(to, content), &sdkws.UserSendMsgResp{}
	e.ask(r, reqSend, m, resp)
	if resp.ServerMsgID == "" || resp.ClientMsgID != m.ClientMsgID || resp.SendTime == 0 {
		e.Fatalf("answer to a send lacks fields: %+v", resp)
	}
	return m, resp
}

// sendMany sends n numbered texts, which have to succeed, without waiting for one
// answer before the next message.
func sendMany(e *env, from *raw, to string, n int) {
	e.Helper()
	var answers []<-chan *rawResponse
	for i := range n + outstanding {
		if i >= outstanding && i-outstanding < n {
			if resp, err := from.await(answers[i-outstanding]); err != nil || resp.ErrCode != 0 {
				e.Fatalf("message %d: %+v %v", i-outstanding+1, resp, err)
			}
		}
		if i < n {
			ch, err := from.start(reqSend, from.text(to, fmt.Sprint("message ", i+1)))
			if err != nil {
				e.Fatal(err)
			}
			answers = append(answers, ch)
		}
	}
}

// pushes returns the pushed messages that keep says (nil: all).
func (r *raw) pushes(keep func(*sdkws.MsgData) bool) []*sdkws.MsgData {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*sdkws.MsgData
	for _, m := range r.pushed {
		if keep == nil || keep(m) {
			out = append(out, m)
		}
	}
	return out
}

// closeCode waits for the connection's end and returns its close code: 1006 when
// the server sent none.
func (e *env) closeCode(r *raw) int {
	e.Helper()
	select {
	case <-r.done:
	case <-time.After(within):
		e.Fatalf("%s: connection still open", r.user)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var ce *websocket.CloseError
	if errors.As(r.err, &ce) {
		return ce.Code
	}
	return websocket.CloseAbnormalClosure
}

func (r *raw) alive() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// pullAll pulls a conversation from seq 1 to its end by 1005, in lists of 50.
func (e *env) pullAll(r *raw, conversation string) []*sdkws.MsgData {
	e.Helper()
	msgs, err := pullAll(r, conversation)
	if err != nil {
		e.Fatalf("%s: %s: %v", r.user, conversation, err)
	}
	return msgs
}

// pullAll is safe for use outside the test's goroutine.
func pullAll(r *raw, conversation string) ([]*sdkws.MsgData, error) {
	var newest sdkws.GetMaxSeqResp
	if code, err := r.do(reqNewestSeq, &sdkws.GetMaxSeqReq{UserID: r.user}, &newest); code != 0 || err != nil {
		return nil, fmt.Errorf("newest seq: %d %w", code, err)
	}
	var all []*sdkws.MsgData
	for first := int64(1); first <= newest.MaxSeqs[conversation]; first += 50 {
		req := &msg.ConversationSeqs{ConversationID: conversation}
		for seq := first; seq < first+50 && seq <= newest.MaxSeqs[conversation]; seq++ {
			req.Seqs = append(req.Seqs, seq)
		}
		var resp msg.GetSeqMessageResp
		code, err := r.do(reqPullSeqs, &msg.GetSeqMessageReq{UserID: r.user, Conversations: []*msg.ConversationSeqs{req}}, &resp)
		if code != 0 || err != nil {
			return nil, fmt.Errorf("pull from %d: %d %w", first, code, err)
		}
		list := resp.Msgs[conversation]
		if list == nil {
			list = resp.NotificationMsgs[conversation]
		}
		if list == nil || len(list.Msgs) != len(req.Seqs) {
			return nil, fmt.Errorf("pull from %d: asked for %d, got %v", first, len(req.Seqs), len(list.GetMsgs()))
		}
		all = append(all, list.Msgs...)
	}
	return all, nil
}

// inOrder checks what holds for every conversation: seq 1, 2, 3 …, sendTime rising
// with it, no clientMsgID twice.
func inOrder(msgs []*sdkws.MsgData) error {
	seen := map[string]int64{}
	for i, m := range msgs {
		if m.Seq != int64(i)+1 {
			return fmt.Errorf("seq %d at place %d", m.Seq, i+1)
		}
		if i > 0 && m.SendTime <= msgs[i-1].SendTime {
			return fmt.Errorf("seq %d: sendTime %d after %d", m.Seq, m.SendTime, msgs[i-1].SendTime)
		}
		if other, ok := seen[m.ClientMsgID]; ok || m.ClientMsgID == "" {
			return fmt.Errorf("seq %d: clientMsgID %q also at %d", m.Seq, m.ClientMsgID, other)
		}
		seen[m.ClientMsgID] = m.Seq
	}
	return nil
}
