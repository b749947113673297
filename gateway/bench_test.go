package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"gannet/core"
	"gannet/internal/wire"
)

// cpu is the processor time of this process, clients included.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkHandshake is connect, upgrade, login and close.
func BenchmarkHandshake(b *testing.B) {
	s, _ := serve(b, Options{})
	request := fmt.Appendf(nil, "GET /?%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", loginQuery("u", 1))
	answer := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			b.Fatal(err)
		}
		_, _ = conn.Write(request)
		if n, err := conn.Read(answer); err != nil || string(answer[9:12]) != "101" {
			b.Fatalf("%q %v", answer[:n], err)
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

// BenchmarkSend is one request and its answer through a lane and the sink.
func BenchmarkSend(b *testing.B) {
	for _, outstanding := range []int{1, 32} {
		b.Run(fmt.Sprint("outstanding=", outstanding), func(b *testing.B) {
			s, _ := serve(b, Options{FloodBytes: 1 << 31})
			c := join(b, s, "u", 1, "")
			_ = c.conn.SetDeadline(time.Time{})
			frame := clientFrame(true, ws.OpBinary, c.envelope(&wire.Request{
				ReqIdentifier: wire.ReqSendMsg, SendID: []byte("u"), MsgIncr: []byte("u_1"), Data: make([]byte, 200)}))
			burst := make([]byte, 0, outstanding*len(frame))
			for range outstanding {
				burst = append(burst, frame...)
			}
			b.ReportAllocs()
			for n := 0; n < b.N; n += outstanding {
				c.raw(burst)
				for range outstanding {
					if _, _, err := readFrame(c.r); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkFanout delivers one frame to 1000 sessions; one operation is one frame
// at one session, read by its client.
func BenchmarkFanout(b *testing.B) {
	const sessions, message = 1000, 132
	for _, rounds := range []int{1, 8} {
		b.Run(fmt.Sprint("frames=", rounds), func(b *testing.B) {
			s, fake := serve(b, Options{})
			var got sync.WaitGroup
			frame := wire.AppendTextFrame(nil, make([]byte, message))
			for i := range sessions {
				c := join(b, s, fmt.Sprint("u", i), 1, "")
				go func() {
					buf := make([]byte, rounds*len(frame))
					r := bufio.NewReaderSize(c.conn, len(buf))
					for {
						if _, err := io.ReadFull(r, buf); err != nil {
							return
						}
						got.Done()
					}
				}()
				_ = c.conn.SetDeadline(time.Time{})
			}
			refs := fake.refs(b, sessions)
			round := make([]core.Delivery, rounds)
			for i := range round {
				round[i] = core.Delivery{Frame: frame, To: refs}
			}
			b.ReportAllocs()
			b.ResetTimer()
			start := cpu()
			n := 0
			for ; n < b.N; n += sessions * rounds {
				got.Add(sessions)
				s.Deliver(round)
				got.Wait()
			}
			b.ReportMetric(float64(cpu()-start)/float64(n), "cpu-ns/frame")
		})
	}
}

// BenchmarkDeliverOne is what a caller pays to hand over one answer.
func BenchmarkDeliverOne(b *testing.B) {
	s, fake := serve(b, Options{InboxBytes: 1 << 40, OutboundBytes: 1 << 30})
	c := join(b, s, "u", 1, "")
	go func() { _, _ = io.Copy(io.Discard, c.conn) }()
	_ = c.conn.SetDeadline(time.Time{})
	refs := fake.refs(b, 1)
	round := []core.Delivery{{Frame: wire.AppendTextFrame(nil, make([]byte, 132)), To: refs}}
	b.ReportAllocs()
	for b.Loop() {
		s.Deliver(round)
	}
}
