package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/gob"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"

	"github.com/gorilla/websocket"
)

// apiCounter is an HTTP proxy before the API that counts the calls per path.
type apiCounter struct {
	addr string

	mu    sync.Mutex
	calls map[string]int // guarded by mu
}

func (e *env) apiCounter() *apiCounter {
	e.Helper()
	c := &apiCounter{calls: map[string]int{}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: e.srv.api})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.calls[r.URL.Path]++
		c.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	e.Cleanup(srv.Close)
	c.addr = srv.Listener.Addr().String()
	return c
}

func (c *apiCounter) total() int {
	n := 0
	for _, k := range c.snapshot() {
		n += k
	}
	return n
}

func (c *apiCounter) snapshot() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.calls)
}

// relay is a TCP proxy before the WebSocket port. While it holds, what the server
// sends stays in it.
type relay struct {
	addr   string
	target string
	ln     net.Listener

	mu    sync.Mutex
	gate  chan struct{} // guarded by mu; closed: open
	conns []net.Conn    // guarded by mu; of both sides
	asked []rawRequest  // guarded by mu; what SDKs asked through it
}

func (e *env) relay() *relay {
	e.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.Fatal(err)
	}
	r := &relay{addr: ln.Addr().String(), target: e.srv.ws, ln: ln, gate: make(chan struct{})}
	close(r.gate)
	go r.accept()
	e.Cleanup(func() {
		ln.Close()
		r.cut()
		r.release()
	})
	return r
}

func (r *relay) accept() {
	for {
		client, err := r.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.target)
		if err != nil {
			client.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, client, server)
		r.mu.Unlock()
		seen, tap := io.Pipe()
		go func() {
			r.watch(bufio.NewReader(seen))
			_, _ = io.Copy(io.Discard, seen)
		}()
		go func() {
			_, _ = io.Copy(io.MultiWriter(server, tap), client)
			server.Close()
			tap.Close()
		}()
		go func() {
			_, _ = io.Copy(&gated{r, client}, server)
			client.Close()
		}()
	}
}

// gated passes writes on when its relay does not hold.
type gated struct {
	relay *relay
	to    net.Conn
}

func (g *gated) Write(b []byte) (int, error) {
	g.relay.mu.Lock()
	gate := g.relay.gate
	g.relay.mu.Unlock()
	<-gate
	return g.to.Write(b)
}

// hold keeps back everything the server sends from now on.
func (r *relay) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = make(chan struct{})
}

// release sends on what was kept back.
func (r *relay) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.gate:
	default:
		close(r.gate)
	}
}

// cut breaks all connections; new ones are accepted.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// watch reads one connection's client side and keeps the requests in it, as far as
// they are an SDK's: single frames of gob and gzip.
func (r *relay) watch(in *bufio.Reader) {
	if _, err := http.ReadRequest(in); err != nil {
		return
	}
	for {
		opcode, payload, err := readFrame(in)
		if err != nil {
			return
		}
		if opcode != websocket.BinaryMessage {
			continue
		}
		unzipped, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return
		}
		var req rawRequest
		if gob.NewDecoder(unzipped).Decode(&req) != nil {
			return
		}
		r.mu.Lock()
		r.asked = append(r.asked, req)
		r.mu.Unlock()
	}
}

// readFrame reads one masked WebSocket frame.
func readFrame(in *bufio.Reader) (opcode int, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1] & 0x7f)
	if size >= 126 {
		long := make([]byte, 8)
		width := map[uint64]int{126: 2, 127: 8}[size]
		if _, err := io.ReadFull(in, long[8-width:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(long)
	}
	var mask [4]byte
	if _, err := io.ReadFull(in, mask[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(in, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return int(head[0] & 0x0f), payload, nil
}

// requests returns what was asked under an identifier so far.
func (r *relay) requests(id int) []rawRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []rawRequest
	for _, q := range r.asked {
		if q.ReqIdentifier == id {
			out = append(out, q)
		}
	}
	return out
}
