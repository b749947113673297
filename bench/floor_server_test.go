package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
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
// it, and writes an answer to the sender and a push to each receiver, one write per
// socket and round. It knows no users, rules, encodings or repeats. What it gives on
// one core is what these parts allow in the same minutes.
type floorServer struct {
	gnet.BuiltinEventEngine
	size         int // of a request
	receivers    int // of a sender
	answer, push []byte
	db           *pebble.DB
	listening    chan struct{}

	// The loop's.
	last *floorPeer // the sender whose receivers connect next

	mu   sync.Mutex
	cond sync.Cond
	// Guarded by mu.
	open floorRound
}

type floorPeer struct {
	conn   gnet.Conn
	to     []*floorPeer // a sender's receivers
	frames []byte       // what it is sent, floorFrames times over
	owed   int          // of those, in this round
}

const floorFrames = 256

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

// serveFloor answers each line of its standard input with the CPU time it has used,
// in nanoseconds, and ends with the input.
func serveFloor(args string) error {
	var addr, dir string
	var receivers, size, answer, push, record int
	if _, err := fmt.Sscan(args, &addr, &dir, &receivers, &size, &answer, &push, &record); err != nil {
		return err
	}
	db, err := pebble.Open(dir, floorOptions())
	if err != nil {
		return err
	}
	s := &floorServer{
		size: size, receivers: receivers, db: db, listening: make(chan struct{}),
		answer: make([]byte, floorFrames*answer), push: make([]byte, floorFrames*push),
	}
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
	asked := bufio.NewScanner(os.Stdin)
	for asked.Scan() {
		used, err := usedCPU()
		if err != nil {
			return err
		}
		fmt.Println(used.Nanoseconds())
	}
	return asked.Err()
}

func (s *floorServer) OnBoot(gnet.Engine) gnet.Action {
	close(s.listening)
	return gnet.None
}

// OnOpen takes a sender, then its receivers, then the next sender, and greets each with
// a byte.
func (s *floorServer) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	p := &floorPeer{conn: c, frames: s.push}
	c.SetContext(p)
	if s.last == nil || len(s.last.to) == s.receivers {
		p.frames, s.last = s.answer, p
	} else {
		s.last.to = append(s.last.to, p)
	}
	return []byte{0}, gnet.None
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
		for _, to := range p.to {
			to.owed++
		}
	}
	for _, p := range from {
		p.write()
		for _, to := range p.to {
			to.write()
		}
	}
}

func (p *floorPeer) write() {
	if p.owed > 0 {
		_, _ = p.conn.Write(p.frames[:p.owed*len(p.frames)/floorFrames])
		p.owed = 0
	}
}

// floorLoad is what clients do to that server: each sender keeps so many messages
// outstanding, or with a rate, they send so many a second in turn, and latency counts
// from the intended time.
type floorLoad struct{ senders, receivers, outstanding, rate int }

func (l floorLoad) String() string {
	switch {
	case l.rate > 0:
		return fmt.Sprintf("pairs/%d-per-second", l.rate)
	case l.receivers == 1:
		return fmt.Sprintf("pairs/%dx%d", l.senders, l.outstanding)
	}
	return fmt.Sprintf("group/%dx%d", l.receivers, l.outstanding)
}

// run sends b.N*each messages, with the server on core 0 and the clients, one thread,
// on core 1.
func (l floorLoad) run(b *testing.B, each int) {
	if runtime.NumCPU() < 2 {
		b.Skip("needs a core for either end")
	}
	sizes := floorSizes(b)
	addr := freeAddr(b)
	server := startFloor(b, addr, l.receivers, sizes)
	defer pin(b, 1)()
	c := newFloorClient(b, addr, l, sizes)
	c.run(b, max(l.senders*l.outstanding, l.rate)) // what the first messages cost is not the question
	n := max(b.N*each, l.senders*l.outstanding)
	from := server.cpuTime(b)
	b.ResetTimer()
	took := c.run(b, n)
	b.StopTimer()
	slices.Sort(c.waits)
	b.ReportMetric(float64(server.cpuTime(b)-from)/float64(n), "cpu-ns/unit")
	b.ReportMetric(float64(n)/took.Seconds(), "msg/s")
	b.ReportMetric(float64(c.waits[n/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(c.waits[n*99/100].Microseconds()), "p99-µs")
}

func freeAddr(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// floorProcess is a running server.
type floorProcess struct {
	in  io.Writer
	out *bufio.Reader
}

// startFloor starts the server on core 0.
func startFloor(b *testing.B, addr string, receivers int, sizes [4]int) *floorProcess {
	args := fmt.Sprint(addr, " ", b.TempDir(), " ", receivers)
	for _, n := range sizes {
		args += fmt.Sprint(" ", n)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=400", floorEnv+"="+args)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	unpin := pin(b, 0) // a child has the affinity of the thread that starts it
	err = cmd.Start()
	unpin()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	p := &floorProcess{in, bufio.NewReader(out)}
	for line := ""; line != "listening\n"; { // gnet says something too
		if line, err = p.out.ReadString('\n'); err != nil {
			b.Fatal("the floor's server: ", err)
		}
	}
	return p
}

// cpuTime is what the server has used.
func (p *floorProcess) cpuTime(b *testing.B) time.Duration {
	var line string
	_, err := fmt.Fprintln(p.in)
	if err == nil {
		line, err = p.out.ReadString('\n')
	}
	used, wrong := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err = errors.Join(err, wrong); err != nil {
		b.Fatal("the floor's server: ", err)
	}
	return time.Duration(used)
}

// pin keeps the goroutine on a thread on core until unpin.
func pin(b *testing.B, core int) (unpin func()) {
	runtime.LockOSThread()
	var was, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		b.Fatal(err)
	}
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		b.Fatal(err)
	}
	return func() {
		if err := unix.SchedSetaffinity(0, &was); err != nil {
			b.Error(err)
		}
		runtime.UnlockOSThread()
	}
}

// floorClient is all clients of that server, in one thread.
type floorClient struct {
	load   floorLoad
	sizes  [4]int
	poll   int
	peers  []floorEnd // in the server's order
	in     []byte
	frames []byte // requests
	// Of one run.
	waits  []time.Duration // from a message's write to its answer
	left   int             // messages to send
	pushes int             // to come
}

type floorEnd struct {
	fd   int
	part int         // bytes received beyond the last whole frame
	sent []time.Time // of a sender's messages without an answer
}

func newFloorClient(b *testing.B, addr string, l floorLoad, sizes [4]int) *floorClient {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(poll) })
	c := &floorClient{load: l, sizes: sizes, poll: poll, in: make([]byte, 1<<20), frames: make([]byte, 64*sizes[0])}
	for i := range l.senders * (1 + l.receivers) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, c.in[:1]); err != nil {
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
		c.peers = append(c.peers, floorEnd{fd: fd})
	}
	return c
}

// run sends total messages and returns when all were answered and pushed.
func (c *floorClient) run(b *testing.B, total int) time.Duration {
	c.waits, c.left, c.pushes = make([]time.Duration, 0, total), total, total*c.load.receivers
	start := time.Now()
	group := 1 + c.load.receivers
	if c.load.rate == 0 {
		for i := 0; i < len(c.peers); i += group {
			c.send(b, &c.peers[i], c.load.outstanding, start)
		}
	}
	events := make([]unix.EpollEvent, 512)
	for len(c.waits) < total || c.pushes > 0 {
		wait := 10 * time.Second
		if c.load.rate > 0 && c.left > 0 {
			sent := total - c.left
			due := start.Add(time.Second * time.Duration(sent) / time.Duration(c.load.rate))
			if wait = time.Until(due); wait <= 0 {
				c.send(b, &c.peers[sent%c.load.senders*group], 1, due)
				continue
			}
		}
		n, err := c.await(events, wait)
		if err != nil || n == 0 && c.left == 0 {
			b.Fatalf("%d of %d answered, %d pushes to come: %v", len(c.waits), total, c.pushes, err)
		}
		for _, e := range events[:n] {
			p := &c.peers[e.Fd]
			if int(e.Fd)%group != 0 {
				c.pushes -= c.receive(b, p, c.sizes[2])
				continue
			}
			answers := c.receive(b, p, c.sizes[1])
			now := time.Now()
			for _, sent := range p.sent[:answers] {
				c.waits = append(c.waits, now.Sub(sent))
			}
			p.sent = append(p.sent[:0], p.sent[answers:]...)
			if c.load.rate == 0 {
				c.send(b, p, answers, now)
			}
		}
	}
	return time.Since(start)
}

// await is epoll_wait with a wait in nanoseconds.
func (c *floorClient) await(events []unix.EpollEvent, wait time.Duration) (int, error) {
	limit := unix.NsecToTimespec(wait.Nanoseconds())
	if _, err := unix.Ppoll([]unix.PollFd{{Fd: int32(c.poll), Events: unix.POLLIN}}, &limit, nil); err != nil && err != syscall.EINTR {
		return 0, err
	}
	return unix.EpollWait(c.poll, events, 0)
}

// send sends n messages, or as many as are left, that were to be sent at the given time.
func (c *floorClient) send(b *testing.B, p *floorEnd, n int, at time.Time) {
	if n = min(n, c.left); n == 0 {
		return
	}
	c.left -= n
	for range n {
		p.sent = append(p.sent, at)
	}
	frames := c.frames[:n*c.sizes[0]]
	if n, err := unix.Write(p.fd, frames); err != nil || n != len(frames) {
		b.Fatalf("%d of %d bytes written: %v", n, len(frames), err)
	}
}

// receive returns how many frames of the given size are complete now.
func (c *floorClient) receive(b *testing.B, p *floorEnd, size int) int {
	n, err := unix.Read(p.fd, c.in)
	if err != nil || n == 0 {
		b.Fatalf("the server closed: %v", err)
	}
	n += p.part
	p.part = n % size
	return n / size
}
