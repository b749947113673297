package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/openimsdk/protocol/push"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"

	"gannet/core"
	"gannet/internal/im"
	"gannet/internal/wire"
)

var variants = map[string]string{
	"gob": "", "gob+gzip": "&compression=gzip", "json": "&sdkType=js", "json+gzip": "&sdkType=js&compression=gzip",
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCommands(t *testing.T) {
	s, _ := serve(t, Options{})
	for name, extra := range variants {
		t.Run(name, func(t *testing.T) {
			c := join(t, s, "u", 1, extra)
			for _, tc := range []struct {
				id   int32
				data []byte
				code int
				msg  string
			}{
				{wire.ReqNewestSeq, marshal(t, &sdkws.GetMaxSeqReq{UserID: "u"}), 0, ""},
				{wire.ReqPullByRange, nil, 0, ""},
				{wire.ReqSendMsg, []byte("as it came"), 0, ""},
				{wire.ReqSignal, nil, 1001, "ArgsError: signal is not supported"},
				{wire.ReqPullBySeqs, nil, 500, "ServerInternalError"},
				{wire.ReqMaxReadSeq, nil, 500, "ServerInternalError"},
				{wire.ReqLastMessage, nil, 1002, "NoPermissionError: not yours"},
				{wire.ReqBackground, nil, 0, ""},
				{wire.ReqSubscribe, marshal(t, &sdkws.SubUserOnlineStatus{SubscribeUserID: []string{"a", "b"}}), 0, ""},
				{wire.ReqNewestSeq, []byte("\xff\xff"), 1001, "ArgsError: malformed request"},
				{wire.ReqNewestSeq, make([]byte, maxSmall+1), 1001, fmt.Sprintf("ArgsError: more than %d bytes of data", maxSmall)},
				{wire.ReqLogout, marshal(t, &push.DelUserPushTokenReq{UserID: "other"}), 1002, "NoPermissionError"},
			} {
				incr := c.request(tc.id, tc.data)
				r := c.response()
				if r.ReqIdentifier != tc.id || string(r.MsgIncr) != incr || r.ErrCode != tc.code || r.ErrMsg != tc.msg {
					t.Errorf("%d: %+v, want code %d %q", tc.id, r, tc.code, tc.msg)
				}
				if r.ErrCode != 0 && len(r.Data) > 0 {
					t.Errorf("%d: an error with data", tc.id)
				}
				switch tc.id {
				case wire.ReqSubscribe:
					var tips sdkws.SubUserOnlineStatusTips
					if proto.Unmarshal(r.Data, &tips) != nil || len(tips.Subscribers) != 2 {
						t.Errorf("subscribers %v", &tips)
					}
				case wire.ReqSendMsg:
					if string(r.Data) != "as it came" {
						t.Errorf("data %q", r.Data)
					}
				}
			}
			c.request(wire.ReqLogout, marshal(t, &push.DelUserPushTokenReq{UserID: "u"}))
			if r := c.response(); r.ErrCode != 0 {
				t.Errorf("logout: %+v", r)
			}
			c.closed(ws.StatusNormalClosure)
		})
	}
}

// TestBadClients sends what closes a connection, and checks that others live on.
func TestBadClients(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1})
	other := join(t, s, "other", 1, "")
	bomb := join(t, s, "u", 1, "&compression=gzip")
	for _, tc := range []struct {
		name, extra string
		frame       func(c *client) []byte
		code        ws.StatusCode
		reason      ending
	}{
		{"garbage", "", func(*client) []byte { return clientFrame(true, ws.OpBinary, []byte("garbage")) }, 1003, endBadEnvelope},
		{"not gzip", "&compression=gzip", func(*client) []byte { return clientFrame(true, ws.OpBinary, []byte("garbage")) }, 1003, endBadEnvelope},
		{"bomb", "&compression=gzip", func(*client) []byte {
			return clientFrame(true, ws.OpBinary, bomb.envelope(&wire.Request{SendID: []byte("u"), Data: make([]byte, 8<<20)}))
		}, 1003, endBadEnvelope},
		{"other sender", "", func(c *client) []byte {
			return clientFrame(true, ws.OpBinary, c.envelope(&wire.Request{ReqIdentifier: 1001, SendID: []byte("other")}))
		}, 1008, endWrongSender},
		{"unknown command", "", func(c *client) []byte {
			return clientFrame(true, ws.OpBinary, c.envelope(&wire.Request{ReqIdentifier: 3001, SendID: []byte("u")}))
		}, 1003, endUnknownCommand},
		{"text", "", func(*client) []byte { return clientFrame(true, ws.OpText, []byte(`{"type":"x"}`)) }, 1003, endBadText},
		{"text no JSON", "", func(*client) []byte { return clientFrame(true, ws.OpText, []byte(`hello`)) }, 1003, endBadText},
		{"not UTF-8", "", func(*client) []byte { return clientFrame(true, ws.OpText, []byte("\xff")) }, 1007, endNotUTF8},
		{"unmasked", "", func(*client) []byte { return ws.MustCompileFrame(ws.NewPingFrame(nil)) }, 1002, endProtocol},
		{"too big", "", func(*client) []byte { return clientFrame(true, ws.OpBinary, make([]byte, 1<<20+1))[:100] }, 1009, endTooBig},
		{"close", "", func(*client) []byte { return clientFrame(true, ws.OpClose, ws.NewCloseFrameBody(4321, "x")) }, 4321, endPeerClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := join(t, s, "u", 1, tc.extra)
			before := s.Stats().Endings[tc.reason.String()]
			c.raw(tc.frame(c))
			c.closed(tc.code)
			c.conn.Close()
			eventually(t, "the ending to be counted", func() bool { return s.Stats().Endings[tc.reason.String()] == before+1 })
		})
	}
	other.write(ws.OpPing, []byte("still here"))
	if op, payload := other.frame(); op != ws.OpPong || string(payload) != "still here" {
		t.Errorf("%#x %q", op, payload)
	}
}

func TestTextPing(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1})
	c := join(t, s, "u", 5, "")
	c.write(ws.OpText, []byte(`{"type":"pong"}`))
	for body, want := range map[string]string{
		`{"type":"ping","body":{"n":[1,"é"]}}`: `{"type":"pong","body":{"n":[1,"é"]}}`,
		`{"type":"ping"}`:                      `{"type":"pong","body":null}`,
	} {
		c.write(ws.OpText, []byte(body))
		if op, payload := c.frame(); op != ws.OpText || string(payload) != want {
			t.Errorf("%s: %#x %s, want %s", body, op, payload, want)
		}
	}
}

func TestFragmentedRequest(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1})
	c := join(t, s, "u", 1, "")
	data := bytes.Repeat([]byte("payload "), 100_000)
	b := c.envelope(&wire.Request{ReqIdentifier: wire.ReqSendMsg, SendID: []byte("u"), MsgIncr: []byte("m"), Data: data})
	c.raw(clientFrame(false, ws.OpBinary, b[:100]))
	c.raw(clientFrame(true, ws.OpPing, []byte("between")))
	c.raw(clientFrame(false, ws.OpContinuation, b[100:300_000]))
	c.raw(clientFrame(true, ws.OpContinuation, b[300_000:]))
	if op, payload := c.frame(); op != ws.OpPong || string(payload) != "between" {
		t.Fatalf("%#x %q", op, payload)
	}
	if r := c.response(); !bytes.Equal(r.Data, data) {
		t.Errorf("%d bytes came back, want %d", len(r.Data), len(data))
	}
}

// TestOrder sends bursts from several sessions and wants their sends handled, and
// their answers received, in order, though the loop decides some itself and lanes
// the others, slower.
func TestOrder(t *testing.T) {
	const clients, burst = 4, 100
	s, fake := serve(t, Options{Lanes: 3})
	var decided atomic.Int64
	fake.mu.Lock()
	fake.try = func(from core.Caller, ref core.SessionRef, req *wire.Request) (bool, error) {
		if decided.Add(1)%5 == 0 {
			return false, nil
		}
		fake.ack(ref, req)
		return true, nil
	}
	fake.send = func(from core.Caller, ref core.SessionRef, req *wire.Request) error {
		time.Sleep(50 * time.Microsecond)
		fake.ack(ref, req)
		return nil
	}
	fake.mu.Unlock()
	done := make(chan error, clients)
	for i := range clients {
		c := join(t, s, fmt.Sprint("user", i), 1, "&compression=gzip")
		go func() {
			for round := range 5 {
				var want []string
				for range burst {
					want = append(want, c.request(wire.ReqSendMsg, []byte("x")))
				}
				for k := range burst {
					if r := c.response(); string(r.MsgIncr) != want[k] || r.ErrCode != 0 {
						done <- fmt.Errorf("round %d, answer %d: %s code %d, want %s", round, k, r.MsgIncr, r.ErrCode, want[k])
						return
					}
				}
			}
			done <- nil
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// What TrySend says is answered on the loop, its panic too, and the session lives on.
func TestTry(t *testing.T) {
	s, fake := serve(t, Options{})
	fake.mu.Lock()
	fake.try = func(_ core.Caller, ref core.SessionRef, req *wire.Request) (bool, error) {
		switch string(req.Data) {
		case "refuse":
			return true, im.ErrBlockedByPeer
		case "panic":
			panic("a bug on the loop")
		case "lane":
			return false, nil
		}
		fake.ack(ref, req)
		return true, nil
	}
	fake.mu.Unlock()
	c := join(t, s, "u", 1, "")
	for _, tc := range []struct {
		data string
		code int
		sent int // requests that came to Send
	}{
		{"refuse", im.ErrBlockedByPeer.Code, 0}, {"panic", im.ErrInternal.Code, 0}, {"take", 0, 0}, {"lane", 0, 1}, {"take", 0, 1},
	} {
		incr := c.request(wire.ReqSendMsg, []byte(tc.data))
		r := c.response()
		fake.mu.Lock()
		sent := len(fake.sent)
		fake.mu.Unlock()
		if string(r.MsgIncr) != incr || r.ErrCode != tc.code || sent != tc.sent {
			t.Errorf("%s: code %d, %d sent on lanes; want %d, %d", tc.data, r.ErrCode, sent, tc.code, tc.sent)
		}
	}
}

// TestDeliverOrder fans numbered frames out to more sessions than one task takes,
// over two loops and from one caller, and wants all of them in order at each.
func TestDeliverOrder(t *testing.T) {
	const sessions, rounds = 700, 30
	s, core_ := serve(t, Options{Loops: 2})
	clients := make([]*client, sessions)
	for i := range clients {
		clients[i] = join(t, s, fmt.Sprint("u", i), 1, "")
	}
	refs := core_.refs(t, sessions)
	for n := range rounds {
		frame := wire.AppendTextFrame(nil, fmt.Appendf(nil, "%d", n))
		again := wire.AppendTextFrame(nil, fmt.Appendf(nil, "%d again", n))
		s.Deliver([]core.Delivery{{Frame: frame, To: refs}, {Frame: again, To: refs}})
	}
	for i, c := range clients {
		for n := range rounds {
			for _, want := range []string{fmt.Sprint(n), fmt.Sprint(n, " again")} {
				if _, payload := c.frame(); string(payload) != want {
					t.Fatalf("session %d: got %q, want %q", i, payload, want)
				}
			}
		}
	}
	s.Deliver([]core.Delivery{{Frame: []byte("x"), To: []core.SessionRef{{ID: sessionID(63, 1, 1)}, {ID: sessionID(0, 9, 99)}, {}}}})
}

func TestKickIsFlushed(t *testing.T) {
	s, fake := serve(t, Options{})
	for name, extra := range variants {
		t.Run(name, func(t *testing.T) {
			c := join(t, s, "u", 1, extra)
			refs := fake.refs(t, 1)
			push := bytes.Repeat([]byte("p"), 300_000)
			s.Deliver([]core.Delivery{{Frame: wire.AppendTextFrame(nil, push), To: refs}})
			s.Close(refs, core.LastKicked)
			fake.refs(t, 0)
			s.Deliver([]core.Delivery{{Frame: wire.AppendTextFrame(nil, push), To: refs}})
			c.write(ws.OpPing, nil) // unread bytes at the server must not destroy what it wrote
			if _, payload := c.frame(); !bytes.Equal(payload, push) {
				t.Error("the frame before the kick was lost")
			}
			if r := c.response(); r.ReqIdentifier != wire.PushKick || r.ErrCode != 0 || len(r.Data) > 0 {
				t.Errorf("%+v", r)
			}
			c.closed(ws.StatusNormalClosure)
		})
	}
	eventually(t, "the frames after each kick to be dropped", func() bool { return s.Stats().Drops["gone"] == uint64(len(variants)) })
}

// TestKickedClientThatStays must lose its socket after the linger time.
func TestKickedClientThatStays(t *testing.T) {
	s, fake := serve(t, Options{Loops: 1, Tick: 5 * time.Millisecond, LingerTimeout: 20 * time.Millisecond})
	c := join(t, s, "u", 1, "")
	s.Close(fake.refs(t, 1), core.LastKicked)
	c.response()
	eventually(t, "the socket to close", func() bool { return s.Stats().Connections == 0 })
}

func TestSlowConsumerIsCut(t *testing.T) {
	s, fake := serve(t, Options{Loops: 1, OutboundBytes: 1 << 20})
	slow, quick := join(t, s, "slow", 1, ""), join(t, s, "quick", 1, "")
	_ = slow.conn.(*net.TCPConn).SetReadBuffer(4096)
	refs := fake.refs(t, 2)
	frame := wire.AppendTextFrame(nil, make([]byte, 200_000))
	for n := 0; s.Stats().Endings["slow"] == 0; n++ {
		if n == 1000 {
			t.Fatal("the slow session was never cut")
		}
		s.Deliver([]core.Delivery{{Frame: frame, To: refs}})
		quick.frame()
	}
	fake.refs(t, 1)
	if d := s.Stats().Drops["slow"]; d != 1 {
		t.Errorf("%d frames dropped as slow, want 1", d)
	}
}

func TestStalledWriteIsCut(t *testing.T) {
	s, fake := serve(t, Options{Loops: 1, Tick: 10 * time.Millisecond, WriteTimeout: 50 * time.Millisecond, OutboundBytes: 64 << 20})
	c := join(t, s, "u", 1, "")
	_ = c.conn.(*net.TCPConn).SetReadBuffer(4096)
	s.Deliver([]core.Delivery{{Frame: wire.AppendTextFrame(nil, make([]byte, 32<<20)), To: fake.refs(t, 1)}})
	eventually(t, "the stalled session to end", func() bool { return s.Stats().Endings["stalled"] == 1 })
}

func TestHeartbeats(t *testing.T) {
	o := Options{Loops: 1, Tick: 10 * time.Millisecond, PingAfter: 50 * time.Millisecond, ReadTimeout: 300 * time.Millisecond}
	s, fake := serve(t, o)
	c := join(t, s, "answers", 1, "")
	start := time.Now()
	for time.Since(start) < 2*o.ReadTimeout {
		op, payload := c.frame()
		if op != ws.OpPing {
			t.Fatalf("%#x %q, want a ping", op, payload)
		}
		c.write(ws.OpPong, nil)
	}
	silent := join(t, s, "silent", 1, "")
	start = time.Now()
	if op, _ := silent.frame(); op != ws.OpPing {
		t.Fatalf("opcode %#x, want a ping", op)
	}
	c.conn.Close()
	silent.closed(0)
	if took := time.Since(start); took < o.ReadTimeout-2*o.Tick {
		t.Errorf("cut after %v, before the read timeout", took)
	}
	fake.refs(t, 0)
	if n := s.Stats().Endings["heartbeat_missed"]; n != 1 {
		t.Errorf("%d missed heartbeats, want 1", n)
	}
}

func TestBusy(t *testing.T) {
	for name, tc := range map[string]struct {
		o    Options
		drop string
	}{
		"readers": {Options{Loops: 1, Readers: 1, ReadDepth: 1}, "readers_full"},
		"session": {Options{Loops: 1, SessionRequests: 2}, "session_requests"},
		"bytes":   {Options{Loops: 1, QueueBytes: 3 * frameCost}, "queued_bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			fake := newFakeCore()
			fake.hold = make(chan struct{})
			s := serveCore(t, tc.o, fake)
			c := join(t, s, "u", 1, "")
			const n = 10
			for range n {
				c.request(wire.ReqNewestSeq, nil)
			}
			if r := c.response(); r.ErrCode != im.ErrBusy.Code {
				t.Errorf("%+v, want busy", r)
			}
			close(fake.hold)
			busy := 1
			for range n - 1 {
				if r := c.response(); r.ErrCode == im.ErrBusy.Code {
					busy++
				} else if r.ErrCode != 0 {
					t.Errorf("%+v", r)
				}
			}
			st := s.Stats()
			if st.Drops[tc.drop] != uint64(busy) || busy == n {
				t.Errorf("%d of %d answered busy, %d counted", busy, n, st.Drops[tc.drop])
			}
			eventually(t, "the queues to empty", func() bool {
				st := s.Stats()
				return st.InFlight == 0 && st.QueuedBytes == 0
			})
		})
	}
}

func TestFloodIsCut(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1, FloodBytes: 10 * frameCost, Tick: time.Hour})
	c := join(t, s, "u", 1, "")
	for range 11 {
		c.write(ws.OpPong, nil)
	}
	c.closed(ws.StatusPolicyViolation)
}

func TestIncompleteMessagesAreBounded(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1, InboundBytes: 10_000})
	c, other := join(t, s, "u", 1, ""), join(t, s, "other", 1, "")
	c.raw(clientFrame(true, ws.OpBinary, make([]byte, 100_000))[:50_000])
	c.closed(ws.StatusCode(1013))
	c.conn.Close()
	eventually(t, "the ending to be counted", func() bool { return s.Stats().Endings["inbound_full"] == 1 })
	other.raw(clientFrame(false, ws.OpBinary, make([]byte, 5_000)))
	other.write(ws.OpPing, nil)
	if op, _ := other.frame(); op != ws.OpPong {
		t.Errorf("opcode %#x: what the first held was not given back", op)
	}
}

func TestInboxIsBounded(t *testing.T) {
	s, fake := serve(t, Options{Loops: 1, InboxBytes: 1000})
	c := join(t, s, "u", 1, "")
	refs := fake.refs(t, 1)
	s.Deliver([]core.Delivery{{Frame: wire.AppendTextFrame(nil, make([]byte, 1000)), To: refs}})
	s.Deliver([]core.Delivery{{Frame: wire.AppendTextFrame(nil, []byte("fits")), To: refs}})
	if _, payload := c.frame(); string(payload) != "fits" {
		t.Errorf("%d bytes came, want the round that fits", len(payload))
	}
	st := s.Stats()
	if st.Drops["loop_inbox_full"] != 1 {
		t.Errorf("drops %v", st.Drops)
	}
	eventually(t, "the inbox to be empty", func() bool { return s.Stats().InboxBytes == 0 })
}

func TestAnswerTooLarge(t *testing.T) {
	fake := newFakeCore()
	fake.answers = func(*sdkws.GetMaxSeqReq) (*sdkws.GetMaxSeqResp, error) {
		return &sdkws.GetMaxSeqResp{MaxSeqs: map[string]int64{strings.Repeat("x", 1<<20): 1}}, nil
	}
	s := serveCore(t, Options{Loops: 1}, fake)
	c := join(t, s, "u", 1, "")
	c.request(wire.ReqNewestSeq, nil)
	if r := c.response(); r.ErrCode != 500 {
		t.Errorf("code %d, %d bytes", r.ErrCode, len(r.Data))
	}
}

func TestShutdown(t *testing.T) {
	fake := newFakeCore()
	fake.hold = make(chan struct{})
	s := serveCore(t, Options{}, fake)
	busy, idle := join(t, s, "busy", 1, ""), join(t, s, "idle", 1, "")
	half := connect(t, s)
	half.raw([]byte("GET / HTTP/1.1\r\n"))
	busy.request(wire.ReqNewestSeq, nil)
	eventually(t, "the request to run", func() bool { return s.Stats().InFlight == 1 })
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	eventually(t, "the server to drain", func() bool { return s.draining.Load() })
	idle.request(wire.ReqNewestSeq, nil)
	if r := idle.response(); r.ErrCode != im.ErrBusy.Code {
		t.Errorf("%+v, want busy", r)
	}
	close(fake.hold)
	if r := busy.response(); r.ErrCode != 0 {
		t.Errorf("the request under way: %+v", r)
	}
	busy.closed(ws.StatusGoingAway)
	busy.conn.Close()
	idle.closed(ws.StatusGoingAway)
	idle.conn.Close()
	half.closed(0)
	half.conn.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Error("the port is still served")
	}
	s.Deliver([]core.Delivery{{Frame: []byte("x"), To: []core.SessionRef{{ID: sessionID(0, 0, 1)}}}})
}

func TestShutdownGivesUp(t *testing.T) {
	fake := newFakeCore()
	fake.hold = make(chan struct{})
	s := serveCore(t, Options{Loops: 1}, fake)
	c := join(t, s, "u", 1, "")
	c.request(wire.ReqNewestSeq, nil)
	eventually(t, "the request to run", func() bool { return s.Stats().InFlight == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("no error though a request never ended")
	}
	close(fake.hold)
	<-s.stopped
}

func TestPortInUse(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1})
	again, err := New(Options{Loops: 1, Addr: s.Addr(), Core: newFakeCore()})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Start(); err == nil {
		t.Fatal("two servers share a port")
	}
}

// TestNothingLeaks starts and stops servers with sessions in all states and wants
// goroutines and descriptors back to where they were.
func TestNothingLeaks(t *testing.T) {
	cycle := func() {
		fake := newFakeCore()
		s, err := New(Options{Loops: 2, Core: fake, Addr: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		fake.sink = s
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		var clients []*client
		for i := range 20 {
			clients = append(clients, join(t, s, fmt.Sprint("u", i), 1, ""), connect(t, s))
		}
		for i := range 10 {
			clients[i].conn.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for _, c := range clients[10:] {
			go func() { // an honest client closes when the server says goodbye
				_, _ = c.r.WriteTo(discard{})
				c.conn.Close()
			}()
		}
		if err := s.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for range 3 {
		cycle()
	}
	eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(t, "descriptors to close", func() bool { return openFiles(t) <= files })
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func openFiles(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(dir)
}
