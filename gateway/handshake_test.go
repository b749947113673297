package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"gannet/internal/im"
	"gannet/internal/wire"
)

func TestHandshakeRefusals(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1})
	good := loginQuery("u", 2)
	cases := []struct {
		name, query string
		code        int
	}{
		{"nothing", "", 1602},
		{"no token", "sendID=u&platformID=2", 1602},
		{"no sendID", "token=u:2&platformID=2", 1602},
		{"no platform", "sendID=u&token=u:2", 1602},
		{"platform 0", "sendID=u&token=u:2&platformID=0", 1602},
		{"platform text", "sendID=u&token=u:2&platformID=x", 1602},
		{"platform 99", "sendID=u&token=u:99&platformID=99", 1602},
		{"sdkType", good + "&sdkType=rust", 1602},
		{"isBackground", "sendID=u&token=u:2&platformID=2&isBackground=maybe", 1602},
		{"v not base64", "v=***", 1602},
		{"v not JSON", "v=AAAA", 1602},
		{"other user", "sendID=w&token=u:2&platformID=2", 1502},
		{"other platform", "sendID=u&token=u:2&platformID=1", 1502},
		{"unknown cause", "sendID=u&token=zzz&platformID=2", 500},
		{"v other user", packedLogin(map[string]any{"token": "u:2", "userID": "w", "platformID": 2}), 1502},
	}
	for code := 1501; code <= 1507; code++ {
		cases = append(cases, struct {
			name, query string
			code        int
		}{fmt.Sprint("token ", code), fmt.Sprintf("sendID=u&platformID=2&token=%d", code), code})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c, status, body := dial(t, s, tc.query)
			if v := parseVerdict(t, []byte(body)); status != 200 || *v.ErrCode != tc.code || len(body) >= 1024 {
				t.Errorf("HTTP %d %s, want 200 and code %d", status, body, tc.code)
			}
			if strings.Contains(body, "secret") {
				t.Errorf("a cause leaked: %s", body)
			}
			c.closed(0)
			c, status, body = dial(t, s, tc.query+"&isMsgResp=true")
			if strings.HasPrefix(tc.query, "v=") {
				return // the other parameters do not count beside v
			}
			if status != 101 {
				t.Fatalf("with isMsgResp: HTTP %d %s", status, body)
			}
			op, frame := c.frame()
			if v := parseVerdict(t, frame); op != ws.OpText || *v.ErrCode != tc.code {
				t.Errorf("first frame %#x %s, want code %d", op, frame, tc.code)
			}
			c.closed(ws.StatusPolicyViolation)
		})
	}
	if got := s.Stats().HandshakeErrors[1502]; got != 8 {
		t.Errorf("%d refusals with 1502 counted, want 8", got)
	}
}

func TestPackedRefusalReachesTheClient(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1})
	c, status, _ := dial(t, s, packedLogin(map[string]any{"token": "1506", "userID": "u", "platformID": 2, "sendResponse": true}))
	if status != 101 {
		t.Fatalf("HTTP %d", status)
	}
	if _, frame := c.frame(); *parseVerdict(t, frame).ErrCode != 1506 {
		t.Errorf("first frame %s", frame)
	}
}

func TestRefusalHeaders(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1})
	c := connect(t, s)
	fmt.Fprint(c.conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	b, err := io.ReadAll(c.conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HTTP/1.1 200 OK\r\n", "Content-Type: application/json\r\n", "Access-Control-Allow-Origin: *\r\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in %q", want, b)
		}
	}
}

// TestVerdictBound gives every error of the table the worst detail.
func TestVerdictBound(t *testing.T) {
	for _, e := range im.Errors() {
		for _, bad := range []string{"\x01", "<", "é", "\xff", "\"", "\u2028"} {
			if b := verdictBody(e.With("%s", strings.Repeat(bad, 2000))); len(b) >= 1024 {
				t.Errorf("%d: %d bytes", e.Code, len(b))
			}
		}
	}
}

func TestLoginForms(t *testing.T) {
	s, core := serve(t, Options{Loops: 1})
	packed := packedLogin(map[string]any{"token": "u:5", "userID": "u", "platformID": 5, "compression": "gzip", "sdkType": "js", "background": true, "sendResponse": true})
	cases := []struct {
		name, query, header string
		variant             wire.Variant
		background, first   bool
	}{
		{"go", loginQuery("u", 5), "", 0, false, false},
		{"absent isBackground", "sendID=u&token=u:5&platformID=5", "", 0, false, false},
		{"background", "sendID=u&token=u:5&platformID=5&isBackground=T", "", 0, true, false},
		{"sdkType go", loginQuery("u", 5) + "&sdkType=go", "", 0, false, false},
		{"js", loginQuery("u", 5) + "&sdkType=js", "", wire.VariantJSON, false, false},
		{"gzip", loginQuery("u", 5) + "&compression=gzip", "", wire.VariantGzip, false, false},
		{"other compression", loginQuery("u", 5) + "&compression=br", "", 0, false, false},
		{"gzip header", loginQuery("u", 5), "compression: gzip\r\n", wire.VariantGzip, false, false},
		{"wasm", loginQuery("u", 5) + "&isMsgResp=true&compression=gzip", "", wire.VariantGzip, false, true},
		{"packed", packed, "", wire.VariantJSON | wire.VariantGzip, true, true},
		{"extension offered", loginQuery("u", 5), "Sec-WebSocket-Extensions: permessage-deflate\r\n", 0, false, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c, status, body := dial(t, s, tc.query, tc.header)
			if status != 101 {
				t.Fatalf("HTTP %d %s", status, body)
			}
			if tc.first {
				if op, frame := c.frame(); op != ws.OpText || string(frame) != `{"errCode":0,"errMsg":"","errDlt":""}` {
					t.Errorf("first frame %#x %s", op, frame)
				}
			}
			ref := core.refs(t, 1)[0]
			if ref.Variant != tc.variant || ref.Background != tc.background || ref.Platform != 5 || ref.ID == 0 {
				t.Errorf("ref %+v", ref)
			}
			c.user, c.variant = "u", tc.variant
			c.request(wire.ReqNewestSeq, nil)
			if r := c.response(); r.ErrCode != 0 {
				t.Errorf("answer %+v", r)
			}
			c.conn.Close()
			core.refs(t, 0)
		})
	}
}

func TestPlainHTTP(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1, Paths: []string{"/", "/ws"}})
	for _, tc := range []struct {
		head string
		code int
	}{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusBadRequest},
		{"POST / HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusBadRequest},
		{"GET / HTTP/1.0\r\n\r\n", http.StatusBadRequest},
		{"\x16\x03\x01 hello\r\n\r\n", http.StatusBadRequest},
		{"GET /other HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusNotFound},
		{"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n", http.StatusUpgradeRequired},
		{"GET /?" + strings.Repeat("x", 2*maxHandshake) + " HTTP/1.1\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
	} {
		c := connect(t, s)
		c.raw([]byte(tc.head))
		if status, body := c.answer(); status != tc.code || body == "" {
			t.Errorf("%.40q: %d %q, want %d", tc.head, status, body, tc.code)
		}
		c.closed(0)
	}
}

// TestUpgradeInPieces sends the request byte by byte with a frame right behind.
func TestUpgradeInPieces(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1})
	c := connect(t, s)
	head := fmt.Sprintf("GET /deep/path?%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", loginQuery("u", 1))
	b := append([]byte(head), clientFrame(true, ws.OpPing, []byte("early"))...)
	for i := range len(head) - 1 {
		c.raw(b[i : i+1])
	}
	c.raw(b[len(head)-1:])
	if status, body := c.answer(); status != 101 {
		t.Fatalf("%d %s", status, body)
	}
	if op, payload := c.frame(); op != ws.OpPong || string(payload) != "early" {
		t.Errorf("%#x %q", op, payload)
	}
}

func TestConnectionLimit(t *testing.T) {
	s, core := serve(t, Options{Loops: 1, MaxConns: 2})
	a := join(t, s, "a", 1, "")
	join(t, s, "b", 1, "")
	_, status, body := dial(t, s, loginQuery("c", 1))
	if status != 200 || *parseVerdict(t, []byte(body)).ErrCode != 1601 {
		t.Errorf("HTTP %d %s", status, body)
	}
	c, status, _ := dial(t, s, loginQuery("c", 1)+"&isMsgResp=true")
	if status != 101 {
		t.Fatalf("HTTP %d", status)
	}
	if _, frame := c.frame(); *parseVerdict(t, frame).ErrCode != 1601 {
		t.Errorf("first frame %s", frame)
	}
	a.conn.Close()
	core.refs(t, 1)
	eventually(t, "the refused connections to end", func() bool { return s.Stats().Connections == 1 })
	join(t, s, "c", 1, "")
}

// TestConnectionsBeyondTheBand are closed at accept: nothing may use up the
// process's descriptors.
func TestConnectionsBeyondTheBand(t *testing.T) {
	s, _ := serve(t, Options{Loops: 2, MaxConns: 1})
	const beyond = 5
	for range 1 + politeConns + beyond {
		connect(t, s)
	}
	eventually(t, "the rest to be closed", func() bool {
		st := s.Stats()
		return st.Endings["over_limit"] == beyond && st.Connections == 1+politeConns
	})
}

func TestHandshakeTimeout(t *testing.T) {
	s, _ := serve(t, Options{Loops: 1, HandshakeTimeout: 20 * time.Millisecond, Tick: 5 * time.Millisecond})
	c := connect(t, s)
	fmt.Fprint(c.conn, "GET / HTTP/1.1\r\n")
	if _, err := io.ReadAll(c.conn); isTimeout(err) {
		t.Error("the connection was kept")
	}
	eventually(t, "the ending to be counted", func() bool { return s.Stats().Endings["handshake_timeout"] == 1 })
}
