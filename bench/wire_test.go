package bench

import (
	"testing"

	"gannet/internal/wire"
)

// sdkRequest is a text of 200 bytes in the envelope that the SDK sends.
func sdkRequest(tb testing.TB, v wire.Variant, sender, receiver string) []byte {
	tb.Helper()
	r := request(tb, sender, receiver, "", "0123456789abcdef0123456789abcdef")
	r.OperationID, r.MsgIncr = []byte("1726312345678901234"), []byte(sender+"_1726312345678901234")
	p, err := wire.AppendRequest(nil, v, r)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func decode(v wire.Variant) func(testing.TB) op {
	return func(tb testing.TB) op {
		p := sdkRequest(tb, v, "4950983283", "4950983284")
		return op{run: func() {
			if _, err := wire.DecodeRequest(p, v, 1<<20); err != nil {
				tb.Fatal(err)
			}
		}}
	}
}

func encodeResponse(v wire.Variant) func(testing.TB) op {
	return func(tb testing.TB) op {
		dst := make([]byte, 0, 4096)
		r := &wire.Response{ReqIdentifier: wire.ReqSendMsg, OperationID: []byte("1726312345678901234"),
			MsgIncr: []byte("4950983283_1726312345678901234"), Data: make([]byte, 80)}
		return op{run: func() { wire.AppendResponse(dst, v, r) }}
	}
}

func encodePush(v wire.Variant) func(testing.TB) op {
	return func(tb testing.TB) op {
		dst := make([]byte, 0, 4096)
		msgs := [][]byte{request(tb, "4950983283", "4950983284", "", "0123456789abcdef0123456789abcdef").Data}
		return op{run: func() { wire.AppendPush(dst, v, "1726312345678901234", "si_4950983283_4950983284", msgs...) }}
	}
}
