package wire

import (
	"fmt"
	"testing"
)

// benchMsg is a chat message of about 300 bytes.
func benchMsg(b *testing.B) []byte {
	m := fullMsg()
	m.OfflinePushInfo, m.AtUserIDList, m.Options = nil, nil, nil
	m.Content = []byte(`{"content":"a message of the length that people write to each other, with some words more"}`)
	m.ClientMsgID, m.SenderFaceURL = "0123456789abcdef0123456789abcdef", "https://example.com/faces/4950983283.png"
	return marshal(b, m)
}

var variantNames = [Variants]string{"gob", "json", "gob+gzip", "json+gzip"}

func BenchmarkDecodeRequest(b *testing.B) {
	r := Request{ReqIdentifier: ReqSendMsg, SendID: []byte("4950983283"), OperationID: []byte("1726312345678901234"),
		MsgIncr: []byte("4950983283_1726312345678901234"), Data: benchMsg(b)}
	for v := range Variant(Variants) {
		p, err := AppendRequest(nil, v, &r)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(variantNames[v], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeRequest(p, v, testMax); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	foreign := gobBytesOf(b, struct {
		Data          []byte
		MsgIncr       string
		ReqIdentifier int
	}{r.Data, "m", 1003})
	b.Run("gob of another shape", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeRequest(foreign, 0, testMax); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendRequest(b *testing.B) {
	r := Request{ReqIdentifier: ReqSendMsg, SendID: []byte("4950983283"), Data: benchMsg(b)}
	dst := make([]byte, 0, 4096)
	for v := range Variant(Variants) {
		b.Run(variantNames[v], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = AppendRequest(dst, v, &r)
			}
		})
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	r := Response{ReqIdentifier: ReqSendMsg, OperationID: []byte("1726312345678901234"),
		MsgIncr: []byte("4950983283_1726312345678901234"), Data: make([]byte, 80)}
	dst := make([]byte, 0, 4096)
	for v := range Variant(Variants) {
		b.Run(variantNames[v], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				AppendResponse(dst, v, &r)
			}
		})
	}
}

func BenchmarkAppendPush(b *testing.B) {
	msg := benchMsg(b)
	dst := make([]byte, 0, 1<<16)
	for v := range Variant(Variants) {
		for _, n := range []int{1, 10} {
			msgs := make([][]byte, n)
			for i := range msgs {
				msgs[i] = msg
			}
			b.Run(fmt.Sprintf("%s/%d", variantNames[v], n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					AppendPush(dst, v, "1726312345678901234", "si_4950983283_4950983284", msgs...)
				}
			})
		}
	}
}

// BenchmarkGzipFrame is what storedMax was chosen by: time and size of a stored
// and a compressed frame.
func BenchmarkGzipFrame(b *testing.B) {
	msg := benchMsg(b)
	for _, size := range []int{300, 600, 1000, 2000, 4000, 16000} {
		var content []byte
		for i := 0; len(content) < size; i++ {
			content = append(AppendServerFields(content, &ServerFields{Seq: int64(i), SendTime: int64(i) << 20, ServerMsgID: fmt.Sprint(i * i * 7919)}), msg...)
		}
		content = content[:size]
		frame := append(make([]byte, storedRoom), content...)
		dst := make([]byte, 0, 2*size+100)
		b.Run(fmt.Sprintf("stored/%d", size), func(b *testing.B) {
			var n int
			for b.Loop() {
				n = len(storeFrame(append(dst, frame...), 0))
			}
			b.ReportMetric(float64(n), "bytes")
		})
		b.Run(fmt.Sprintf("compressed/%d", size), func(b *testing.B) {
			var n int
			for b.Loop() {
				n = len(deflate(append(dst, frame...), 0, storedRoom, &fastWriters))
			}
			b.ReportMetric(float64(n), "bytes")
		})
	}
}

func BenchmarkScanMsg(b *testing.B) {
	msg := benchMsg(b)
	var m Msg
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if err := ScanMsg(msg, &m); err != nil {
			b.Fatal(err)
		}
	}
}
