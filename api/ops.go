package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// OpsOptions configure the endpoints for operators.
type OpsOptions struct {
	Addr   string
	Logger *slog.Logger
	// Ready returns nil while the server takes work, else why it does not. Called
	// by every /readyz, from many goroutines; MUST NOT block.
	Ready func() error
	// Rooms collects what the rooms count; nil: only the process and the Go runtime.
	Rooms prometheus.Collector
}

// Ops serves /healthz, /readyz, /metrics and /debug/pprof without authentication.
// It stands on net/http, apart from the API's listeners, so that it answers when
// they are full.
type Ops struct {
	// Immutable after NewOps.
	ln   net.Listener
	srv  *http.Server
	done chan struct{} // closed when the serving goroutine ended
}

// NewOps listens on o.Addr and serves until Shutdown.
func NewOps(o OpsOptions) (*Ops, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	if o.Rooms != nil {
		if err := registry.Register(o.Rooms); err != nil {
			return nil, fmt.Errorf("ops: register metrics: %w", err)
		}
	}
	ln, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("ops: %w", err)
	}
	s := &Ops{
		ln: ln,
		srv: &http.Server{
			Handler:           opsHandler(o.Ready, registry),
			ReadHeaderTimeout: 5 * time.Second,
			IdleTimeout:       2 * time.Minute,
			ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
		},
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			o.Logger.Error("ops stopped serving", "error", err)
		}
	}()
	return s, nil
}

// Addr is the address listened on.
func (s *Ops) Addr() string { return s.ln.Addr().String() }

// Shutdown waits for the requests in flight, a running profile too, until ctx
// ends; then it closes their connections.
func (s *Ops) Shutdown(ctx context.Context) error {
	err := s.srv.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.srv.Close())
	}
	<-s.done
	return err
}

func opsHandler(ready func() error, metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	// No /debug/pprof/cmdline: the command line may hold --secret.
	mux.Handle("/debug/pprof/cmdline", http.NotFoundHandler())
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
