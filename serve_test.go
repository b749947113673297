package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain runs the command itself when a test starts this binary as a process.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_GANNET") != "" {
		main()
	}
	os.Exit(m.Run())
}

// gannet prepares a process of the command on free ports with its data in dir.
func gannet(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], append(args, "--data", dir, "--ws", "127.0.0.1:0",
		"--api", "127.0.0.1:0", "--api-v2", "127.0.0.1:0", "--ops", "127.0.0.1:0")...)
	cmd.Env = append(os.Environ(), "RUN_AS_GANNET=1")
	return cmd
}

// running is a started process that has printed its banner.
type running struct {
	*exec.Cmd
	banner string
	stderr *bytes.Buffer // valid after Wait
}

func startGannet(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	r := &running{Cmd: gannet(t, dir, args...), stderr: new(bytes.Buffer)}
	r.Stderr = r.stderr
	out, err := r.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Process.Kill(); r.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		r.banner += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "/msg/send_msg") {
			return r
		}
	}
	r.Wait()
	t.Fatalf("ended before it was ready:\n%s%s", r.banner, r.stderr)
	return nil
}

// addr finds the address that the banner gives for name.
func (r *running) addr(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(r.banner) {
		if rest, ok := strings.CutPrefix(line, "  "+name+" "); ok {
			_, addr, _ := strings.Cut(strings.TrimSpace(rest), "://")
			return addr
		}
	}
	t.Fatalf("no %s in the banner:\n%s", name, r.banner)
	return ""
}

// exit waits for the end and returns the exit code.
func (r *running) exit(t *testing.T) int {
	t.Helper()
	err := r.Wait()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return r.ProcessState.ExitCode()
}

// The printed lines work when pasted, also with a secret of one's own, and a
// drained server leaves everything for the next.
func TestServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	r := startGannet(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data folder: %v, %v", info, err)
	}
	for _, want := range []string{dir, "openIM123 (default), tuoyun (default)", "openIMAdmin", "set secret (--secret", "up to "} {
		if !strings.Contains(r.banner, want) {
			t.Errorf("the banner lacks %q:\n%s", want, r.banner)
		}
	}
	ops := "http://" + r.addr(t, "ops")
	for _, path := range []string{"/healthz", "/readyz"} {
		if resp, err := http.Get(ops + path); err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
	}
	resp, err := http.Get(ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	for _, want := range []string{"gannet_storage_batches_total", "gannet_gateway_connections_max", "go_goroutines"} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}

	t.Run("pasted", func(t *testing.T) { paste(t, r.banner, 2) })

	second := gannet(t, dir)
	out, err := second.CombinedOutput()
	if second.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), dir) {
		t.Errorf("a second process on the folder: %v, %s", err, out)
	}
	r.Process.Signal(syscall.SIGTERM)
	if code := r.exit(t); code != 0 {
		t.Errorf("SIGTERM: exit code %d\n%s", code, r.stderr)
	}

	r = startGannet(t, dir, "--secret", "a-secret-of-ones-own")
	if strings.Contains(r.banner, "ones-own") {
		t.Error("the banner shows a secret")
	}
	t.Setenv("GANNET_SECRET", "a-secret-of-ones-own")
	t.Run("pasted with a secret", func(t *testing.T) { paste(t, r.banner, 1) })
	r.Process.Signal(syscall.SIGINT)
	if code := r.exit(t); code != 0 || strings.Contains(r.stderr.String(), "ones-own") {
		t.Errorf("SIGINT: exit code %d\n%s", code, r.stderr)
	}
}

// paste runs the curl lines of the banner; wantZero of their answers on standard
// output must be successes.
func paste(t *testing.T, banner string, wantZero int) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl here")
	}
	var script strings.Builder
	for line := range strings.Lines(banner) {
		if strings.Contains(line, "curl") {
			script.WriteString(line)
		}
	}
	out, err := exec.Command("sh", "-c", script.String()).CombinedOutput()
	if err != nil || strings.Count(string(out), `"errCode":0`) != wantZero ||
		!strings.Contains(string(out), "serverMsgID") || !strings.Contains(string(out), "\neyJ") && !strings.Contains(string(out), "}eyJ") {
		t.Errorf("pasted lines: %v\n%s\n%s", err, script.String(), out)
	}
}

// A second signal does not wait for a request that never ends.
func TestSecondSignal(t *testing.T) {
	r := startGannet(t, t.TempDir())
	conn, err := net.Dial("tcp", r.addr(t, "api"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /auth/parse_token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	ops := r.addr(t, "ops")
	r.Process.Signal(syscall.SIGTERM)
	for {
		resp, err := http.Get("http://" + ops + "/readyz")
		if err != nil {
			t.Fatalf("ended without waiting for the request: %v", err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable {
			break
		}
	}
	r.Process.Signal(syscall.SIGTERM)
	if code := r.exit(t); code != 143 {
		t.Errorf("exit code %d, want 143\n%s", code, r.stderr)
	}
}

// What came up is taken down again when a later part cannot start.
func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, l := range []string{"--ws", "--api", "--api-v2", "--ops"} {
		cmd := gannet(t, t.TempDir())
		cmd.Args = append(cmd.Args, l, taken.Addr().String())
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), taken.Addr().String()) {
			t.Errorf("%s taken: %v\n%s", l, err, out)
		}
	}
	cmd := exec.Command(os.Args[0], "--ws", "0.0.0.0:0")
	cmd.Env = append(os.Environ(), "RUN_AS_GANNET=1")
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "set secret") {
		t.Errorf("default secret on every address: %s", out)
	}
}

// A failure of the store makes the node unready with its cause.
func TestFatalIsNotReady(t *testing.T) {
	var got error
	n := newNode(&Config{}, slog.New(slog.DiscardHandler), func(err error) { got = err })
	if n.ready() == nil {
		t.Error("ready before the start")
	}
	cause := errors.New("disk on fire")
	n.onFatal(cause)
	if !errors.Is(n.ready(), cause) || got != cause {
		t.Errorf("ready says %v, the process heard %v", n.ready(), got)
	}
	if err := n.stop(time.Second); err != nil {
		t.Error(err)
	}
	if !errors.Is(n.ready(), cause) {
		t.Error("the drain hides the cause")
	}
}
