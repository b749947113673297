package gateway

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/push"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/core"
	"gannet/internal/im"
	"gannet/internal/wire"
)

const patience = 10 * time.Second

// fakeCore answers like core would, without rules. A token is
// "<user>:<platform>", or the number of an error.
type fakeCore struct {
	sink core.Sink
	hold chan struct{} // if set, GetMaxSeq waits for it

	mu      sync.Mutex
	online  map[uint64]core.SessionRef
	opened  int
	closed  int
	sent    []string                                                                     // MsgIncr of each Send, in order
	try     func(from core.Caller, ref core.SessionRef, req *wire.Request) (bool, error) // TrySend; nil: never done
	send    func(from core.Caller, ref core.SessionRef, req *wire.Request) error
	answers func(req *sdkws.GetMaxSeqReq) (*sdkws.GetMaxSeqResp, error)
}

func newFakeCore() *fakeCore { return &fakeCore{online: make(map[uint64]core.SessionRef)} }

func (c *fakeCore) VerifyToken(token string) (core.Identity, error) {
	for _, e := range im.Errors() {
		if token == fmt.Sprint(e.Code) {
			return core.Identity{}, e.With("%s", strings.Repeat("\x01<&é", 500))
		}
	}
	user, platform, ok := strings.Cut(token, ":")
	if !ok {
		return core.Identity{}, errors.New("secret cause")
	}
	var p int
	_, _ = fmt.Sscan(platform, &p)
	return core.Identity{UserID: user, Platform: im.Platform(p)}, nil
}

func (c *fakeCore) Connect(_ string, ref core.SessionRef) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.online[ref.ID] = ref
	c.opened++
}

func (c *fakeCore) Disconnect(_ string, ref core.SessionRef) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.online, ref.ID)
	c.closed++
}

// Send answers through the sink, as core does when a message is durable.
func (c *fakeCore) Send(from core.Caller, ref core.SessionRef, req *wire.Request) error {
	c.mu.Lock()
	c.sent = append(c.sent, string(req.MsgIncr))
	send := c.send
	c.mu.Unlock()
	if send != nil {
		return send(from, ref, req)
	}
	c.ack(ref, req)
	return nil
}

func (c *fakeCore) TrySend(from core.Caller, ref core.SessionRef, req *wire.Request) (bool, error) {
	c.mu.Lock()
	try := c.try
	c.mu.Unlock()
	if try == nil {
		return false, nil
	}
	return try(from, ref, req)
}

func (c *fakeCore) ack(ref core.SessionRef, req *wire.Request) {
	frame := wire.AppendResponse(nil, ref.Variant, &wire.Response{ReqIdentifier: req.ReqIdentifier, MsgIncr: req.MsgIncr, Data: req.Data})
	c.sink.Deliver([]core.Delivery{{Frame: frame, To: []core.SessionRef{ref}}})
}

func (c *fakeCore) GetMaxSeq(_ core.Caller, req *sdkws.GetMaxSeqReq) (*sdkws.GetMaxSeqResp, error) {
	if c.hold != nil {
		<-c.hold
	}
	if c.answers != nil {
		return c.answers(req)
	}
	return &sdkws.GetMaxSeqResp{MaxSeqs: map[string]int64{"si_" + req.UserID: 7}}, nil
}

func (c *fakeCore) SetBackground(core.Caller, core.SessionRef, *sdkws.SetAppBackgroundStatusReq) error {
	return nil
}

func (c *fakeCore) Subscribe(_ core.Caller, _ core.SessionRef, req *sdkws.SubUserOnlineStatus) (*sdkws.SubUserOnlineStatusTips, error) {
	tips := &sdkws.SubUserOnlineStatusTips{}
	for _, u := range req.SubscribeUserID {
		tips.Subscribers = append(tips.Subscribers, &sdkws.SubUserOnlineStatusElem{UserID: u})
	}
	return tips, nil
}

func (c *fakeCore) Logout(from core.Caller, _ core.SessionRef, req *push.DelUserPushTokenReq) error {
	if req.UserID != from.UserID {
		return im.ErrNoPermission
	}
	return nil
}

func (c *fakeCore) PullMessageBySeqs(core.Caller, *sdkws.PullMessageBySeqsReq) (*sdkws.PullMessageBySeqsResp, error) {
	return &sdkws.PullMessageBySeqsResp{}, nil
}

func (c *fakeCore) GetSeqMessage(core.Caller, *msg.GetSeqMessageReq) (*msg.GetSeqMessageResp, error) {
	return nil, fmt.Errorf("open /secret/file: %w", io.ErrUnexpectedEOF)
}

func (c *fakeCore) GetConversationsHasReadAndMaxSeq(core.Caller, *msg.GetConversationsHasReadAndMaxSeqReq) (*msg.GetConversationsHasReadAndMaxSeqResp, error) {
	panic("a bug in a handler")
}

func (c *fakeCore) GetLastMessage(core.Caller, *msg.GetLastMessageReq) (*msg.GetLastMessageResp, error) {
	return nil, im.ErrNoPermission.With("not yours")
}

func (c *fakeCore) counts() (opened, closed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened, c.closed
}

// refs waits until n sessions are online and returns them.
func (c *fakeCore) refs(t testing.TB, n int) (refs []core.SessionRef) {
	t.Helper()
	eventually(t, "sessions online", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.online) != n {
			return false
		}
		for _, r := range c.online {
			refs = append(refs, r)
		}
		return true
	})
	return refs
}

// serve starts a server on a free port and stops it when the test ends.
func serve(t testing.TB, o Options) (*Server, *fakeCore) {
	t.Helper()
	c := newFakeCore()
	s := serveCore(t, o, c)
	return s, c
}

func serveCore(t testing.TB, o Options, c *fakeCore) *Server {
	t.Helper()
	o.Core = c
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.sink = s
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if opened, closed := c.counts(); opened != closed {
			t.Errorf("%d Connect calls but %d Disconnect calls", opened, closed)
		}
	})
	return s
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if poll(ctx, ok) != nil {
		t.Fatalf("waited in vain: %s", what)
	}
}

// client is one end of a connection to the server under test.
type client struct {
	t       testing.TB
	conn    net.Conn
	r       *bufio.Reader
	user    string
	variant wire.Variant
	serial  int
}

// connect opens a connection and says nothing.
func connect(t testing.TB, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.deadline()
	return c
}

// dial connects and sends an upgrade request for query; it returns the answer's
// status and, when that is not 101, the body.
func dial(t testing.TB, s *Server, query string, header ...string) (*client, int, string) {
	t.Helper()
	c := connect(t, s)
	fmt.Fprintf(c.conn, "GET /?%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", query, strings.Join(header, ""))
	status, body := c.answer()
	return c, status, body
}

// answer reads an HTTP answer.
func (c *client) answer() (status int, body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: http.MethodGet})
	if err != nil {
		c.t.Fatalf("read the answer: %v", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		body = string(b)
	}
	return resp.StatusCode, body
}

func (c *client) deadline() { _ = c.conn.SetDeadline(time.Now().Add(patience)) }

// join logs user in on platform and expects success.
func join(t testing.TB, s *Server, user string, platform int, extra string) *client {
	t.Helper()
	c, status, body := dial(t, s, loginQuery(user, platform)+extra)
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("login: %d %s", status, body)
	}
	c.user = user
	if strings.Contains(extra, "sdkType=js") {
		c.variant |= wire.VariantJSON
	}
	if strings.Contains(extra, "compression=gzip") {
		c.variant |= wire.VariantGzip
	}
	return c
}

func loginQuery(user string, platform int) string {
	return fmt.Sprintf("sendID=%s&token=%s&platformID=%d&operationID=op&isBackground=false",
		url.QueryEscape(user), url.QueryEscape(fmt.Sprintf("%s:%d", user, platform)), platform)
}

func clientFrame(fin bool, op ws.OpCode, payload []byte) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, append([]byte(nil), payload...))))
}

func (c *client) raw(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) write(op ws.OpCode, payload []byte) {
	c.t.Helper()
	c.raw(clientFrame(true, op, payload))
}

// request sends one envelope and returns its MsgIncr.
func (c *client) request(id int32, data []byte) string {
	c.t.Helper()
	c.serial++
	incr := fmt.Sprintf("%s_%d", c.user, c.serial)
	c.write(ws.OpBinary, c.envelope(&wire.Request{
		ReqIdentifier: id, SendID: []byte(c.user), OperationID: []byte("op" + incr), MsgIncr: []byte(incr), Data: data,
	}))
	return incr
}

func (c *client) envelope(r *wire.Request) []byte {
	b, err := wire.AppendRequest(nil, c.variant, r)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// frame reads one server frame.
func (c *client) frame() (ws.OpCode, []byte) {
	c.t.Helper()
	op, payload, err := c.tryFrame()
	if err != nil {
		c.t.Fatalf("read a frame: %v", err)
	}
	return op, payload
}

func (c *client) tryFrame() (ws.OpCode, []byte, error) {
	c.deadline()
	return readFrame(c.r)
}

// readFrame reads one server frame: whole, unmasked, without extensions.
func readFrame(r io.Reader) (ws.OpCode, []byte, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return 0, nil, err
	}
	if h.Masked || !h.Fin || h.Rsv != 0 {
		return 0, nil, fmt.Errorf("server frame with header %+v", h)
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(r, payload)
	return h.OpCode, payload, err
}

// response reads one binary frame as an answer.
func (c *client) response() wire.Response {
	c.t.Helper()
	op, payload := c.frame()
	if op != ws.OpBinary {
		c.t.Fatalf("opcode %#x %q, want a binary frame", op, payload)
	}
	r, err := wire.DecodeResponse(payload, c.variant, 16<<20)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// closed expects a close frame with code (0: none), then the end of the stream.
func (c *client) closed(code ws.StatusCode) {
	c.t.Helper()
	op, payload, err := c.tryFrame()
	if code != 0 {
		if err != nil || op != ws.OpClose {
			c.t.Fatalf("got opcode %#x %q, %v; want close %d", op, payload, err, code)
		}
		if got, _ := ws.ParseCloseFrameData(payload); got != code {
			c.t.Fatalf("close code %d, want %d", got, code)
		}
		_, _, err = c.tryFrame()
	}
	if err == nil || isTimeout(err) {
		c.t.Fatalf("after the end: %v, opcode %#x", err, op)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// verdict is the JSON of a login's outcome.
type verdict struct {
	ErrCode *int    `json:"errCode"`
	ErrMsg  *string `json:"errMsg"`
	ErrDlt  *string `json:"errDlt"`
}

func parseVerdict(t testing.TB, b []byte) verdict {
	t.Helper()
	var v verdict
	if err := json.Unmarshal(b, &v); err != nil || v.ErrCode == nil || v.ErrMsg == nil || v.ErrDlt == nil {
		t.Fatalf("not a verdict: %q %v", b, err)
	}
	return v
}

func packedLogin(fields map[string]any) string {
	b, _ := json.Marshal(fields)
	return "v=" + base64.RawURLEncoding.EncodeToString(b)
}
