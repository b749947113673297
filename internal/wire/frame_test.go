package wire

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// readFrame checks that b is exactly one frame as a server sends it.
func readFrame(t testing.TB, b []byte) ws.Frame {
	t.Helper()
	r := bytes.NewReader(b)
	h, err := ws.ReadHeader(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := ws.CheckHeader(h, ws.StateClientSide); err != nil {
		t.Fatal(err)
	}
	if int64(r.Len()) != h.Length || len(b)-r.Len() != ws.HeaderSize(h) || !h.Fin || h.Masked || h.Rsv != 0 {
		t.Fatalf("header %+v, %d bytes follow", h, r.Len())
	}
	return ws.Frame{Header: h, Payload: b[len(b)-r.Len():]}
}

// TestFrameSizes walks over the borders between the three forms of the header.
func TestFrameSizes(t *testing.T) {
	for _, n := range []int{0, 1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 70_000} {
		payload := bytes.Repeat([]byte{'x'}, n)
		if f := readFrame(t, AppendTextFrame(nil, payload)); f.Header.OpCode != ws.OpText || !bytes.Equal(f.Payload, payload) {
			t.Errorf("text of %d bytes", n)
		}
		for _, extra := range []int{0, 20} { // with and without room in dst
			dst := make([]byte, 0, headerRoom+n+extra)
			dst, start := openFrame(dst, 0)
			dst = closeFrame(append(dst, payload...), start, 0, 0)
			if f := readFrame(t, dst); f.Header.OpCode != ws.OpBinary || !bytes.Equal(f.Payload, payload) {
				t.Errorf("envelope of %d bytes", n)
			}
		}
	}
}

func TestControlFrames(t *testing.T) {
	f := readFrame(t, AppendControlFrame(nil, byte(ws.OpPong), []byte("1726")))
	if f.Header.OpCode != ws.OpPong || string(f.Payload) != "1726" {
		t.Errorf("%+v", f)
	}
	if f := readFrame(t, AppendControlFrame(nil, byte(ws.OpPing), make([]byte, 300))); len(f.Payload) != controlMax {
		t.Errorf("control frame of %d bytes", len(f.Payload))
	}
	for _, reason := range []string{"", "busy", strings.Repeat("x", 200), strings.Repeat("用", 60)} {
		f := readFrame(t, AppendCloseFrame(nil, 1013, reason))
		code, got := ws.ParseCloseFrameData(f.Payload)
		if f.Header.OpCode != ws.OpClose || code != 1013 || !strings.HasPrefix(reason, got) || !utf8.ValidString(got) ||
			len(got) < min(len(reason), controlMax-2-3) || len(f.Payload) > controlMax {
			t.Errorf("close frame %d %q", code, got)
		}
	}
}
