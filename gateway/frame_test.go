package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gobwas/ws"
)

const testMax = 1 << 16

// events runs the parser over stream, cut at the given sizes (0: the rest at
// once), and returns what came out as text.
func events(stream []byte, cuts func() int) (out []string) {
	var (
		f    frames
		left []byte
	)
	for at := 0; at < len(stream); {
		n := min(cuts(), len(stream)-at)
		left = append(left, stream[at:at+n]...)
		at += n
		for {
			used, ev, end := f.next(left, testMax)
			left = left[used:]
			if ev.op != 0 && end == endNone {
				out = append(out, fmt.Sprintf("%#x %x", ev.op, ev.payload))
			}
			if end != endNone {
				return append(out, end.String())
			}
			if used == 0 {
				break
			}
		}
		if f.held() > 2*(at+512) {
			panic("more memory than bytes received")
		}
	}
	return out
}

func whole(n int) func() int { return func() int { return n } }

func FuzzFrames(f *testing.F) {
	f.Add(clientFrame(true, ws.OpText, []byte("hello")), uint64(1))
	f.Add(append(clientFrame(false, ws.OpBinary, []byte("ab")), append(clientFrame(true, ws.OpPing, []byte("p")),
		clientFrame(true, ws.OpContinuation, []byte("cd"))...)...), uint64(2))
	f.Add(clientFrame(true, ws.OpClose, ws.NewCloseFrameBody(1000, "bye")), uint64(3))
	f.Add(clientFrame(true, ws.OpBinary, make([]byte, 70000)), uint64(4))
	f.Add([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}, uint64(5))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		want := events(stream, whole(len(stream)))
		r := rand.New(rand.NewPCG(seed, 1))
		for _, cuts := range []func() int{whole(1), func() int { return 1 + r.IntN(7) }, func() int { return 1 + r.IntN(200) }} {
			if got := events(stream, cuts); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("cut up: %.200q\nwhole:  %.200q", got, want)
			}
		}
	})
}

// TestFramesRoundTrip checks the parser against frames that gobwas builds, with
// random fragments and control frames between them, cut at random.
func TestFramesRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		var (
			stream []byte
			want   []string
		)
		for range 1 + r.IntN(8) {
			message := make([]byte, r.IntN(3)*r.IntN(300)+r.IntN(2)*r.IntN(testMax/2))
			for i := range message {
				message[i] = byte(r.Uint32())
			}
			op, rest := ws.OpBinary, message
			for {
				n := len(rest)
				if r.IntN(2) == 0 {
					n = r.IntN(len(rest) + 1)
				}
				stream = append(stream, clientFrame(n == len(rest), op, rest[:n])...)
				if n == len(rest) {
					break
				}
				op, rest = ws.OpContinuation, rest[n:]
				if r.IntN(2) == 0 {
					stream = append(stream, clientFrame(true, ws.OpPing, []byte("x"))...)
					want = append(want, "0x9 78")
				}
			}
			want = append(want, fmt.Sprintf("%#x %x", ws.OpBinary, message))
		}
		if got := events(bytes.Clone(stream), func() int { return 1 + r.IntN(5000) }); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d: %d events, want %d", seed, len(got), len(want))
		}
	}
}

func TestFrameFaults(t *testing.T) {
	unmasked := ws.MustCompileFrame(ws.NewFrame(ws.OpBinary, true, []byte("x")))
	rsv := clientFrame(true, ws.OpBinary, []byte("x"))
	rsv[0] |= 0x40
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	closeBody := func(code uint16, reason string) []byte {
		return append(binary.BigEndian.AppendUint16(nil, code), reason...)
	}
	for _, tc := range []struct {
		name   string
		stream []byte
		want   ending
	}{
		{"unmasked", unmasked, endProtocol},
		{"reserved bit", rsv, endProtocol},
		{"opcode 3", clientFrame(true, 3, nil), endProtocol},
		{"opcode 11", clientFrame(true, 11, nil), endProtocol},
		{"long ping", clientFrame(true, ws.OpPing, make([]byte, 126)), endProtocol},
		{"fragmented ping", clientFrame(false, ws.OpPing, nil), endProtocol},
		{"continuation of nothing", clientFrame(true, ws.OpContinuation, nil), endProtocol},
		{"message in a message", join(clientFrame(false, ws.OpBinary, nil), clientFrame(true, ws.OpBinary, nil)), endProtocol},
		{"too big", clientFrame(true, ws.OpBinary, make([]byte, testMax+1)), endTooBig},
		{"too big in parts", join(clientFrame(false, ws.OpBinary, make([]byte, testMax)), clientFrame(true, ws.OpContinuation, []byte("x"))), endTooBig},
		{"length above 63 bits", []byte{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, endProtocol},
		{"text", clientFrame(true, ws.OpText, []byte("\xff")), endNotUTF8},
		{"text in parts", join(clientFrame(false, ws.OpText, []byte("\xc3")), clientFrame(true, ws.OpContinuation, []byte("("))), endNotUTF8},
		{"close of one byte", clientFrame(true, ws.OpClose, []byte{3}), endProtocol},
		{"close 1005", clientFrame(true, ws.OpClose, closeBody(1005, "")), endProtocol},
		{"close 2999", clientFrame(true, ws.OpClose, closeBody(2999, "")), endProtocol},
		{"close reason", clientFrame(true, ws.OpClose, closeBody(1000, "\xff")), endNotUTF8},
	} {
		for _, cut := range []int{len(tc.stream), 1} {
			got := events(bytes.Clone(tc.stream), whole(cut))
			if len(got) != 1 || got[0] != tc.want.String() {
				t.Errorf("%s, cut at %d: %.100v, want %v", tc.name, cut, got, tc.want)
			}
		}
	}
	ok := join(clientFrame(false, ws.OpText, []byte("\xc3")), clientFrame(true, ws.OpContinuation, []byte("\xa9")),
		clientFrame(true, ws.OpClose, closeBody(4000, "é")))
	if got := events(ok, whole(1)); len(got) != 2 {
		t.Errorf("split character: %v", got)
	}
}

func BenchmarkFrameParse(b *testing.B) {
	stream := clientFrame(true, ws.OpBinary, make([]byte, 200))
	var f frames
	b.ReportAllocs()
	for b.Loop() {
		if n, ev, _ := f.next(stream, testMax); n != len(stream) || ev.op == 0 {
			b.Fatal("no event")
		}
	}
}
