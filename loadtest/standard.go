//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// standardSet is what `make load` runs, in about five minutes, each on a fresh server.
var standardSet = []struct{ name, command string }{
	{"p2p 1×1", "p2p --pairs 1 --outstanding 1 --duration 10s"},
	{"p2p 200×1", "p2p --pairs 200 --outstanding 1 --duration 20s"},
	{"p2p 200×8", "p2p --pairs 200 --outstanding 8 --duration 20s"},
	{"p2p 200×32", "p2p --pairs 200 --outstanding 32 --duration 20s"},
	{"p2p 200 open loop 5000/s", "p2p --pairs 200 --rate 5000 --duration 20s"},
	{"group 1000×1", "group --members 1000 --outstanding 1 --duration 20s"},
	{"group 1000×8", "group --members 1000 --outstanding 8 --duration 20s"},
	{"connect 64 dialers", "connect --dialers 64 --conns 200000 --duration 15s"},
	{"idle 10000", "idle --conns 10000 --duration 25s"},
	{"mixed 1000", "mixed --online 1000 --duration 30s"},
	{"openim 10000", "openim --online 10000 --duration 30s"},
}

// standard runs the standard set and writes load.txt, load.json and load.html.
func standard(ctx context.Context, args []string, out, log io.Writer) (*results, int) {
	fs := flag.NewFlagSet("standard", flag.ContinueOnError)
	fs.SetOutput(log)
	dir := fs.String("out", "bin/load", "folder of the results")
	binary := fs.String("server", "bin/gannet", "the server to measure")
	only := fs.String("only", "", "only the parts whose name holds this")
	scale := fs.Float64("scale", 1, "durations are multiplied by this")
	runs := fs.Int("runs", 1, "repeat each so often")
	if err := fs.Parse(args); err != nil {
		return nil, exitUsage
	}
	all := newResults()
	err := os.MkdirAll(*dir, 0o755)
	for _, part := range standardSet {
		if !strings.Contains(part.name, *only) {
			continue
		}
		for i := 0; i < *runs && err == nil && ctx.Err() == nil; i++ {
			fmt.Fprintf(log, "\n%s\n", part.name)
			command := append(strings.Fields(part.command), "--name", part.name)
			var r *report
			if r, err = alone(ctx, *binary, command, *scale, log); err == nil {
				all.Reports = append(all.Reports, r)
			}
		}
	}
	if err == nil {
		var text *os.File
		if text, err = os.Create(filepath.Join(*dir, "load.txt")); err == nil {
			defer text.Close()
			return all, all.conclude(filepath.Join(*dir, "load.json"), filepath.Join(*dir, "load.html"), io.MultiWriter(out, text), log)
		}
	}
	fmt.Fprintf(log, "loadtest standard: %v\n", err)
	return nil, exitUsage
}

// alone runs one command against a server of its own.
func alone(ctx context.Context, binary string, command []string, scale float64, log io.Writer) (*report, error) {
	s, err := startServer(ctx, binary)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	o, flags, err := parse(append(command, s.flags()...), log)
	if err != nil {
		return nil, err
	}
	o.duration = time.Duration(float64(o.duration) * scale)
	return run(ctx, o, flags, log)
}

// ownServer is a gannet process with an empty data folder.
type ownServer struct {
	cmd   *exec.Cmd
	data  string
	ports [4]int // WebSocket, v3 API, v2 API, ops
}

// startServer starts the server on a core of its own, if there are two, and waits
// until it is ready. The generator keeps to the others by its own taskset.
func startServer(ctx context.Context, binary string) (*ownServer, error) {
	s := &ownServer{}
	for i := range s.ports { // free now; another process could take one until the server listens
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		s.ports[i] = l.Addr().(*net.TCPAddr).Port
		l.Close()
	}
	var err error
	if s.data, err = os.MkdirTemp("", "gannet-load"); err != nil {
		return nil, err
	}
	args := []string{binary, "serve", "--data", filepath.Join(s.data, "data"), "--log-level", "error"}
	for i, name := range []string{"--ws", "--api", "--api-v2", "--ops"} {
		args = append(args, name, fmt.Sprintf("127.0.0.1:%d", s.ports[i]))
	}
	env := os.Environ()
	if taskset, err := exec.LookPath("taskset"); err == nil && thisMachine().Cores > 1 {
		args = append([]string{taskset, "-c", "0"}, args...)
		env = append(env, "GOMAXPROCS=1")
		runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), thisMachine().Cores-1))
	}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Env, s.cmd.Stderr = env, os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for the generator, which stops it
	if err := s.cmd.Start(); err != nil {
		os.RemoveAll(s.data)
		return nil, err
	}
	ready := fmt.Sprintf("http://127.0.0.1:%d/readyz", s.ports[3])
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(ready)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		if time.Now().After(end) || ctx.Err() != nil {
			s.stop()
			return nil, errors.Join(errors.New("the server does not become ready"), err)
		}
	}
}

func (s *ownServer) flags() []string {
	return []string{"--ws", fmt.Sprintf("ws://127.0.0.1:%d", s.ports[0]), "--api", fmt.Sprintf("http://127.0.0.1:%d", s.ports[1]),
		"--ops", fmt.Sprintf("http://127.0.0.1:%d", s.ports[3])}
}

// stop ends the server and removes its data.
func (s *ownServer) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	os.RemoveAll(s.data)
}
