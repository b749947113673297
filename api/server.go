package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"gannet/core"
	"gannet/internal/im"
)

// Options configure a Server. Zero values of the limits get the defaults named.
type Options struct {
	Core   *core.Core
	Logger *slog.Logger

	BodyBytes   int           // of a request with a valid token; default 8 MiB. More: HTTP 413
	AnonBytes   int           // of a request without one; default 1 MiB
	HeaderBytes int           // of request line and headers; default 16 KiB. More: HTTP 431
	Conns       int           // per listener; default 10,000 (about 10 KiB each). More: HTTP 503
	ReadTimeout time.Duration // from a request's first byte to its last; default 30 s
	// WriteTimeout is how long a client may take to read an answer; default 30 s.
	WriteTimeout time.Duration
	IdleTimeout  time.Duration // of a kept-alive connection; default 60 s
}

func (o *Options) setDefaults() error {
	if o.Core == nil {
		return errors.New("api: no core")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.BodyBytes, 8<<20)
	setDefault(&o.AnonBytes, 1<<20)
	setDefault(&o.HeaderBytes, 16<<10)
	setDefault(&o.Conns, 10_000)
	setDefault(&o.ReadTimeout, 30*time.Second)
	setDefault(&o.WriteTimeout, 30*time.Second)
	setDefault(&o.IdleTimeout, time.Minute)
	o.AnonBytes = min(o.AnonBytes, o.BodyBytes)
	return nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Server answers OpenIM's HTTP API. Each listener has a default dialect.
type Server struct {
	// Immutable after New.
	opt    Options
	core   *core.Core
	log    *slog.Logger
	routes map[string]path

	mu sync.Mutex
	// Guarded by mu.
	listeners []*listener

	requests, failed, panics atomic.Uint64
}

// listener is one address and the HTTP server behind it.
type listener struct {
	dialect core.Dialect
	ln      net.Listener
	http    *fasthttp.Server
	done    chan struct{} // closed when the accepting goroutine ended
}

// New builds a Server that does not listen yet.
func New(o Options) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	return &Server{opt: o, core: o.Core, log: o.Logger, routes: routes(o.Core)}, nil
}

// Listen starts serving on addr; requests that do not tell their dialect have d.
// It must not be called after Shutdown.
func (s *Server) Listen(addr string, d core.Dialect) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	l := &listener{dialect: d, ln: ln, http: s.newHTTP(d), done: make(chan struct{})}
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	go func() {
		defer close(l.done)
		if err := l.http.Serve(ln); err != nil {
			s.log.Error("api stopped serving", "addr", addr, "error", err)
		}
	}()
	return nil
}

func (s *Server) newHTTP(d core.Dialect) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:        func(ctx *fasthttp.RequestCtx) { s.serve(ctx, d) },
		ErrorHandler:   s.unreadable,
		HeaderReceived: s.admit,
		Logger:         slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),

		Concurrency:        s.opt.Conns,
		MaxRequestBodySize: s.opt.BodyBytes,
		ReadBufferSize:     s.opt.HeaderBytes,
		ReadTimeout:        s.opt.ReadTimeout,
		WriteTimeout:       s.opt.WriteTimeout,
		IdleTimeout:        s.opt.IdleTimeout,
		TCPKeepalive:       true,

		ReduceMemoryUsage:            true, // a kept-alive connection holds no buffers
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
	}
}

// Addr is the address of the first listener whose default dialect is d; "" if
// there is none.
func (s *Server) Addr(d core.Dialect) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if l.dialect == d {
			return l.ln.Addr().String()
		}
	}
	return ""
}

// Shutdown stops accepting and waits for the requests in flight until ctx ends.
// After an error some may still be running: core must not be closed under them.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	all := slices.Clone(s.listeners)
	s.mu.Unlock()
	for _, l := range all {
		// Here and not by fasthttp, which forgets a listener that it has not begun to serve.
		l.ln.Close()
	}
	var errs []error
	for _, l := range all {
		if err := l.http.ShutdownWithContext(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("api: shut down %s: %w", l.ln.Addr(), err))
			continue
		}
		<-l.done
	}
	return errors.Join(errs...)
}

// Stats are counters since New, and gauges.
type Stats struct {
	Requests uint64 // answered, of any outcome
	Failed   uint64 // answered with an errCode
	Panics   uint64 // handlers that panicked; also counted as failed
	Refused  uint64 // connections over Options.Conns
	Conns    int    // open now
}

// Stats reads the counters. Safe for concurrent use.
func (s *Server) Stats() Stats {
	st := Stats{Requests: s.requests.Load(), Failed: s.failed.Load(), Panics: s.panics.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		st.Refused += uint64(l.http.GetRejectedConnectionsCount())
		st.Conns += int(l.http.GetOpenConnectionsCount())
	}
	return st
}

// admit bounds a request's body by its header: only who proves a token may send
// a large one.
func (s *Server) admit(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if n := h.ContentLength(); n >= 0 && n <= s.opt.AnonBytes {
		return fasthttp.RequestConfig{}
	}
	if token := h.Peek("token"); len(token) > 0 {
		if _, err := s.core.VerifyToken(string(token)); err == nil {
			return fasthttp.RequestConfig{}
		}
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: s.opt.AnonBytes}
}

// unreadable answers what the HTTP server could not read; it closes the
// connection afterwards.
func (s *Server) unreadable(ctx *fasthttp.RequestCtx, err error) {
	status, detail := fasthttp.StatusBadRequest, "the HTTP request cannot be read"
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		status, detail = fasthttp.StatusRequestEntityTooLarge, "the body is too large"
	case errors.As(err, &small):
		status, detail = fasthttp.StatusRequestHeaderFieldsTooLarge, "the header is too large"
	case errors.As(err, &timeout) && timeout.Timeout():
		status, detail = fasthttp.StatusRequestTimeout, "the request took too long"
	}
	s.requests.Add(1)
	s.failed.Add(1)
	s.log.Debug("request unreadable", "remote", ctx.RemoteAddr().String(), "status", status)
	ctx.Response.Reset()
	setCORS(&ctx.Response.Header)
	ctx.Response.SetStatusCode(status)
	s.write(ctx, "", nil, im.ErrArgs.With("%s", detail))
}
