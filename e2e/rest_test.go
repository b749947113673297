package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	adminUser   = "imAdmin"
	adminSecret = "openIM123"
)

// Platforms, by OpenIM's numbers.
const (
	iOS     int32 = 1
	android int32 = 2
	windows int32 = 3
	web     int32 = 5
)

// Error codes the tests ask for.
const (
	codeArgs           = 1001
	codeNoPermission   = 1002
	codeRegistered     = 1102
	codeTokenInvalid   = 1502
	codeTokenMalformed = 1503
	codeTokenUnknown   = 1505
	codeTokenKicked    = 1506
	codeTokenNotExist  = 1507
)

var httpClient = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

var operations atomic.Int64

func operationID() string { return "e2e-" + strconv.FormatInt(operations.Add(1), 10) }

// env is one test's view of a server: an administrator's HTTP calls and users
// that no other test has.
type env struct {
	*testing.T
	srv    *process
	admin  string // administrator's token
	prefix string // of every user ID of the test
}

// shared returns the test's view of the server all tests use together.
func shared(t *testing.T) *env {
	t.Helper()
	return newEnv(t, common)
}

// alone starts a server for this test only.
func alone(t *testing.T, args ...string) *env {
	t.Helper()
	p, err := newProcess(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return newEnv(t, p)
}

func newEnv(t *testing.T, p *process) *env {
	t.Helper()
	e := &env{T: t, srv: p, prefix: fmt.Sprintf("u%d", operations.Add(1))}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		t.Logf("server log:\n%s", p.tail(func(line string) bool {
			return p != common || strings.Contains(line, e.prefix) || strings.Contains(line, "ERROR") || strings.Contains(line, "panic")
		}))
	})
	e.login()
	return e
}

// login gets a new administrator's token.
func (e *env) login() {
	e.Helper()
	var data struct{ Token string }
	e.must("/auth/get_admin_token", "", obj{"secret": adminSecret, "userID": adminUser}, &data)
	if e.admin = data.Token; e.admin == "" {
		e.Fatal("get_admin_token: no token")
	}
}

type obj map[string]any

// call makes one API request and returns its errCode and text; out may be nil.
func (e *env) call(path, token string, body, out any) (code int, text string) {
	e.Helper()
	code, text, err := apiCall(e.srv.api, path, token, body, out)
	if err != nil {
		e.Fatalf("%s: %v", path, err)
	}
	return code, text
}

// must is call for a request that has to succeed.
func (e *env) must(path, token string, body, out any) {
	e.Helper()
	if code, text := e.call(path, token, body, out); code != 0 {
		e.Fatalf("%s: %d %s", path, code, text)
	}
}

// refused is call for a request that has to fail with one of the codes.
func (e *env) refused(path, token string, body any, codes ...int) {
	e.Helper()
	code, text := e.call(path, token, body, nil)
	for _, c := range codes {
		if code == c {
			return
		}
	}
	e.Fatalf("%s: errCode %d %q, want one of %v", path, code, text, codes)
}

// apiCall is safe for use by many goroutines.
func apiCall(addr, path, token string, body, out any) (code int, text string, err error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+path, bytes.NewReader(b))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("operationID", operationID())
	if token != "" {
		req.Header.Set("token", token)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if b, err = io.ReadAll(resp.Body); err != nil {
		return 0, "", err
	}
	var answer struct {
		ErrCode        int
		ErrMsg, ErrDlt string
		Data           json.RawMessage
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return 0, "", fmt.Errorf("status %d, body %q: %w", resp.StatusCode, b, err)
	}
	if answer.ErrCode == 0 && out != nil && len(answer.Data) > 0 {
		err = json.Unmarshal(answer.Data, out)
	}
	return answer.ErrCode, strings.TrimSpace(answer.ErrMsg + " " + answer.ErrDlt), err
}

// user registers a user whose ID ends in name.
func (e *env) user(name string) string {
	e.Helper()
	id := e.prefix + name
	e.register(id)
	return id
}

func (e *env) register(ids ...string) {
	e.Helper()
	users := make([]obj, len(ids))
	for i, id := range ids {
		users[i] = obj{"userID": id, "nickname": "nick " + id, "faceURL": "http://127.0.0.1/" + id}
	}
	e.must("/user/user_register", e.admin, obj{"users": users}, nil)
}

// token gets a token, which under the default policy ends the user's earlier
// ones of the same platform.
func (e *env) token(user string, platform int32) string {
	e.Helper()
	var data struct{ Token string }
	e.must("/auth/get_user_token", e.admin, obj{"userID": user, "platformID": platform}, &data)
	if data.Token == "" {
		e.Fatal("get_user_token: no token")
	}
	return data.Token
}

// single returns the ID of the conversation of two users.
func single(a, b string) string {
	return "si_" + min(a, b) + "_" + max(a, b)
}

// notifications returns the ID of the notification conversation of two users.
func notifications(a, b string) string {
	return "n_" + min(a, b) + "_" + max(a, b)
}

// within is when a test gives up waiting: long, for machines that do much else.
const within = 40 * time.Second

// eventually waits until ok, failing the test when it does not come about.
func (e *env) eventually(what string, ok func() bool) {
	e.Helper()
	e.eventuallyIn(within, what, ok)
}

func (e *env) eventuallyIn(d time.Duration, what string, ok func() bool) {
	e.Helper()
	if !waited(d, ok) {
		e.Fatalf("waited %v in vain: %s", d, what)
	}
}

// waited waits until ok, at most d, and says whether it came about.
func waited(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// quiet is how long a test watches that something does not happen.
const quiet = time.Second

// settled waits until value has not changed for d: for things that must not
// happen, where there is nothing to wait for.
func settled[T comparable](d time.Duration, value func() T) T {
	last, since := value(), time.Now()
	for time.Since(since) < d {
		time.Sleep(10 * time.Millisecond)
		if v := value(); v != last {
			last, since = v, time.Now()
		}
	}
	return last
}

// jwt makes a token of its own: alg HS256 with the key, or none.
func jwt(alg, key string, claims obj) string {
	part := func(o obj) string {
		b, err := json.Marshal(o)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(obj{"alg": alg, "typ": "JWT"}) + "." + part(claims)
	if alg == "none" {
		return text + "."
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
