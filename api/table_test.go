package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// line is one rule of the contract: a call and what it answers.
//
// call is "dialect[@port] path [token]": v2 adds an operationID to the body, v3 to
// the header, raw adds nothing; without a port the dialect's own is called. want
// is "status errCode" and texts that the answer has, or lacks after a "!",
// separated by " | ".
type line struct{ rule, call, body, want string }

// listOf is a JSON list of n IDs.
func listOf(n int) string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf(`"x%d"`, i)
	}
	return "[" + strings.Join(ids, ",") + "]"
}

// forged signs claims as the server would with key.
func forged(key, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc([]byte(claims))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + enc(mac.Sum(nil))
}

// The sample tokens of the documents: valid signatures, expired long ago.
const (
	sampleAdmin = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJVSUQiOiJvcGVuSU0xMjM0NTYiLCJQbGF0Zm9ybSI6IklPUyIsImV4cCI6MTY0NjI5Mzk5NCwibmJmIjoxNjQ1Njg5MTk0LCJpYXQiOjE2NDU2ODkxOTR9.cHEgLEHyzC1bmHoPjz7chYqIanfodeLT6LmQhPDeGPA"
	sampleUser  = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJVSUQiOiJvcGVuSU0xMTExIiwiUGxhdGZvcm0iOiJJT1MiLCJleHAiOjE2NDYyODAxMDQsIm5iZiI6MTY0NTY3NTMwNCwiaWF0IjoxNjQ1Njc1MzA0fQ.xhqmRBC3XpMwMQL2i3sRh6JArRZg1PFjFjRl9N1Kc9o"
	sampleV3    = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJVc2VySUQiOiIxMTExMTExMiIsIlBsYXRmb3JtSUQiOjEsImV4cCI6MTcwNjU5NTM0MCwibmJmIjoxNjk4ODE5MDQwLCJpYXQiOjE2OTg4MTkzNDB9.YOeKRSwvTF0_yRNB3XwOCIYaTC-swVzxRjnHidUo4xw"
)

// table is the server of the rules with its users and tokens by name.
type table struct {
	*process
	tokens map[string]string
}

func newTable(t *testing.T) *table {
	b := &table{process: startProcess(t, t.TempDir())}
	b.register("alice", "bob", "carol", "dave", "erin", "frank", "gone", "kicked", "online")
	now := time.Now().Unix()
	claims := func(format string, nbf, exp int64) string { return fmt.Sprintf(format, exp, nbf, now) }
	const adminV2 = `{"UID":"openIM123456","Platform":"IOS","exp":%d,"nbf":%d,"iat":%d}`
	const adminV3 = `{"UserID":"openIM123456","PlatformID":1,"exp":%d,"nbf":%d,"iat":%d}`
	b.tokens = map[string]string{
		"admin": b.tokenOf("openIM123456", 1), "alice": b.tokenOf("alice", 1), "bob": b.tokenOf("bob", 1),
		"carol": b.tokenOf("carol", 2), "gone": b.tokenOf("gone", 1), "kicked": b.tokenOf("kicked", 1),
		"garbage": "no.token", "sampleAdmin": sampleAdmin, "sampleUser": sampleUser, "sampleV3": sampleV3,
		"future": forged("open_im_server", claims(adminV2, now+3600, now+7200)), "futureV3": forged("openIM123", claims(adminV3, now+3600, now+7200)),
		"wrongKey": forged("openIM123", claims(adminV2, now, now+3600)), "wrongKeyV3": forged("open_im_server", claims(adminV3, now, now+3600)),
		"ownKey":  forged("open_im_server", claims(adminV2, now, now+3600)),
		"unknown": forged("open_im_server", claims(`{"UID":"alice","Platform":"Web","exp":%d,"nbf":%d,"iat":%d}`, now, now+3600)),
		"badHead": strings.Replace(sampleAdmin, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", 1),
	}
	var v3 struct{ Token string }
	if b.v3("/auth/user_token", "", obj{"secret": "openIM123", "platformID": 1, "userID": "openIM123456"}, &v3) != 0 {
		t.Fatal("no v3 token")
	}
	b.tokens["adminV3"] = v3.Token
	if b.v3("/auth/user_token", "", obj{"secret": "tuoyun", "platformID": 2, "userID": "alice"}, &v3) != 0 {
		t.Fatal("no v3 token")
	}
	b.tokens["aliceV3"] = v3.Token
	if b.v3("/auth/force_logout", b.tokens["admin"], obj{"userID": "kicked", "platformID": 1}, nil) != 0 {
		t.Fatal("not logged out")
	}
	b.connect("online", 1)
	b.connect("online", 5)
	b.connect("online", 8)
	return b
}

// run makes the call of l and compares.
func (b *table) run(l line) {
	b.Helper()
	call := strings.Fields(l.call)
	dialect, port, other := strings.Cut(call[0], "@")
	var header []string
	body := l.body
	switch dialect {
	case "v2":
		body = `{"operationID":"op",` + strings.TrimPrefix(body, "{")
		body = strings.Replace(body, `,}`, `}`, 1)
	case "v3":
		header = append(header, "operationID: op")
	}
	if !other {
		port = map[string]string{"v2": "10000", "v3": "10002"}[dialect]
	}
	if len(call) > 2 {
		header = append(header, "token: "+b.tokens[call[2]])
	}
	status, answer, err := b.post(port, call[1], body, header...)
	if err != nil {
		b.Fatalf("%s: %v", l.rule, err)
	}
	parts := strings.Split(l.want, " | ")
	var wantStatus, wantCode int
	if _, err := fmt.Sscan(parts[0], &wantStatus, &wantCode); err != nil {
		b.Fatalf("%s: %v", l.rule, err)
	}
	ok := status == wantStatus && (strings.Contains(answer, fmt.Sprintf(`"errCode":%d,`, wantCode)))
	for _, text := range parts[1:] {
		lacks, not := strings.CutPrefix(text, "!")
		if strings.Contains(answer, lacks) == not {
			ok = false
		}
	}
	if !ok {
		b.Errorf("%s: %s %s\n got %d %s\nwant %s", l.rule, l.call, l.body, status, answer, l.want)
	}
	if len(call) > 2 && len(b.tokens[call[2]]) > 40 && strings.Contains(answer, b.tokens[call[2]]) {
		b.Errorf("%s: the answer shows the token", l.rule)
	}
}

// Every rule of the contract's §2 and §8, one line each, over sockets against a
// real server. The lines run in order: later ones see what earlier ones did.
func TestRules(t *testing.T) {
	b := newTable(t)
	n := 0
	for _, group := range [][]line{
		ruleDialects, ruleTokens, ruleRegister, ruleUsers, ruleGroups, ruleFriends, ruleMessages, ruleContents, ruleDeletion,
	} {
		for _, l := range group {
			b.run(l)
		}
		n += len(group)
	}
	t.Logf("%d rules", n)
}

// GET has no route; OPTIONS answers anywhere; every answer lets browsers in.
func TestMethodsAndCORS(t *testing.T) {
	p := startProcess(t, t.TempDir())
	for _, tc := range []struct {
		method, path string
		status       int
		body         string
	}{
		{http.MethodGet, "/auth/user_token", 404, "404 page not found"},
		{http.MethodPut, "/manager/send_msg", 404, "404 page not found"},
		{http.MethodOptions, "/manager/send_msg", 200, `"Options Request!"`},
		{http.MethodOptions, "/nowhere", 200, `"Options Request!"`},
		{http.MethodPost, "/manager/send_msg", 400, "EOF"},
		{http.MethodPost, "/user/get_users", 200, "1001"},
	} {
		for _, port := range []string{"10000", "10002"} {
			req, err := http.NewRequest(tc.method, "http://"+p.port(port)+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := p.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != tc.status || !strings.Contains(string(body), tc.body) {
				t.Errorf("%s %s: %d %s %v", tc.method, tc.path, resp.StatusCode, body, err)
			}
			for name, want := range map[string]string{
				"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "*", "Access-Control-Allow-Headers": "*",
				"Access-Control-Max-Age": "172800", "Access-Control-Allow-Credentials": "false",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s %s: %s: %q", tc.method, tc.path, name, got)
				}
			}
		}
	}
}

// Messages only between friends, where the server is configured so.
func TestNotFriends(t *testing.T) {
	b := &table{process: startProcess(t, t.TempDir(), "GANNET_FRIEND_VERIFY=true")}
	b.register("alice", "bob")
	b.tokens = map[string]string{"admin": b.tokenOf("openIM123456", 1)}
	for _, l := range []line{
		{"not friends", "v2 /manager/send_msg admin", `{"sendID":"alice","recvID":"bob","content":{"text":"x"},"contentType":101,"sessionType":1}`, `200 601 | not friend | "sendTime":0,"msgID":""`},
		{"administrators need no friend", "v2 /manager/send_msg admin", `{"sendID":"openIM123456","recvID":"bob","content":{"text":"x"},"contentType":101,"sessionType":1}`, `200 0`},
		{"become friends", "v2 /friend/import_friend admin", `{"fromUserID":"alice","friendUserIDList":["bob"]}`, `200 0 | "result":0`},
		{"friends", "v2 /manager/send_msg admin", `{"sendID":"alice","recvID":"bob","content":{"text":"x"},"contentType":101,"sessionType":1}`, `200 0`},
	} {
		b.run(l)
	}
}
