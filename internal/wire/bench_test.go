package wire

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
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

// sdkFrames are frames as the SDK makes them, by shape, with the standard library's
// gob and gzip at its default level: count of each shape (fewer long ones), with their
// own digits and words.
func sdkFrames(t testing.TB, count int) (names []string, frames map[string][][]byte) {
	const picture = `{"sourcePath":"/storage/emulated/0/DCIM/Camera/IMG_%d.jpg","sourcePicture":{"uuid":"%s","type":"image/jpeg","size":%[1]d,` +
		`"width":3024,"height":4032,"url":"https://example.com/object/4950983283/msg_picture_%[3]s.jpg"},"snapshotPicture":{"uuid":"%[2]s",` +
		`"type":"image/jpeg","width":480,"height":640,"url":"https://example.com/object/4950983283/msg_picture_%[3]s.jpg?width=480&height=640"}}`
	r := rand.New(rand.NewPCG(1, 2))
	text := func(words []string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(words[r.IntN(len(words))])
		}
		return `{"content":"` + b.String() + `"}`
	}
	id := func() string { return fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()) }
	message := func(options map[string]bool, content string) proto.Message {
		return &sdkws.MsgData{SendID: "4950983283", RecvID: fmt.Sprint(r.IntN(1e10)), ClientMsgID: id(), SenderPlatformID: 2,
			SenderNickname: "Alice Liddell", SenderFaceURL: "https://example.com/faces/4950983283.png", SessionType: 1, MsgFrom: 100,
			ContentType: 101, Content: []byte(content), CreateTime: 1726312345678 + r.Int64N(1e9), Options: options}
	}
	english := strings.SplitAfter("a message of the length that people write to each other, with some words more and now then where are you going ", " ")
	chinese := strings.Split("明天下午三点我们在老地方见面吧记得把上次说的那本书带来晚上一起吃饭好的知道了", "")
	options := map[string]bool{"history": true, "persistent": true, "senderSync": true, "unreadCount": false, "offlinePush": false}
	shapes := []struct {
		name string
		v    Variant
		id   int
		make func() proto.Message
	}{
		{"text", 0, ReqSendMsg, func() proto.Message { return message(nil, text(english, 15)) }},
		{"text, options", 0, ReqSendMsg, func() proto.Message { return message(options, text(english, 25)) }},
		{"text, JSON envelope", VariantJSON, ReqSendMsg, func() proto.Message { return message(nil, text(english, 15)) }},
		{"Chinese", 0, ReqSendMsg, func() proto.Message { return message(nil, text(chinese, 40)) }},
		{"picture", 0, ReqSendMsg, func() proto.Message {
			return message(options, fmt.Sprintf(picture, r.IntN(1e6), id(), id()))
		}},
		{"pull", 0, ReqPullByRange, func() proto.Message {
			return &sdkws.PullMessageBySeqsReq{UserID: "4950983283", SeqRanges: []*sdkws.SeqRange{
				{ConversationID: fmt.Sprintf("si_4950983283_%d", r.IntN(1e10)), Begin: 1, End: r.Int64N(1000), Num: 20}}}
		}},
		{"max seq", 0, ReqNewestSeq, func() proto.Message { return &sdkws.GetMaxSeqReq{UserID: "4950983283"} }},
		{"long text", 0, ReqSendMsg, func() proto.Message { return message(nil, text(english, 16000)) }},
	}
	frames = map[string][][]byte{}
	for _, s := range shapes {
		names = append(names, s.name)
		n := count
		if s.name == "long text" {
			n = min(count, 8)
		}
		for range n {
			data := marshal(t, s.make())
			frames[s.name] = append(frames[s.name], sdkEncode(t, s.v|VariantGzip, GeneralWsReq{s.id, "", "4950983283", id(),
				fmt.Sprintf("4950983283_%d", 1726312345678901234+r.Int64N(1e15)), data}))
		}
	}
	return names, frames
}

// libraryReader is the streaming reader that inflater stands in for, pooled like it.
type libraryReader struct {
	gz  gzip.Reader
	src bytes.Reader
	buf []byte
}

func (l *libraryReader) inflate(p []byte) error {
	l.src.Reset(p)
	if err := l.gz.Reset(&l.src); err != nil {
		return err
	}
	for n := 0; ; {
		if n == len(l.buf) {
			l.buf = append(l.buf, make([]byte, n)...)
		}
		k, err := l.gz.Read(l.buf[n:])
		n += k
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// BenchmarkInflate is what docs/adr/0001-inflate.md cites: the best turns of this
// package and of the library's reader, which take turns on the same frames.
func BenchmarkInflate(b *testing.B) {
	library := &libraryReader{buf: make([]byte, 128<<10)}
	own := inflaters.New().(*inflater)
	names, frames := sdkFrames(b, 1024) // more than a branch predictor learns by heart
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			size, content, n := 0, 0, time.Duration(len(frames[name]))
			bestOwn, bestLibrary := time.Hour, time.Hour
			for b.Loop() {
				size, content = 0, 0
				begin := time.Now()
				for _, frame := range frames[name] {
					p, _ := own.inflate(frame, testMax)
					size, content = size+len(frame), content+len(p)
				}
				between := time.Now()
				for _, frame := range frames[name] {
					_ = library.inflate(frame)
				}
				bestOwn, bestLibrary = min(bestOwn, between.Sub(begin)), min(bestLibrary, time.Since(between))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(size)/float64(n), "B-frame")
			b.ReportMetric(float64(content)/float64(n), "B-content")
			b.ReportMetric(float64(bestOwn/n), "ns-own")
			b.ReportMetric(float64(bestLibrary/n), "ns-library")
			b.ReportMetric(float64(bestLibrary)/float64(bestOwn), "times")
		})
	}
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
