package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"gannet/internal/wire"
)

// floorServer is the least server that gannet's libraries allow: it takes a frame of
// a known size from a socket, writes the two records of a message into a batch, syncs
// it, and writes an answer to the sender and a push to the receiver, one write per
// socket and round. It knows no users, rules, encodings or repeats. What it gives on
// one core is what gannet cannot exceed in the same minutes.
type floorServer struct {
	gnet.BuiltinEventEngine
	size         int // of a request
	answer, push []byte
	db           *pebble.DB
	listening    chan struct{}

	// The loop's.
	last *floorPeer // the sender whose receiver connects next

	mu   sync.Mutex
	cond sync.Cond
	// Guarded by mu.
	open floorRound
}

type floorPeer struct {
	conn     gnet.Conn
	receiver *floorPeer
	frames   []byte // what it is sent, many times over
	size     int
	owed     int // of those, in this round
}

// floorRound is what one sync makes durable.
type floorRound struct {
	batch *pebble.Batch
	from  []*floorPeer
}

// floorSizes are the lengths of a text of 200 bytes as the Go SDK sends it, of its
// answer, its push and its record.
func floorSizes(tb testing.TB) (sizes [4]int) {
	r := request(tb, name(0), name(1), "", "0123456789abcdef0123456789abcdef")
	sizes[0] = len(sdkRequest(tb, gobGzip, name(0), name(1))) + 8 // with the header of a masked frame
	sizes[1] = len(wire.AppendResponse(nil, gobGzip, &wire.Response{
		ReqIdentifier: wire.ReqSendMsg, OperationID: []byte("1726312345678901234"), MsgIncr: []byte("u0_1726312345678901234"), Data: make([]byte, 75),
	}))
	sizes[2] = len(wire.AppendPush(nil, gobGzip, "1726312345678901234", "si_u0_u1", r.Data))
	sizes[3] = len(r.Data) + 50 // what the server adds
	return sizes
}

// floorEnv makes the test binary that server: its address, folder and sizes.
const floorEnv = "GANNET_FLOOR_SERVER"

func TestMain(m *testing.M) {
	args := os.Getenv(floorEnv)
	if args == "" {
		os.Exit(m.Run())
	}
	if err := serveFloor(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveFloor ends with its standard input.
func serveFloor(args string) error {
	var addr, dir string
	var size, answer, push, record int
	if _, err := fmt.Sscan(args, &addr, &dir, &size, &answer, &push, &record); err != nil {
		return err
	}
	db, err := pebble.Open(dir, floorOptions())
	if err != nil {
		return err
	}
	const frames = 256 // that one write can hold
	s := &floorServer{size: size, answer: make([]byte, frames*answer), push: make([]byte, frames*push), db: db, listening: make(chan struct{})}
	s.cond.L = &s.mu
	s.open.batch = db.NewBatch()
	go s.commit(make([]byte, record))
	ended := make(chan error, 1)
	go func() { ended <- gnet.Run(s, "tcp://"+addr, gnet.WithNumEventLoop(1)) }()
	select {
	case err := <-ended:
		return err
	case <-s.listening:
	}
	fmt.Println("listening")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (s *floorServer) OnBoot(gnet.Engine) gnet.Action {
	close(s.listening)
	return gnet.None
}

// OnOpen pairs connections in the order they come.
func (s *floorServer) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	p := &floorPeer{conn: c}
	if s.last == nil {
		p.frames, p.size, s.last = s.answer, len(s.answer)/256, p
	} else {
		p.frames, p.size = s.push, len(s.push)/256
		s.last.receiver, s.last = p, nil
	}
	c.SetContext(p)
	return nil, gnet.None
}

func (s *floorServer) OnTraffic(c gnet.Conn) gnet.Action {
	p := c.Context().(*floorPeer)
	n := c.InboundBuffered() / s.size
	_, _ = c.Discard(n * s.size)
	s.mu.Lock()
	for range n {
		s.open.from = append(s.open.from, p)
	}
	s.mu.Unlock()
	s.cond.Signal()
	return gnet.None
}

// commit writes what came while the last round was synced.
func (s *floorServer) commit(record []byte) {
	next, spare := uint64(0), floorRound{batch: s.db.NewBatch()}
	key := make([]byte, 0, 64)
	for {
		s.mu.Lock()
		for len(s.open.from) == 0 {
			s.cond.Wait()
		}
		round := s.open
		s.open = spare
		s.mu.Unlock()
		for range round.from {
			next++
			conv := fmt.Appendf(key[:0], "msi_%010d_%010d", next%200, next%200+1)
			_ = round.batch.Set(binary.BigEndian.AppendUint64(conv, next), record, nil)
			_ = round.batch.Set(binary.BigEndian.AppendUint64(append(key[:0], "di_0000000000_0000000000"...), next*0x9e3779b97f4a7c15), record[:4], nil)
		}
		if err := s.db.Apply(round.batch, pebble.Sync); err != nil {
			panic(err)
		}
		round.batch.Reset()
		spare = floorRound{batch: round.batch}
		if err := round.from[0].conn.EventLoop().Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
			answerRound(round.from)
			return nil
		})); err != nil {
			panic(err)
		}
	}
}

func answerRound(from []*floorPeer) {
	for _, p := range from {
		p.owed++
		p.receiver.owed++
	}
	for _, p := range from {
		for _, to := range [...]*floorPeer{p, p.receiver} {
			if to.owed > 0 {
				_, _ = to.conn.Write(to.frames[:to.owed*to.size])
				to.owed = 0
			}
		}
	}
}

// floorServed is the machine's price of n messages over that server, by so many pairs
// with so many messages outstanding each: the server on core 0, this thread on core 1.
func floorServed(b *testing.B, pairs, outstanding, each int) {
	if runtime.NumCPU() < 2 {
		b.Skip("needs a core for either end")
	}
	sizes := floorSizes(b)
	addr := freeAddr(b)
	pid := startFloor(b, addr, sizes)

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var was unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		b.Fatal(err)
	}
	pin(b, 1)
	defer func() {
		if err := unix.SchedSetaffinity(0, &was); err != nil {
			b.Error(err)
		}
	}()
	c := newFloorClient(b, addr, sizes, pairs)
	c.run(b, outstanding, pairs*outstanding) // what the first messages cost is not the question
	from := cpuOf(b, pid)
	b.ResetTimer()
	took := c.run(b, outstanding, max(b.N*each, pairs*outstanding))
	b.StopTimer()
	n := float64(max(b.N*each, pairs*outstanding))
	b.ReportMetric(float64(cpuOf(b, pid)-from)/n, "cpu-ns/msg")
	b.ReportMetric(n/took.Seconds(), "msg/s")
	slices.Sort(c.waits)
	b.ReportMetric(float64(c.waits[len(c.waits)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(c.waits[len(c.waits)*99/100].Microseconds()), "p99-µs")
}

func freeAddr(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startFloor starts the server on core 0 and returns its process ID.
func startFloor(b *testing.B, addr string, sizes [4]int) int {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=400",
		floorEnv+"="+fmt.Sprint(addr, " ", b.TempDir(), " ", sizes[0], " ", sizes[1], " ", sizes[2], " ", sizes[3]))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	// A child has the affinity of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var was unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		b.Fatal(err)
	}
	pin(b, 0)
	err = cmd.Start()
	if err := unix.SchedSetaffinity(0, &was); err != nil {
		b.Error(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	ready := make([]byte, len("listening\n"))
	if _, err := io.ReadFull(out, ready); err != nil {
		b.Fatal("the floor's server: ", err)
	}
	return cmd.Process.Pid
}

func pin(tb testing.TB, core int) {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		tb.Fatal(err)
	}
}

// cpuOf is what a process has used, in steps of 10 ms.
func cpuOf(tb testing.TB, pid int) time.Duration {
	stat, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat"))
	if err != nil {
		tb.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var user, system int64
	if _, err := fmt.Sscan(string(fields[11])+" "+string(fields[12]), &user, &system); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(user+system) * (time.Second / 100)
}

// floorClient is all clients of that server, in one thread.
type floorClient struct {
	sizes    [4]int
	poll     int
	conns    []int // sockets by place; senders even, their receivers odd
	got      []int // bytes beyond the last whole frame
	sent     [][]time.Time
	in, out  []byte
	waits    []time.Duration // from a message's write to its answer
	answered int
	pushed   int
}

func newFloorClient(b *testing.B, addr string, sizes [4]int, pairs int) *floorClient {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	c := &floorClient{sizes: sizes, poll: poll, got: make([]int, 2*pairs), sent: make([][]time.Time, 2*pairs), in: make([]byte, 1<<20), out: make([]byte, 64*sizes[0])}
	b.Cleanup(func() { unix.Close(poll) })
	for i := range 2 * pairs {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		f, err := conn.(*net.TCPConn).File() // a descriptor of its own
		conn.Close()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { f.Close() })
		fd := int(f.Fd())
		if err := unix.SetNonblock(fd, true); err != nil {
			b.Fatal(err)
		}
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
			b.Fatal(err)
		}
		c.conns = append(c.conns, fd)
	}
	return c
}

// run keeps so many messages of each pair outstanding until total were answered and
// pushed.
func (c *floorClient) run(b *testing.B, outstanding, total int) time.Duration {
	c.answered, c.pushed, c.waits = 0, 0, make([]time.Duration, 0, total)
	start := time.Now()
	left := total
	for i := 0; i < len(c.conns); i += 2 {
		n := min(outstanding, left)
		left -= n
		c.send(b, i, n)
	}
	events := make([]unix.EpollEvent, 512)
	for c.answered < total || c.pushed < total {
		n, err := unix.EpollWait(c.poll, events, 10_000)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			b.Fatalf("%d of %d answered, %d pushed: %v", c.answered, total, c.pushed, err)
		}
		for _, e := range events[:n] {
			i := int(e.Fd)
			frames := c.receive(b, i, c.sizes[1+i&1])
			if i&1 == 1 {
				c.pushed += frames
				continue
			}
			c.answered += frames
			now := time.Now()
			for _, at := range c.sent[i][:frames] {
				c.waits = append(c.waits, now.Sub(at))
			}
			c.sent[i] = append(c.sent[i][:0], c.sent[i][frames:]...)
			frames = min(frames, left)
			left -= frames
			c.send(b, i, frames)
		}
	}
	return time.Since(start)
}

func (c *floorClient) send(b *testing.B, i, frames int) {
	if frames == 0 {
		return
	}
	now := time.Now()
	for range frames {
		c.sent[i] = append(c.sent[i], now)
	}
	if n, err := unix.Write(c.conns[i], c.out[:frames*c.sizes[0]]); err != nil || n != frames*c.sizes[0] {
		b.Fatalf("%d bytes written: %v", n, err)
	}
}

func (c *floorClient) receive(b *testing.B, i, size int) (frames int) {
	n, err := unix.Read(c.conns[i], c.in)
	if err != nil || n == 0 {
		b.Fatalf("the server closed: %v", err)
	}
	n += c.got[i]
	c.got[i] = n % size
	return n / size
}
