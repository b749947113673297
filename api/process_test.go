package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// buildDir holds the server that the tests of this package start; TestMain
// removes it.
var buildDir string

func TestMain(m *testing.M) {
	code := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	os.Exit(code)
}

// gannetBinary builds the server once.
var gannetBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gannet-api-test")
	if err != nil {
		return "", err
	}
	buildDir = dir
	file := filepath.Join(dir, "gannet")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", file, "gannet").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return file, nil
})

// process is a running server with a data folder of its own.
type process struct {
	testing.TB
	cmd    *exec.Cmd
	addr   map[string]string // by the name in the banner: api, "api v2", websocket, ops
	stderr *bytes.Buffer     // valid after the end
	http   *http.Client
}

// startProcess starts the server on free ports; env lines are added to the environment.
func startProcess(tb testing.TB, dir string, env ...string) *process {
	tb.Helper()
	file, err := gannetBinary()
	if err != nil {
		tb.Fatal(err)
	}
	p := &process{
		TB: tb, addr: make(map[string]string), stderr: new(bytes.Buffer),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	p.cmd = exec.Command(file, "--data", dir, "--ws", "127.0.0.1:0", "--api", "127.0.0.1:0", "--api-v2", "127.0.0.1:0",
		"--ops", "127.0.0.1:0", "--log-level", "error")
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.kill)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if name, addr, ok := strings.Cut(line, "://"); ok {
			if i := strings.LastIndexByte(name, ' '); i > 0 {
				p.addr[strings.TrimSpace(name[:i])] = addr
			}
		}
		if strings.Contains(line, "/msg/send_msg") {
			go io.Copy(io.Discard, out)
			return p
		}
	}
	p.kill()
	tb.Fatalf("the server ended before it was ready:\n%s", p.stderr)
	return nil
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	}
	p.http.CloseIdleConnections()
}

// port is the address behind one of the documents' ports.
func (p *process) port(number string) string {
	if number == "10000" {
		return p.addr["api v2"]
	}
	return p.addr["api"]
}

// post makes one request; header lines are "name: value". An error means that the
// server did not answer.
func (p *process) post(port, path, body string, header ...string) (status int, answer string, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+p.port(port)+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// v3 calls a v3 route and decodes data into out, which may be nil. It returns the
// errCode, or -1 when there was no answer.
func (p *process) v3(path, token string, body, out any) int {
	return p.decoded("10002", path, body, out, "operationID: op", "token: "+token)
}

// v2 calls a v2 endpoint; out gets data.
func (p *process) v2(path, token string, body obj, out any) int {
	body["operationID"] = "op"
	return p.decoded("10000", path, body, out, "token: "+token)
}

func (p *process) decoded(port, path string, body, out any, header ...string) int {
	text, err := json.Marshal(body)
	if err != nil {
		p.Fatal(err)
	}
	_, answer, err := p.post(port, path, string(text), header...)
	if err != nil {
		return -1
	}
	var a struct {
		ErrCode int
		Data    json.RawMessage
	}
	if err := json.Unmarshal([]byte(answer), &a); err != nil {
		p.Errorf("%s: %v: %s", path, err, answer)
		return -1
	}
	if out != nil && a.ErrCode == 0 {
		if err := json.Unmarshal(a.Data, out); err != nil {
			p.Errorf("%s: %v: %s", path, err, answer)
		}
	}
	return a.ErrCode
}

// tokenOf is a v2 token of user on platform.
func (p *process) tokenOf(user string, platform int) string {
	p.Helper()
	var data struct{ Token string }
	if code := p.v2("/auth/user_token", "", obj{"secret": "tuoyun", "platform": platform, "userID": user}, &data); code != 0 {
		p.Fatalf("no token for %s: %d", user, code)
	}
	return data.Token
}

// register makes users by the v3 route.
func (p *process) register(users ...string) {
	p.Helper()
	rows := make([]obj, len(users))
	for i, u := range users {
		rows[i] = obj{"userID": u, "nickname": "nick " + u}
	}
	if code := p.v3("/user/user_register", "", obj{"secret": "openIM123", "users": rows}, nil); code != 0 {
		p.Fatalf("register %v: %d", users, code)
	}
}

// connect opens a session of user, which lasts as long as the test.
func (p *process) connect(user string, platform int) {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	url := fmt.Sprintf("ws://%s/?sendID=%s&token=%s&platformID=%d&operationID=op", p.addr["websocket"], user, p.tokenOf(user, platform), platform)
	conn, _, _, err := ws.Dial(ctx, url)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { conn.Close() })
}
