//go:build !race

package wire

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

// Not under the race detector: it makes pools forget at random.

func TestEncodingAllocatesNothing(t *testing.T) {
	dst := make([]byte, 0, 1<<16)
	data := make([]byte, 300)
	r := Response{ReqIdentifier: ReqSendMsg, MsgIncr: []byte("alice_1726312345678901234"), OperationID: []byte("operation"), ErrMsg: "some text", Data: data}
	operation := strings.Repeat("operation", 5)
	msgs := [][]byte{data}
	for v := range Variant(Variants) {
		if n := testing.AllocsPerRun(100, func() { AppendResponse(dst, v, &r) }); n != 0 {
			t.Errorf("AppendResponse, variant %d: %v allocations", v, n)
		}
		if n := testing.AllocsPerRun(100, func() { AppendPush(dst, v, operation, "si_alice_bob", msgs...) }); n != 0 {
			t.Errorf("AppendPush, variant %d: %v allocations", v, n)
		}
	}
}

func TestScanMsgAllocatesNothing(t *testing.T) {
	full := marshal(t, fullMsg())
	var m Msg
	if n := testing.AllocsPerRun(100, func() {
		if err := ScanMsg(full, &m); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHostileFramesAllocateLittle(t *testing.T) {
	for i, frame := range hostileFrames(t) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeRequest(frame, 0, testMax)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("frame %d: %v", i, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("frame %d of %d bytes: %d bytes allocated", i, len(frame), n)
		}
	}
}

// TestInflateAllocatesWithinTheBound decodes 200 kB that hold 200 MiB.
func TestInflateAllocatesWithinTheBound(t *testing.T) {
	bomb := gzipped(t, 9, make([]byte, 200<<20))
	for _, v := range []Variant{VariantGzip, VariantGzip | VariantJSON} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeRequest(bomb, v, testMax)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("variant %d: %v", v, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4*testMax {
			t.Errorf("variant %d: %d bytes allocated", v, n)
		}
	}
}
