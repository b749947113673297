package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gannet/core"
	"gannet/storage"
)

const testAdmin = "imAdmin"

// rig is an API server on a real core and a real store in memory.
type rig struct {
	testing.TB
	api   *Server
	core  *core.Core
	url   string
	http  *http.Client
	log   *lockedBuffer
	admin string // administrator's token
}

// nowhere is a sink with nobody behind it.
type nowhere struct{}

func (nowhere) Deliver([]core.Delivery)                 {}
func (nowhere) Close([]core.SessionRef, core.LastFrame) {}

// lockedBuffer is a log that tests may read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	// Guarded by mu.
	b bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRig(tb testing.TB, edit ...func(*Options)) *rig {
	tb.Helper()
	return newRigOn(tb, func(*core.Core) core.Sink { return nowhere{} }, edit...)
}

// newRigOn is newRig with a sink for the core.
func newRigOn(tb testing.TB, sink func(*core.Core) core.Sink, edit ...func(*Options)) *rig {
	tb.Helper()
	store, err := storage.Open(storage.Options{
		Dir: "data", FS: vfs.NewMem(), CacheBytes: 8 << 20, Logger: slog.New(slog.DiscardHandler),
		OnFatal: func(err error) { tb.Errorf("store: %v", err) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	c, err := core.New(core.Options{
		Store: store, Secret: "openIM123", Secrets: []string{"tuoyun"}, KeyV2: "open_im_server",
		Admins: []string{testAdmin, "openIM123456"}, Policy: core.PolicySamePlatform,
	})
	if err != nil {
		tb.Fatal(err)
	}
	c.Start(sink(c))
	r := &rig{TB: tb, core: c, log: new(lockedBuffer), http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	o := Options{Core: c, Logger: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if _, bench := tb.(*testing.B); bench {
		o.Logger = nil
	}
	for _, f := range edit {
		f(&o)
	}
	if r.api, err = New(o); err != nil {
		tb.Fatal(err)
	}
	if err := r.api.Listen("127.0.0.1:0", core.DialectV3); err != nil {
		tb.Fatal(err)
	}
	r.url = "http://" + r.api.Addr(core.DialectV3)
	tb.Cleanup(func() {
		r.http.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.api.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
		c.Close()
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	var data struct{ Token string }
	r.must("/auth/get_admin_token", "", obj{"secret": "openIM123", "userID": testAdmin}, &data)
	r.admin = data.Token
	return r
}

type obj map[string]any

// answer is a response as a client sees it.
type answer struct {
	Status  int
	Header  http.Header
	Body    string
	ErrCode int
	ErrMsg  string
	ErrDlt  string
	Data    json.RawMessage
}

// send makes one request exactly as given; header lines are "name: value".
func (r *rig) send(method, path, body string, header ...string) *answer {
	r.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	a := &answer{Status: resp.StatusCode, Header: resp.Header, Body: string(b)}
	if strings.HasPrefix(a.Body, "{") {
		if err := json.Unmarshal(b, a); err != nil {
			r.Fatalf("%s: %v: %s", path, err, b)
		}
	}
	return a
}

// call posts body (a string as it is, anything else as JSON) with an operationID.
func (r *rig) call(path, token string, body any) *answer {
	r.Helper()
	text, raw := body.(string)
	if !raw {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(body); err != nil {
			r.Fatal(err)
		}
		text = b.String()
	}
	header := []string{"operationID: op-" + r.Name()}
	if token != "" {
		header = append(header, "token: "+token)
	}
	return r.send(http.MethodPost, path, text, header...)
}

// must is call for a request that has to succeed; out may be nil.
func (r *rig) must(path, token string, body, out any) *answer {
	r.Helper()
	a := r.call(path, token, body)
	if a.ErrCode != 0 || a.Status != http.StatusOK {
		r.Fatalf("%s: %d %s", path, a.Status, a.Body)
	}
	if out != nil {
		if err := json.Unmarshal(a.Data, out); err != nil {
			r.Fatalf("%s: %v: %s", path, err, a.Body)
		}
	}
	return a
}

// refused is call for a request that has to fail with code and a detail that
// contains text.
func (r *rig) refused(path, token string, body any, code int, text string) {
	r.Helper()
	a := r.call(path, token, body)
	if a.Status != http.StatusOK || a.ErrCode != code || !strings.Contains(a.ErrDlt, text) || a.Data != nil {
		r.Errorf("%s %v: %d %s; want errCode %d, %q", path, body, a.Status, a.Body, code, text)
	}
}

// user registers a user and returns a token of his.
func (r *rig) user(id string) string {
	r.Helper()
	r.must("/user/user_register", r.admin, obj{"users": []obj{{"userID": id, "nickname": "nick " + id}}}, nil)
	return r.token(id)
}

func (r *rig) token(id string) string {
	r.Helper()
	var data struct{ Token string }
	r.must("/auth/get_user_token", r.admin, obj{"userID": id, "platformID": 1}, &data)
	return data.Token
}

func textTo(to, s string) obj {
	return obj{"sendID": testAdmin, "recvID": to, "contentType": 101, "sessionType": 1, "content": obj{"content": s}}
}
