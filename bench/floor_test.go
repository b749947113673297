package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/golang-jwt/jwt/v5"
)

// BenchmarkFloor is what the machine itself asks for what the server must do, now:
// on a machine that is shared, figures of two days compare only beside their floors.
// cpu-ns/op is user and system time of both ends.
func BenchmarkFloor(b *testing.B) {
	// A frame of 700 bytes written to one of 200 sockets and read there, as a loop
	// does; a message costs one and its delivery another, unless frames share them.
	b.Run("socket", func(b *testing.B) {
		var ends [200][2]int
		for i := range ends {
			ends[i] = tcpPair(b)
		}
		frame, in := make([]byte, 700), make([]byte, 64<<10)
		timed(b, 1, func(i int) {
			p := ends[i%len(ends)]
			if _, err := syscall.Write(p[0], frame); err != nil {
				b.Fatal(err)
			}
			if _, err := syscall.Read(p[1], in); err != nil {
				b.Fatal(err)
			}
		})
	})
	// The two records of a message, 64 messages in a synced batch.
	b.Run("pebble", func(b *testing.B) {
		db, err := pebble.Open(b.TempDir(), floorOptions())
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		const messages = 64
		value, next := make([]byte, 650), uint64(0)
		timed(b, messages, func(int) {
			batch := db.NewBatch()
			for range messages {
				next++
				conv := fmt.Sprintf("msi_%08d_%08d", next*0x9e3779b97f4a7c15>>44, next&15)
				_ = batch.Set(binary.BigEndian.AppendUint64([]byte(conv), next), value, nil)
				_ = batch.Set(binary.BigEndian.AppendUint64([]byte("d"+conv[1:]), next*0x9e3779b97f4a7c15), value[:4], nil)
			}
			if err := db.Apply(batch, pebble.Sync); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("fdatasync", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "log"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		record := make([]byte, 600)
		timed(b, 1, func(int) {
			if _, err := f.Write(record); err != nil {
				b.Fatal(err)
			}
			if err := syscall.Fdatasync(int(f.Fd())); err != nil {
				b.Fatal(err)
			}
		})
	})
	// An authenticated connection without what gannet does about it: connect, accept,
	// the upgrade's request and answer, the first frame, close.
	b.Run("connect", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		request, in := make([]byte, 500), make([]byte, 4096)
		timed(b, 1, func(int) {
			c, s := connect(b, l)
			for _, turn := range []struct {
				from, to net.Conn
				size     int
			}{{c, s, 500}, {s, c, 130}, {s, c, 120}} {
				if _, err := turn.from.Write(request[:turn.size]); err != nil {
					b.Fatal(err)
				}
				if _, err := turn.to.Read(in); err != nil {
					b.Fatal(err)
				}
			}
			c.Close()
			s.Close()
		})
	})
	for _, f := range []struct {
		load floorLoad // senders, receivers, outstanding, rate
		each int
	}{
		{floorLoad{1, 1, 1, 0}, 1}, {floorLoad{200, 1, 1, 0}, 10}, {floorLoad{200, 1, 8, 0}, 60}, {floorLoad{200, 1, 32, 0}, 60},
		{floorLoad{200, 1, 0, 656}, 1}, {floorLoad{200, 1, 0, 1700}, 2}, {floorLoad{200, 1, 0, 5000}, 5},
		{floorLoad{1, 999, 1, 0}, 1}, {floorLoad{1, 999, 8, 0}, 1},
	} {
		b.Run("server/"+f.load.String(), func(b *testing.B) { f.load.run(b, f.each) })
	}
	b.Run("HS256", func(b *testing.B) {
		claims := jwt.MapClaims{"UserID": "1000000001", "PlatformID": 1, "exp": time.Now().Add(time.Hour).Unix()}
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("key"))
		if err != nil {
			b.Fatal(err)
		}
		timed(b, 1, func(int) {
			if _, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return []byte("key"), nil }); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func floorOptions() *pebble.Options {
	return &pebble.Options{
		MemTableSize: 64 << 20, MemTableStopWritesThreshold: 4, L0StopWritesThreshold: 32,
		FormatMajorVersion: pebble.FormatValueSeparation, Logger: mute{},
	}
}

// timed runs f b.N times, each of which does each units, and reports CPU per unit.
func timed(b *testing.B, each int, f func(i int)) {
	b.Helper()
	from := cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		f(i)
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-from)/float64(b.N*each), "cpu-ns/unit")
}

// cpuTime is what this process has used.
func cpuTime(b testing.TB) time.Duration {
	b.Helper()
	used, err := usedCPU()
	if err != nil {
		b.Fatal(err)
	}
	return used
}

func usedCPU() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// connect returns both ends of a new connection to l.
func connect(b *testing.B, l net.Listener) (client, server net.Conn) {
	b.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return client, server
}

// tcpPair connects two blocking sockets over loopback.
func tcpPair(b *testing.B) (ends [2]int) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c, s := connect(b, l)
	for i, conn := range []net.Conn{c, s} {
		f, err := conn.(*net.TCPConn).File() // blocking, and a descriptor of its own
		conn.Close()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { f.Close() })
		ends[i] = int(f.Fd())
	}
	return ends
}

// mute drops what Pebble logs.
type mute struct{}

func (mute) Infof(string, ...any)           {}
func (mute) Errorf(string, ...any)          {}
func (mute) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
