package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	startWithin = 30 * time.Second
	stopWithin  = 15 * time.Second
)

// process is a gannet server with its folder and ports, which it keeps over
// restarts. Its methods are called by one goroutine at a time.
type process struct {
	ws, api, apiV2, ops string // host:port
	dir                 string // data and log
	args                []string

	cmd    *exec.Cmd // nil while stopped
	exited chan error
}

// newProcess prepares a server with an empty folder on free ports.
func newProcess(dir string, args ...string) (*process, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &process{dir: dir, args: args}
	// All four are open at the same time, so they differ.
	for _, addr := range []*string{&p.ws, &p.api, &p.apiV2, &p.ops} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		*addr = ln.Addr().String()
	}
	return p, nil
}

// start runs the server and returns when it says it is ready.
func (p *process) start() error {
	out, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	args := append([]string{"serve", "--data", filepath.Join(p.dir, "data"),
		"--ws", p.ws, "--api", p.api, "--api-v2", p.apiV2, "--ops", p.ops}, p.args...)
	cmd := exec.Command(serverBinary, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	ready := func() bool {
		resp, err := http.Get("http://" + p.ops + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	for end := time.Now().Add(startWithin); !ready(); time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-exited:
			return fmt.Errorf("server ended at start: %v\n%s", err, p.tail(nil))
		default:
		}
		if time.Now().After(end) {
			_ = cmd.Process.Kill()
			<-exited
			return fmt.Errorf("server not ready in %v\n%s", startWithin, p.tail(nil))
		}
	}
	p.cmd, p.exited = cmd, exited
	return nil
}

// terminate stops the server by SIGTERM, which is to end it with status 0.
func (p *process) terminate() error {
	if p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	defer func() { p.cmd = nil }()
	select {
	case err := <-p.exited:
		if err != nil {
			return fmt.Errorf("after SIGTERM: %w", err)
		}
		return nil
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return errors.New("still there 15 s after SIGTERM")
	}
}

// kill ends the server as a crash would (SIGKILL) and waits until it is gone.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.exited
	p.cmd = nil
}

func (p *process) logFile() string { return filepath.Join(p.dir, "server.log") }

// tail returns the last lines of the server's log, those that keep says (nil: all).
func (p *process) tail(keep func(line string) bool) string {
	text, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	var lines []string
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		if keep == nil || keep(sc.Text()) {
			lines = append(lines, sc.Text())
		}
	}
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}
