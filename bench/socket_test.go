package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"gannet/api"
	"gannet/core"
	"gannet/gateway"
	"gannet/internal/im"
	"gannet/internal/wire"
)

const patience = 10 * time.Second

// gate is a gateway in front of core. Its sends are taken, not carried out.
type gate struct {
	*core.Core
	tb    testing.TB
	srv   *gateway.Server
	sends chan struct{} // one per call of TrySend
}

func (g *gate) TrySend(from core.Caller, ref core.SessionRef, req *wire.Request) (bool, error) {
	return true, g.Send(from, ref, req)
}

func (g *gate) Send(core.Caller, core.SessionRef, *wire.Request) error {
	g.sends <- struct{}{}
	return nil
}

// newGate serves users u0 … with a token each on a loopback socket.
func newGate(tb testing.TB, users int) (g *gate, tokens []string) {
	s := open(tb, "", nil)
	g = &gate{Core: s.core, tb: tb, sends: make(chan struct{}, 1)}
	var err error
	// One loop, and no bound on what a client may send: a benchmark is a flood.
	g.srv, err = gateway.New(gateway.Options{Addr: "127.0.0.1:0", Core: g, Loops: 1, FloodBytes: 1 << 31})
	if err != nil {
		tb.Fatal(err)
	}
	s.core.Start(g.srv)
	if err := g.srv.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := g.srv.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
	})
	s.addUsers(tb, users)
	for i := range users {
		token, _, err := s.core.IssueToken(name(i), im.PlatformAndroid, core.DialectV3, true)
		if err != nil {
			tb.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	return g, tokens
}

func dial(tb testing.TB, addr string) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// upgrade is the request for a session, as the SDK makes it.
func upgrade(i int, token, query string) []byte {
	return fmt.Appendf(nil, "GET /?sendID=%s&token=%s&platformID=%d&operationID=op&isBackground=false%s HTTP/1.1\r\nHost: 127.0.0.1:10001\r\n"+
		"User-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", name(i), token, im.PlatformAndroid, query)
}

// login sends an upgrade request and waits for the answer, into buf.
func login(tb testing.TB, c net.Conn, request, buf []byte) {
	if _, err := c.Write(request); err != nil {
		tb.Fatal(err)
	}
	if n, err := c.Read(buf); err != nil || !bytes.Contains(buf[:n], []byte(" 101 ")) {
		tb.Fatalf("%q %v", buf[:n], err)
	}
}

// handshake does not count connecting: the connections are there before.
func handshake(query string) func(testing.TB) op {
	return func(tb testing.TB) op {
		g, tokens := newGate(tb, refillEvery)
		requests := make([][]byte, refillEvery)
		for i, token := range tokens {
			requests[i] = upgrade(i, token, query)
		}
		conns := make([]net.Conn, refillEvery)
		buf := make([]byte, 4096)
		next := 0
		return op{
			run: func() {
				login(tb, conns[next], requests[next], buf)
				next++
			},
			refill: func() {
				for i := range conns {
					if conns[i] != nil {
						conns[i].Close()
					}
				}
				g.await(0)
				for i := range conns {
					conns[i] = dial(tb, g.srv.Addr())
				}
				g.await(refillEvery)
				next = 0
			},
		}
	}
}

// await returns when n connections are open.
func (g *gate) await(n int64) {
	for deadline := time.Now().Add(patience); g.srv.Stats().Connections != n; runtime.Gosched() {
		if time.Now().After(deadline) {
			g.tb.Fatalf("%d connections, want %d", g.srv.Stats().Connections, n)
		}
	}
}

func request1003(v wire.Variant) func(testing.TB) op {
	return func(tb testing.TB) op {
		g, tokens := newGate(tb, 1)
		query := map[wire.Variant]string{gobGzip: "&compression=gzip", json: "&sdkType=js"}[v]
		c := dial(tb, g.srv.Addr())
		login(tb, c, upgrade(0, tokens[0], query), make([]byte, 4096))
		frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame(sdkRequest(tb, v, name(0), name(1)))))
		return op{run: func() {
			if _, err := c.Write(frame); err != nil {
				tb.Fatal(err)
			}
			<-g.sends
		}}
	}
}

// outbox delivers a round of frames, each to all sessions.
func outbox(sessions, frames int) func(testing.TB) op {
	return func(tb testing.TB) op {
		g, tokens := newGate(tb, sessions)
		conns := make([]net.Conn, sessions)
		for i, token := range tokens {
			conns[i] = dial(tb, g.srv.Addr())
			login(tb, conns[i], upgrade(i, token, "&compression=gzip"), make([]byte, 4096))
		}
		refs := g.refs(sessions)
		msg := request(tb, name(0), name(1), "", "0123456789abcdef0123456789abcdef").Data
		frame := wire.AppendPush(nil, gobGzip, "1726312345678901234", "si_4950983283_4950983284", msg)
		round := make([]core.Delivery, frames)
		for i := range round {
			round[i] = core.Delivery{Frame: frame, To: refs}
		}
		buf := make([]byte, frames*len(frame))
		return op{run: func() {
			g.srv.Deliver(round)
			for _, c := range conns {
				if _, err := io.ReadFull(c, buf); err != nil {
					tb.Fatal(err)
				}
			}
		}}
	}
}

// refs are the references of the sessions of u0 ….
func (g *gate) refs(n int) (refs []core.SessionRef) {
	users := make([]string, n)
	for i := range users {
		users[i] = name(i)
	}
	for deadline := time.Now().Add(patience); len(refs) < n; runtime.Gosched() {
		if time.Now().After(deadline) {
			g.tb.Fatalf("%d sessions, want %d", len(refs), n)
		}
		all, err := g.Sessions(root, users)
		if err != nil {
			g.tb.Fatal(err)
		}
		refs = refs[:0]
		for _, s := range all {
			refs = append(refs, s...)
		}
	}
	return refs
}

var (
	tenUsers       = `"u0","u1","u2","u3","u4","u5","u6","u7","u8","u9"`
	accountCheck   = `{"checkUserIDs":[` + tenUsers + `]}`
	accountCheckV2 = `{"operationID":"op","userIDList":[` + tenUsers + `]}`
	sendMsg        = `{"sendID":"u0","recvID":"u1","senderNickname":"u0","senderPlatformID":1,"sessionType":1,"contentType":101,"content":{"content":"` +
		strings.Repeat("0123456789", 20) + `"}}`
)

// route asks as an administrator.
func route(path, body string) func(testing.TB) op {
	return func(tb testing.TB) op {
		s := newServer(tb, dirOf(tb))
		s.register(tb, 10)
		token, _, err := s.core.IssueToken(root.UserID, im.PlatformAdmin, core.DialectV3, false)
		if err != nil {
			tb.Fatal(err)
		}
		srv, err := api.New(api.Options{Core: s.core})
		if err != nil {
			tb.Fatal(err)
		}
		if err := srv.Listen("127.0.0.1:0", core.DialectV3); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := srv.Shutdown(ctx); err != nil {
				tb.Error(err)
			}
		})
		c := dial(tb, srv.Addr(core.DialectV3))
		request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:10002\r\nContent-Type: application/json\r\n"+
			"operationID: op\r\ntoken: %s\r\nContent-Length: %d\r\n\r\n%s", path, token, len(body), body)
		buf := make([]byte, 16<<10)
		return op{run: func() {
			if _, err := c.Write(request); err != nil {
				tb.Fatal(err)
			}
			n := 0
			for n == 0 || buf[n-1] != '}' { // the answers here are small objects
				k, err := c.Read(buf[n:])
				if err != nil {
					tb.Fatal(err)
				}
				n += k
			}
			if !bytes.Contains(buf[:n], []byte(`{"errCode":0,`)) {
				tb.Fatalf("%s", buf[:n])
			}
		}}
	}
}
