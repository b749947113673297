package api

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gannet/core"
	"gannet/internal/im"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

// The table of routes is the list of what is supported.
func TestRoutes(t *testing.T) {
	var b strings.Builder
	table := routes(new(core.Core))
	for _, path := range slices.Sorted(maps.Keys(table)) {
		b.WriteString(path)
		if p := table[path]; p.v3 != nil {
			fmt.Fprintf(&b, "  v3: %s", p.v3.access)
		}
		if p := table[path]; p.v2 != nil {
			fmt.Fprintf(&b, "  v2: %s", p.v2.who)
		}
		b.WriteByte('\n')
	}
	const file = "testdata/routes.txt"
	if *rewrite {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("routes changed; look at the difference of %s after go test ./api -run TestRoutes -rewrite", file)
	}
}

func TestFailures(t *testing.T) {
	r := newRig(t)
	u := r.user("u1")
	op, admin := "operationID: o", "token: "+r.admin
	for _, tc := range []struct {
		name, method, path, body string
		header                   []string
		status, code             int
		msg, dlt                 string
	}{
		{"no operationID", "POST", "/user/get_users_info", `{"userIDs":[]}`, []string{admin}, 200, 1001, "ArgsError", "operationID"},
		{"no operationID, unknown path", "POST", "/no/such", `{}`, []string{admin}, 200, 1001, "ArgsError", "operationID"},
		{"no token", "POST", "/user/get_users_info", `{"userIDs":[]}`, []string{op}, 200, 1001, "ArgsError", "token"},
		{"no token, unknown path", "POST", "/no/such", `{}`, []string{op}, 200, 1001, "ArgsError", "token"},
		{"no token for get_user_token", "POST", "/auth/get_user_token", `{}`, []string{op}, 200, 1001, "ArgsError", "token"},
		{"malformed token", "POST", "/user/get_users_info", `{`, []string{op, "token: x"}, 200, 1503, "TokenMalformedError", ""},
		{"bad signature", "POST", "/user/get_users_info", `{`, []string{op, admin + "x"}, 200, 1505, "TokenUnknownError", ""},
		{"empty body", "POST", "/user/get_users_info", ``, []string{op, admin}, 200, 1001, "ArgsError", "EOF"},
		{"blank body", "POST", "/user/get_users_info", " \n", []string{op, admin}, 200, 1001, "ArgsError", "EOF"},
		{"no JSON", "POST", "/user/get_users_info", `userIDs=1`, []string{op, admin}, 200, 1001, "ArgsError", "invalid character"},
		{"cut JSON", "POST", "/user/get_users_info", `{"userIDs":[`, []string{op, admin}, 200, 1001, "ArgsError", "unexpected end"},
		{"trailing bytes", "POST", "/user/get_users_info", `{"userIDs":[]}}`, []string{op, admin}, 200, 1001, "ArgsError", "invalid character"},
		{"array", "POST", "/user/get_users_info", `[]`, []string{op, admin}, 200, 1001, "ArgsError", "cannot unmarshal"},
		{"wrong type", "POST", "/user/get_users_info", `{"userIDs":"u1"}`, []string{op, admin}, 200, 1001, "ArgsError", "cannot unmarshal"},
		{"too large a number", "POST", "/user/get_users", `{"pagination":{"pageNumber":5000000000}}`, []string{op, admin}, 200, 1001, "ArgsError", "cannot unmarshal"},
		{"null for a required list", "POST", "/user/get_users_info", `{"userIDs":null}`, []string{op, admin}, 200, 1001, "ArgsError", "UserIDs is empty"},
		{"null body", "POST", "/user/get_users_info", `null`, []string{op, admin}, 200, 1001, "ArgsError", "UserIDs is empty"},
		{"field check", "POST", "/user/get_users", `{"pagination":{"pageNumber":0,"showNumber":1}}`, []string{op, admin}, 200, 1001, "ArgsError", "pageNumber is invalid"},
		{"nested without end", "POST", "/user/get_users_info", `{"x":` + strings.Repeat("[", 100_000), []string{op, admin}, 200, 1001, "ArgsError", ""},
		{"administrators only", "POST", "/user/get_all_users_uid", `{"pagination":{"pageNumber":1,"showNumber":1}}`, []string{op, "token: " + u}, 200, 1002, "NoPermissionError", "user u1 is not admin userID"},
		{"somebody else's", "POST", "/conversation/get_all_conversations", `{"ownerUserID":"imAdmin"}`, []string{op, "token: " + u}, 200, 1002, "NoPermissionError", ""},
		{"unknown path", "POST", "/no/such", `{}`, []string{op, admin}, 404, 0, "", ""},
		{"GET", "GET", "/user/get_users_info", ``, []string{op, admin}, 404, 0, "", ""},
		{"PUT", "PUT", "/user/get_users_info", `{}`, []string{op, admin}, 404, 0, "", ""},
	} {
		a := r.send(tc.method, tc.path, tc.body, tc.header...)
		if a.Status != tc.status || a.ErrCode != tc.code || a.ErrMsg != tc.msg || !strings.Contains(a.ErrDlt, tc.dlt) || a.Data != nil {
			t.Errorf("%s: %d %s", tc.name, a.Status, a.Body)
		}
		if a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: no CORS header", tc.name)
		}
		if a.Status == 404 && (a.Body != "404 page not found" || a.Header.Get("Content-Type") != "text/plain") {
			t.Errorf("%s: %q, %s", tc.name, a.Body, a.Header)
		}
		if tc.code >= 1501 && tc.code <= 1507 != strings.Contains(tc.name, "token") && tc.name != "bad signature" {
			t.Errorf("%s logs the client out", tc.name)
		}
	}
	if st := r.api.Stats(); st.Requests == 0 || st.Failed == 0 || st.Panics != 0 || st.Conns == 0 {
		t.Errorf("%+v", st)
	}
}

// A valid token of a user may be refused, but never as a token, on every route.
func TestUserTokenOnEveryRoute(t *testing.T) {
	r := newRig(t)
	u := r.user("u1")
	for path, rt := range r.api.routes {
		if rt.v3 == nil {
			continue
		}
		a := r.call(path, u, `{}`)
		if a.Status != 200 || a.ErrCode >= 1501 && a.ErrCode <= 1507 || a.ErrCode == 500 {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
		if rt.v3.access != accessToken {
			continue
		}
		if a := r.call(path, "", `{}`); a.ErrCode != 1001 || !strings.Contains(a.ErrDlt, "token") {
			t.Errorf("%s without token: %s", path, a.Body)
		}
		if a := r.call(path, "x.y.z", `{}`); a.ErrCode < 1501 || a.ErrCode > 1507 {
			t.Errorf("%s with a bad token: %s", path, a.Body)
		}
	}
}

func TestEnvelope(t *testing.T) {
	r := newRig(t)
	if a := r.must("/user/user_register", r.admin, obj{"users": []obj{{"userID": "u1", "nickname": "a<b>&"}}}, nil); a.Body != `{"errCode":0,"errMsg":"","errDlt":""}` {
		t.Error(a.Body)
	}
	a := r.must("/user/get_users_info", r.admin, `{"USERIDS":["u1"],"unknown":{"a":[1,null]}}`, nil)
	if !strings.HasPrefix(a.Body, `{"errCode":0,"errMsg":"","errDlt":"","data":{"usersInfo":[{"userID":"u1","nickname":"a<b>&","faceURL":"","ex":"","createTime":`) {
		t.Error(a.Body)
	}
	if ct := a.Header.Get("Content-Type"); ct != "application/json" {
		t.Error(ct)
	}
	for _, h := range []string{"Server", "Date", "Content-Encoding"} {
		if v := a.Header.Get(h); v != "" {
			t.Errorf("%s: %s", h, v)
		}
	}
	// Lists and maps that are nil in Go.
	for path, want := range map[string]string{
		"/user/get_users_info":                      `{"usersInfo":[]}`,
		"/friend/get_friend_list":                   `{"friendsInfo":[],"total":0}`,
		"/friend/get_friend_apply_list":             `{"FriendRequests":[],"total":0}`,
		"/user/process_user_command_get_all":        `{"CommandResp":[]}`,
		"/conversation/get_all_conversations":       `{"conversations":[]}`,
		"/group/get_recv_group_applicationList":     `{"total":0,"groupRequests":[]}`,
		"/conversation/get_pinned_conversation_ids": `{"conversationIDs":[]}`,
	} {
		a := r.must(path, r.admin, obj{
			"userIDs": []string{}, "userID": "u1", "ownerUserID": "u1", "fromUserID": "u1",
			"pagination": obj{"pageNumber": 1, "showNumber": 10},
		}, nil)
		if string(a.Data) != want {
			t.Errorf("%s: %s, want %s", path, a.Data, want)
		}
	}
	// A path behind a proxy's prefix.
	r.must("/api/msg/get_server_time", r.admin, `{}`, nil)
}

func TestCORSAndOptions(t *testing.T) {
	r := newRig(t)
	a := r.send("OPTIONS", "/any/thing", "", "Access-Control-Request-Headers: token,operationID")
	if a.Status != 200 || a.Body != `"Options Request!"` {
		t.Errorf("%d %q", a.Status, a.Body)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "*", "Access-Control-Allow-Headers": "*",
		"Access-Control-Max-Age": "172800", "Access-Control-Allow-Credentials": "false",
		"Access-Control-Expose-Headers": "Content-Length, Access-Control-Allow-Origin, Access-Control-Allow-Headers, Cache-Control, Content-Language, Content-Type, Expires, Last-Modified, Pragma, FooBar",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestGzip(t *testing.T) {
	r := newRig(t)
	var rows []obj
	for i := range 50 {
		rows = append(rows, obj{"userID": fmt.Sprintf("u%d", i), "nickname": "n"})
	}
	r.must("/user/user_register", r.admin, obj{"users": rows}, nil)
	plain := &http.Transport{DisableCompression: true}
	defer plain.CloseIdleConnections()
	body := `{"pagination":{"pageNumber":1,"showNumber":100}}`
	zipped := r.call("/user/get_users", r.admin, body) // net/http asks for gzip and inflates
	if zipped.Header.Get("Content-Encoding") != "" || zipped.ErrCode != 0 {
		t.Error(zipped.Header)
	}
	r.http = &http.Client{Transport: plain}
	op, token := "operationID: o", "token: "+r.admin
	if a := r.send("POST", "/user/get_users", body, op, token); a.Body != zipped.Body {
		t.Error("gzip changed the answer")
	}
	a := r.send("POST", "/user/get_users", body, op, token, "Accept-Encoding: gzip")
	if a.Header.Get("Content-Encoding") != "gzip" || len(a.Body)*2 > len(zipped.Body) {
		t.Errorf("%s, %d of %d bytes", a.Header, len(a.Body), len(zipped.Body))
	}
	if a := r.send("POST", "/msg/get_server_time", "{}", op, token, "Accept-Encoding: gzip"); a.Header.Get("Content-Encoding") != "" {
		t.Error("a small answer was compressed")
	}
}

// raw sends bytes over a connection of their own and reads the answer.
func (r *rig) raw(request string) (status int, body string) {
	r.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		r.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.Fatalf("%.60q: %v", request, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		r.Errorf("%.60q: no CORS header", request)
	}
	return resp.StatusCode, string(b)
}

func TestLimits(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.BodyBytes, o.AnonBytes, o.HeaderBytes, o.ReadTimeout = 64<<10, 8<<10, 4<<10, 200*time.Millisecond
	})
	const head = "POST /user/get_users_info HTTP/1.1\r\nHost: x\r\noperationID: o\r\n"
	for _, tc := range []struct {
		name, request string
		status        int
		dlt           string
	}{
		{"body over the limit", head + "token: " + r.admin + "\r\nContent-Length: 65537\r\n\r\n", 413, "the body is too large"},
		{"without a token", head + "Content-Length: 8193\r\n\r\n", 413, "the body is too large"},
		{"with a bad token", head + "token: x\r\nContent-Length: 8193\r\n\r\n", 413, "the body is too large"},
		{"chunked without a token", head + "Transfer-Encoding: chunked\r\n\r\n2800\r\n" + strings.Repeat("x", 0x2800) + "\r\n0\r\n\r\n", 413, "the body is too large"},
		{"header over the limit", head + "x: " + strings.Repeat("x", 5000) + "\r\n\r\n", 431, "the header is too large"},
		{"no HTTP", "hello\r\n\r\n", 400, "cannot be read"},
		{"a body that does not come", head + "Content-Length: 100\r\n\r\n{", 408, "too long"},
	} {
		status, body := r.raw(tc.request)
		if status != tc.status || !strings.Contains(body, `"errCode":1001,"errMsg":"ArgsError"`) || !strings.Contains(body, tc.dlt) {
			t.Errorf("%s: %d %s", tc.name, status, body)
		}
	}
	long := `{"userIDs":[],"x":"` + strings.Repeat("x", 40<<10) + `"}`
	r.must("/user/get_users_info", r.admin, long, nil)
}

func TestConnectionLimit(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Conns = 2 })
	r.http.CloseIdleConnections()
	var held []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", r.api.Addr(core.DialectV3))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	// Of more than Conns connections at least one is refused.
	deadline := time.Now().Add(10 * time.Second)
	for r.api.Stats().Refused == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no connection refused")
		}
		conn, err := net.Dial("tcp", r.api.Addr(core.DialectV3))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		io.ReadAll(conn)
		conn.Close()
	}
	for _, conn := range held {
		conn.Close()
	}
}

func TestPanicAndInternalError(t *testing.T) {
	r := newRig(t)
	r.api.routes["/test/panic"] = path{v3: &route{accessNone, func(core.Caller, []byte) (any, error) { panic("boom") }}}
	r.api.routes["/test/fail"] = path{v3: &route{accessNone, func(core.Caller, []byte) (any, error) {
		return nil, fmt.Errorf("disk 7 of %w", errors.New("the cellar"))
	}}}
	r.api.routes["/test/wrapped"] = path{v3: &route{accessNone, func(core.Caller, []byte) (any, error) {
		return nil, fmt.Errorf("in the cellar: %w", im.ErrRecordNotFound.With("no such jar"))
	}}}
	r.api.routes["/test/encode"] = path{v3: &route{accessNone, func(core.Caller, []byte) (any, error) { return func() {}, nil }}}
	const internal = `{"errCode":500,"errMsg":"ServerInternalError","errDlt":""}`
	for _, path := range []string{"/test/panic", "/test/fail", "/test/encode"} {
		if a := r.call(path, "", `{}`); a.Status != 200 || a.Body != internal {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	r.refused("/test/wrapped", "", `{}`, 1004, "no such jar")
	for _, want := range []string{"panic: boom", "server_test.go", "disk 7 of the cellar", "operationID=op-" + t.Name()} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if r.api.Stats().Panics != 1 {
		t.Error(r.api.Stats())
	}
	r.must("/msg/get_server_time", r.admin, `{}`, nil)
}

// No token and no secret gets into the log, whatever becomes of the call.
func TestLogHoldsNoSecret(t *testing.T) {
	r := newRig(t)
	u := r.user("u1")
	r.must("/auth/parse_token", "", obj{"token": u}, nil)
	r.call("/auth/parse_token", "", `{"token":"`+u+`",`)
	r.call("/auth/parse_token", "", `{"token":`+strings.ReplaceAll(u, ".", "")+`}`)
	r.call("/auth/parse_token", "", `{"token":["`+u+`"]}`)
	r.call("/auth/user_token", "", obj{"secret": "a wrong secret", "userID": "u1", "platformID": 1})
	r.call("/user/get_users_info", u+"x", `{}`)
	for _, secret := range []string{u, u[:40], r.admin, "openIM123 ", "a wrong secret"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the log holds %.12q…", secret)
		}
	}
	for _, want := range []string{"operationID=op-" + t.Name(), "path=/auth/parse_token", "code=1001", "took="} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// Shutdown waits for requests in flight and takes no new ones.
func TestShutdown(t *testing.T) {
	r := newRig(t)
	entered, release := make(chan struct{}), make(chan struct{})
	r.api.routes["/test/slow"] = path{v3: &route{accessNone, func(core.Caller, []byte) (any, error) {
		close(entered)
		<-release
		return nil, nil
	}}}
	answered := make(chan *answer, 1)
	go func() { answered <- r.call("/test/slow", "", `{}`) }()
	<-entered
	down := make(chan error, 1)
	go func() { down <- r.api.Shutdown(context.Background()) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", r.api.Addr(core.DialectV3))
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("still accepting")
		}
	}
	if st := r.api.Stats(); st.Conns == 0 { // counters can be read while draining
		t.Errorf("%+v", st)
	}
	select {
	case err := <-down:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	close(release)
	if a := <-answered; a.ErrCode != 0 || a.Status != 200 {
		t.Errorf("request in flight: %d %s", a.Status, a.Body)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// Shutdown gives up when its context ends, and says so.
func TestShutdownTimeout(t *testing.T) {
	r := newRig(t)
	entered, release := make(chan struct{}), make(chan struct{})
	r.api.routes["/test/slow"] = path{v3: &route{accessNone, func(core.Caller, []byte) (any, error) {
		close(entered)
		<-release
		return nil, nil
	}}}
	answered := make(chan *answer, 1)
	go func() { answered <- r.call("/test/slow", "", `{}`) }()
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.api.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with a request in flight: %v", err)
	}
	close(release)
	<-answered
}

// Two listeners serve together.
func TestTwoListeners(t *testing.T) {
	r := newRig(t)
	if err := r.api.Listen("127.0.0.1:0", core.DialectV2); err != nil {
		t.Fatal(err)
	}
	if r.api.Addr(core.DialectV2) == r.api.Addr(core.DialectV3) {
		t.Fatal("one address")
	}
	r.url = "http://" + r.api.Addr(core.DialectV2)
	r.must("/msg/get_server_time", r.admin, `{}`, nil)
	if err := r.api.Listen(r.api.Addr(core.DialectV2), core.DialectV2); err == nil {
		t.Error("an address in use was taken")
	}
}
