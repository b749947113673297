//go:build linux

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"gannet/internal/wire"
)

// TestMain makes the test binary a worker where a test asks for several.
func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		os.Exit(workHere(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// timeoutAfterMessages returns a context that ends once f has seen n messages.
func timeoutAfterMessages(t *testing.T, f *fake, n int64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	f.tamper = func(seen int64, _ *outcome) {
		if seen == n {
			cancel()
		}
	}
	return ctx, cancel
}

func TestNaming(t *testing.T) {
	g := naming{high: rand.Uint64(), low: rand.Uint64()}
	for _, n := range []int64{0, 1, 2, 1 << 20, 1 << 40} {
		id := g.append(nil, n)
		if got, ok := g.number(id); len(id) != 32 || !ok || got != n {
			t.Errorf("message %d is %q, which is %d, %v", n, id, got, ok)
		}
		if _, ok := (naming{high: g.high + 1, low: g.low}).number(id); ok {
			t.Errorf("%q belongs to another pair", id)
		}
	}
}

func TestMaskedFrames(t *testing.T) {
	for _, size := range []int{0, 1, 3, 4, 7, 8, 9, 15, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte("abcdefghijk"), size/11+1)[:size]
		opcode, got, err := readClientFrame(bufio.NewReader(bytes.NewReader(appendMasked(nil, opBinary, 0xa1b2c3d4, payload))))
		if err != nil || opcode != opBinary || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes: opcode %d, %d bytes, %v", size, opcode, len(got), err)
		}
	}
}

func TestParseFrameNeedsAllBytes(t *testing.T) {
	for _, size := range []int{0, 125, 126, 70000} {
		frame := wire.AppendTextFrame(nil, make([]byte, size))
		for cut := range frame {
			if _, _, n, err := parseFrame(frame[:cut]); n != 0 || err != nil {
				t.Fatalf("%d of %d bytes: size %d, %v", cut, len(frame), n, err)
			}
		}
		if _, payload, n, err := parseFrame(append(frame, 1, 2)); n != len(frame) || len(payload) != size || err != nil {
			t.Errorf("%d bytes: size %d, %v", size, n, err)
		}
	}
}

// A window grows while messages stay open, keeps what it holds, and moves on.
func TestWindow(t *testing.T) {
	var f faults
	c := conversation{id: "si_a_b", faults: &f, names: naming{high: 1}, text: newText(20, rand.New(rand.NewPCG(1, 1))),
		members: []string{"a", "b"}, streams: make([]stream, 2)}
	ack := func(n int64) {
		c.ack(0, n, &sendAck{serverMsgID: []byte("s"), clientMsgID: c.names.append(nil, n), sendTime: n + 1})
	}
	push := func(member int, n int64) {
		a, ok := c.examine(&wire.Msg{SendID: []byte("a"), RecvID: []byte("b"), ContentType: 101, Status: 2, ServerMsgID: []byte("s"),
			ClientMsgID: c.names.append(nil, n), Seq: n + 1, SendTime: n + 1, Content: bytes.Clone(c.text.content(n))})
		if !ok {
			t.Fatalf("message %d: %v", n, f.Examples)
		}
		c.push(member, &a)
	}
	for n := range int64(windowMax) {
		if !c.room() || c.sent(0, 0) != n {
			t.Fatalf("no room for message %d", n)
		}
	}
	if c.room() {
		t.Error("the window has no bound")
	}
	for n := range int64(windowMax) {
		ack(n)
		push(0, n)
		push(1, n)
	}
	if c.open != 0 || c.low != c.next || f.total() != 0 {
		t.Errorf("%d open, low %d of %d, faults %v", c.open, c.low, c.next, f.Examples)
	}
	push(1, 3) // long settled
	c.sent(0, 0)
	c.sent(0, 0)
	push(1, windowMax)
	c.finish()
	if f.Counts[faultDoubleDelivery] != 1 || f.Counts[faultLostAck] != 2 || f.total() != 3 {
		t.Errorf("faults %v", f.Examples)
	}
}

// The schedule of several workers together is the whole one: no message twice, none
// left out, each in its pair.
func TestSchedule(t *testing.T) {
	seen := map[int64]int{}
	for i := range 2 {
		w := &worker{plan: plan{Start: 1000, End: 1000 + int64(time.Second)}, interval: 2e6, order: &order{Phase: float64(i) / 2}, threads: make([]*thread, 5)}
		got := int64(0)
		for n := range w.threads {
			w.threads[n] = &thread{index: int64(n)}
			got += w.unsent(w.threads[n])
		}
		if got != 500 {
			t.Errorf("worker %d has %d messages, want 500", i, got)
		}
		for n := range int64(500) {
			seen[w.due(n)]++
		}
	}
	if len(seen) != 1000 {
		t.Errorf("%d different times of 1000", len(seen))
	}
}

// A stencil's streams are gzip of exactly the message, about as long as a
// compressor's, whatever the text.
func TestStencil(t *testing.T) {
	s, _ := newSDK("go", "gzip", "stencil")
	now := time.Now().UnixNano()
	for _, size := range []int{counterDigits, 200, 1000, 40000, 300000} {
		c, err := newComposer(s, &account{UserID: "load_000000", Nickname: "Load 0"}, "load_000001", false,
			naming{rand.Uint64(), rand.Uint64()}, newText(size, rand.New(rand.NewPCG(1, 2))), now, 1)
		if err != nil {
			t.Fatal(err)
		}
		for n := range int64(300) {
			out, err := c.compose(n*n*n, now+n*n*n*n*1e6)
			if err != nil {
				t.Fatal(err)
			}
			gz, err := gzip.NewReader(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(gz)
			if err != nil || !bytes.Equal(plain, c.plain) {
				t.Fatalf("payload %d, message %d: %v, %d bytes of %d", size, n, err, len(plain), len(c.plain))
			}
			if size > 300 && n > 3 {
				break
			}
			r, err := wire.DecodeRequest(out, wire.VariantGzip, frameMax)
			if err != nil || !bytes.Equal(r.Data, c.data) {
				t.Fatalf("payload %d, message %d: %v", size, n, err)
			}
			real, _ := wire.AppendRequest(nil, wire.VariantGzip, &c.request)
			if len(out) > len(real)*13/10 {
				t.Fatalf("payload %d: %d bytes, a compressor's %d", size, len(out), len(real))
			}
		}
	}
}

func BenchmarkCompose(b *testing.B) {
	for _, compressor := range []string{"stencil", "sdk"} {
		b.Run(compressor, func(b *testing.B) {
			s, _ := newSDK("go", "gzip", compressor)
			now := time.Now().UnixNano()
			c, err := newComposer(s, &account{UserID: "load_000000", Nickname: "Load 0"}, "load_000001", false,
				naming{rand.Uint64(), rand.Uint64()}, newText(200, rand.New(rand.NewPCG(1, 2))), now, 1)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			n := int64(0)
			for b.Loop() {
				n++
				if _, err := c.compose(n, now+n); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(c.out)), "bytes")
		})
		b.Run(compressor+"-inflate", func(b *testing.B) {
			s, _ := newSDK("go", "gzip", compressor)
			now := time.Now().UnixNano()
			c, _ := newComposer(s, &account{UserID: "load_000000", Nickname: "Load 0"}, "load_000001", false,
				naming{rand.Uint64(), rand.Uint64()}, newText(200, rand.New(rand.NewPCG(1, 2))), now, 1)
			out, _ := c.compose(1, now)
			for b.Loop() {
				if _, err := wire.DecodeRequest(out, wire.VariantGzip, frameMax); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
