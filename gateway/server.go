package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2"

	"gannet/core"
)

// Server accepts clients and carries frames between them and core. It implements
// core.Sink.
type Server struct {
	// Immutable after New.
	opt      Options
	core     Core
	log      *slog.Logger
	paths    map[string]bool
	maxConns int
	hardMax  int // connections above maxConns that are kept long enough to be told 1601
	ticksOf  tickCounts
	loops    []*loop
	started  time.Time
	ctx      context.Context // handed to gnet's Execute, which only passes it on

	lanes   []chan *job // requests that keep a session's order
	reads   chan *job   // the others
	workers sync.WaitGroup

	// Set by Start before it returns.
	addr    string
	engine  gnet.Engine
	booted  chan struct{} // closed when all loops run
	runDone chan struct{} // closed when gnet has ended
	runErr  error         // of gnet; valid after runDone

	// Atomic.
	conns    atomic.Int64
	inFlight atomic.Int64 // requests queued or running
	queued   atomic.Int64 // their bytes
	draining atomic.Bool
	stopping atomic.Bool // the end of the engine is wanted

	mu      sync.Mutex // leaf; guards byEvent
	byEvent map[gnet.EventLoop]*loop

	boot     sync.Once     // closes booted
	stopOnce sync.Once     // runs stopWork
	stopped  chan struct{} // closed when workers and pumps have ended
}

var _ core.Sink = (*Server)(nil)

// New checks o and prepares a server. It starts nothing.
func New(o Options) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{
		opt: o, core: o.Core, log: o.Logger, ticksOf: o.tickCounts(), started: time.Now(), ctx: context.Background(),
		reads: make(chan *job, o.ReadDepth), booted: make(chan struct{}), runDone: make(chan struct{}),
		stopped: make(chan struct{}), byEvent: make(map[gnet.EventLoop]*loop),
	}
	if len(o.Paths) > 0 {
		s.paths = make(map[string]bool)
		for _, p := range o.Paths {
			s.paths[p] = true
		}
	}
	for range o.Lanes {
		s.lanes = append(s.lanes, make(chan *job, o.LaneDepth))
	}
	for i := range o.Loops {
		s.loops = append(s.loops, newLoop(s, i))
	}
	return s, s.limitConns()
}

// limitConns reads the process's descriptor limit and bounds the connections so
// that store, API and logs always find descriptors left: gnet ends its engine
// when accept finds none.
func (s *Server) limitConns() error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return fmt.Errorf("gateway: read descriptor limit: %w", err)
	}
	limit := int(min(r.Cur, 1<<30))
	allowed := limit - max(reservedFiles, limit/40) - politeConns
	if allowed < 1 {
		return fmt.Errorf("gateway: the limit of %d open files leaves none for connections", limit)
	}
	s.maxConns = allowed
	if s.opt.MaxConns > 0 {
		s.maxConns = min(s.opt.MaxConns, allowed)
	}
	s.hardMax = s.maxConns + politeConns
	log := s.log.Info
	if allowed < 4096 || s.maxConns < s.opt.MaxConns {
		log = s.log.Warn
	}
	log("gateway: connections allowed", "connections", s.maxConns, "open_files_limit", limit, "configured", s.opt.MaxConns)
	return nil
}

const (
	reservedFiles = 256 // descriptors left for the rest of the process, at least
	politeConns   = 128 // connections above the limit that get an answer instead of a reset
)

// Start listens and serves. It returns when connections are accepted; Addr then
// tells the address, also for port 0. It may be called once.
func (s *Server) Start() error {
	addr, err := probe(s.opt.Addr)
	if err != nil {
		return fmt.Errorf("gateway: listen: %w", err)
	}
	s.addr = addr
	for _, l := range s.loops {
		go l.pump()
	}
	s.startWorkers()
	// With SO_REUSEPORT each loop accepts its own connections, one per wake-up: the
	// count in OnOpen is exact before the next descriptor is taken.
	go func() {
		defer close(s.runDone)
		s.runErr = gnet.Run(&handler{s: s}, "tcp://"+addr,
			gnet.WithNumEventLoop(s.opt.Loops), gnet.WithReusePort(true), gnet.WithReuseAddr(true),
			gnet.WithTicker(true), gnet.WithLogger(gnetLog{s.log}))
		if !s.stopping.Load() {
			s.ended()
		}
	}()
	select {
	case <-s.booted:
		return nil
	case <-s.runDone:
		s.stopWork()
		return fmt.Errorf("gateway: listen on %s: %w", addr, s.runErr)
	}
}

// probe resolves addr to one that nobody listens on. gnet's loops share the port
// by SO_REUSEPORT, which would let a second server join the first unnoticed, and
// give each loop its own port for port 0.
func probe(addr string) (string, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// ended reports an engine that stopped by itself.
func (s *Server) ended() {
	select {
	case <-s.booted:
	default:
		return // Start returns the error
	}
	err := s.runErr
	if err == nil {
		err = errors.New("gateway: the event loops ended")
	}
	s.log.Error("gateway: event loops ended", "error", err)
	if s.opt.OnFatal != nil {
		s.opt.OnFatal(err)
	}
}

// Addr is the address that Start listens on.
func (s *Server) Addr() string { return s.addr }

// Shutdown stops taking connections and requests, lets requests under way be
// answered, closes every session with code 1001, and ends all goroutines. When ctx
// ends first it skips the waiting, and returns ctx's error. Without a successful
// Start it does nothing.
func (s *Server) Shutdown(ctx context.Context) error {
	select {
	case <-s.booted:
	default:
		return nil
	}
	s.draining.Store(true)
	waited := poll(ctx, func() bool { return s.inFlight.Load() == 0 })
	if waited == nil {
		waited = s.awaitQuiet(ctx)
	}
	for _, l := range s.loops {
		l.post(work{closeAll: true, end: endShutdown})
	}
	if err := poll(ctx, func() bool { return s.conns.Load() == 0 }); waited == nil {
		waited = err
	}
	s.stopping.Store(true)
	for _, l := range s.loops {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.engine.Stop(now) // only asks; runDone tells
	<-s.runDone
	s.stopWork()
	select {
	case <-s.stopped:
	case <-ctx.Done():
		return ctx.Err()
	}
	return waited
}

// awaitQuiet waits until core has not delivered anything for a short while: the
// answers to sends that it accepted come by way of the disk.
func (s *Server) awaitQuiet(ctx context.Context) error {
	const quiet = 50 * time.Millisecond
	last, since := s.framesOut(), time.Now()
	return poll(ctx, func() bool {
		if n := s.framesOut(); n != last {
			last, since = n, time.Now()
		}
		return s.conns.Load() == 0 || time.Since(since) >= quiet
	})
}

func (s *Server) framesOut() (n uint64) {
	for _, l := range s.loops {
		n += l.stats.framesOut.Load()
	}
	return n
}

// stopWork ends workers and pumps, after the loops have ended. It does not wait:
// a worker may still be in core.
func (s *Server) stopWork() {
	s.stopOnce.Do(func() {
		for _, lane := range s.lanes {
			close(lane)
		}
		close(s.reads)
		for _, l := range s.loops {
			close(l.more)
		}
		go func() {
			s.workers.Wait()
			for _, l := range s.loops {
				<-l.pumped
			}
			close(s.stopped)
		}()
	})
}

// poll waits until ok or the end of ctx.
func poll(ctx context.Context, ok func() bool) error {
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}

// ticks is the time since the start in ticks.
func (s *Server) ticks() uint32 { return uint32(time.Since(s.started) / s.opt.Tick) }

// handler is the Server as gnet sees it. Its callbacks run on the loops.
type handler struct {
	s *Server
}

func (h *handler) OnBoot(e gnet.Engine) gnet.Action {
	h.s.engine = e
	return gnet.None
}

func (h *handler) OnShutdown(gnet.Engine) {}

func (h *handler) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	s := h.s
	l := s.bind(c.EventLoop())
	l.stats.accepted.Add(1)
	over := s.conns.Add(1) > int64(s.hardMax)
	switch {
	case s.draining.Load():
		l.stats.endings[endShutdown].Add(1)
	case over || !l.open(c):
		l.stats.endings[endOverLimit].Add(1)
	default:
		return nil, gnet.None
	}
	return nil, gnet.Close
}

func (h *handler) OnClose(c gnet.Conn, _ error) gnet.Action {
	if s, ok := c.Context().(*session); ok {
		h.s.loops[loopOf(s.id)].gone(s)
	}
	h.s.conns.Add(-1)
	return gnet.None
}

func (h *handler) OnTraffic(c gnet.Conn) gnet.Action {
	s := c.Context().(*session)
	h.s.loops[loopOf(s.id)].traffic(c, s)
	return gnet.None
}

// OnTick runs on a goroutine of its own and only queues a tick on each loop.
func (h *handler) OnTick() (time.Duration, gnet.Action) {
	h.s.boot.Do(func() { close(h.s.booted) })
	for _, l := range h.s.loops {
		l.mu.Lock()
		if l.events != nil && !l.ticking && !l.closed {
			l.ticking = true
			_ = l.events.Execute(h.s.ctx, l.tickRun)
		}
		l.mu.Unlock()
	}
	return h.s.opt.Tick, gnet.None
}

// bind finds the loop that belongs to gnet's ev, and pairs them at first sight.
func (s *Server) bind(ev gnet.EventLoop) *loop {
	s.mu.Lock()
	l := s.byEvent[ev]
	fresh := l == nil
	if fresh {
		l = s.loops[len(s.byEvent)]
		s.byEvent[ev] = l
	}
	s.mu.Unlock()
	if fresh {
		l.mu.Lock()
		l.events = ev
		l.mu.Unlock()
	}
	return l
}

// gnetLog passes gnet's warnings and errors on and silences the rest.
type gnetLog struct{ log *slog.Logger }

func (g gnetLog) Debugf(string, ...any) {}
func (g gnetLog) Infof(string, ...any)  {}
func (g gnetLog) Warnf(format string, args ...any) {
	g.log.Debug("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLog) Errorf(format string, args ...any) {
	g.log.Warn("gnet: " + fmt.Sprintf(format, args...))
}
func (g gnetLog) Fatalf(format string, args ...any) {
	g.log.Error("gnet: " + fmt.Sprintf(format, args...))
}
