package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestOps(t *testing.T) {
	var draining atomic.Bool
	rooms := prometheus.NewCounter(prometheus.CounterOpts{Name: "gannet_test_things_total", Help: "Things."})
	rooms.Add(3)
	ops, err := NewOps(OpsOptions{
		Addr:   "127.0.0.1:0",
		Logger: slog.New(slog.DiscardHandler),
		Rooms:  rooms,
		Ready: func() error {
			if draining.Load() {
				return errors.New("draining")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string, wantStatus int, want ...string) {
		t.Helper()
		resp, err := client.Get("http://" + ops.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != wantStatus {
			t.Errorf("%s: status %d, want %d (%v)", path, resp.StatusCode, wantStatus, err)
		}
		for _, w := range want {
			if !strings.Contains(string(body), w) {
				t.Errorf("%s lacks %q", path, w)
			}
		}
	}
	get("/healthz", 200, "ok")
	get("/readyz", 200, "ok")
	get("/metrics", 200, "gannet_test_things_total 3", "go_goroutines", "process_cpu_seconds_total")
	get("/debug/pprof/", 200, "goroutine")
	get("/debug/pprof/heap?debug=1", 200, "heap profile")
	get("/debug/pprof/cmdline", 404)
	get("/nothing", 404)

	draining.Store(true)
	get("/healthz", 200, "ok")
	get("/readyz", 503, "draining")

	if err := ops.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := client.Get("http://" + ops.Addr() + "/healthz"); err == nil {
		t.Error("answers after Shutdown")
	}
}

func TestOpsAddressTaken(t *testing.T) {
	o := OpsOptions{Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
	first, err := NewOps(o)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Shutdown(context.Background())
	o.Addr = first.Addr()
	if _, err := NewOps(o); err == nil || !strings.Contains(err.Error(), o.Addr) {
		t.Errorf("got %v, want an error naming %s", err, o.Addr)
	}
}
