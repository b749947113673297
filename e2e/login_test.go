package e2e

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// Calls that an SDK makes only for a full sync.
var fullSyncCalls = []string{
	"/friend/get_friend_list", "/friend/get_full_friend_user_ids",
	"/group/get_joined_group_list", "/group/get_full_join_group_ids",
	"/conversation/get_owner_conversation", "/conversation/get_all_conversations", "/conversation/get_full_conversation_ids",
}

// Acceptance 1: a new user's first login is over soon and leaves nothing running.
// It measures, so it runs before the parallel tests.
func TestFirstLogin(t *testing.T) {
	e := shared(t)
	counter := e.apiCounter()
	d := e.device(e.user("new"), android)
	d.api = counter.addr
	d.login()

	start, finish := d.all(onSyncStart), d.all(onSyncFinish)
	if len(start) != 1 || start[0].arg != "true" || len(finish) != 1 || finish[0].arg != "true" {
		t.Fatalf("sync callbacks: %v %v", start, finish)
	}
	if took := finish[0].at.Sub(start[0].at); took > 3*time.Second {
		t.Errorf("sync took %v", took)
	}
	// These two follow the end of the sync.
	e.eventually("own profile and black list asked for", func() bool {
		calls := counter.snapshot()
		return calls["/user/get_users_info"] > 0 && calls["/friend/get_black_list"] > 0
	})
	settled(2*time.Second, counter.total)
	for path, n := range counter.snapshot() {
		if n > 1 {
			t.Errorf("%s called %d times", path, n)
		}
	}
	if n := d.count(onConnecting); n != 1 || d.count(onSyncFailed, onConnectFailed, onTokenInvalid, onKicked) != 0 {
		t.Errorf("connected %d times, or a failure: %v", n, d.all(onSyncFailed, onConnectFailed, onTokenInvalid, onKicked))
	}
	if self, err := d.sdk.User().GetSelfUserInfo(d.ctx()); err != nil || self.Nickname != "nick "+d.user {
		t.Errorf("own profile: %v %v", self, err)
	}
}

// Acceptance 2: a login on an existing database syncs only what changed.
func TestSecondLogin(t *testing.T) {
	t.Parallel()
	e := shared(t)
	peer := e.user("peer")
	d := e.device(e.user("again"), iOS).login()
	m := d.send(peer, "before")
	e.eventually("own row has its seq", func() bool { return d.local(single(d.user, peer), m.ClientMsgID).Seq == 1 })
	d.logout()
	from := e.raw(peer, android, envelopes[0])
	e.sendText(from, d.user, "while away")

	counter := e.apiCounter()
	d.api = counter.addr
	d.login()
	start, finish := d.all(onSyncStart), d.all(onSyncFinish)
	if start[1].arg != "false" || finish[1].arg != "false" {
		t.Errorf("second login says it is the first: %v %v", start, finish)
	}
	e.eventually("incremental syncs made", func() bool {
		calls := counter.snapshot()
		return calls["/friend/get_incremental_friends"] > 0 && calls["/group/get_incremental_join_groups"] > 0 &&
			calls["/conversation/get_incremental_conversations"] > 0 && calls["/friend/get_black_list"] > 0
	})
	settled(time.Second, counter.total)
	for _, path := range fullSyncCalls {
		if n := counter.snapshot()[path]; n != 0 {
			t.Errorf("full sync: %s called %d times", path, n)
		}
	}
	if got := texts(d.scroll(single(d.user, peer), 20)); !slices.Equal(got, []string{"before", "while away"}) {
		t.Errorf("history %q", got)
	}
}

// badTokens makes tokens that a handshake refuses, with the codes it may give.
func badTokens(e *env, user string, platform int32) map[string]struct {
	token string
	codes []int
} {
	now := time.Now().Unix()
	claims := func(exp, iat int64) obj {
		return obj{"UserID": user, "PlatformID": platform, "exp": exp, "iat": iat}
	}
	type bad = struct {
		token string
		codes []int
	}
	return map[string]bad{
		"no JWT":             {"abc", []int{codeTokenMalformed}},
		"expired":            {jwt("HS256", adminSecret, claims(now-3600, now-7200)), []int{1501}},
		"from the future":    {jwt("HS256", adminSecret, with(claims(now+7200, now), "nbf", now+3600)), []int{1504, codeTokenUnknown}},
		"another's key":      {jwt("HS256", "other", claims(now+3600, now)), []int{codeTokenUnknown}},
		"no signature":       {jwt("none", "", claims(now+3600, now)), []int{codeTokenUnknown, codeTokenMalformed, codeTokenInvalid}},
		"never issued":       {jwt("HS256", adminSecret, claims(now+3600, now)), []int{codeTokenNotExist}},
		"another user's":     {e.token(e.user("other"), platform), []int{codeTokenInvalid}},
		"another platform's": {e.token(user, web), []int{codeTokenInvalid}},
	}
}

// Acceptance 3: a refused handshake says why, in both forms, and ends there.
func TestRefusedHandshake(t *testing.T) {
	t.Parallel()
	e := shared(t)
	user := e.user("bad")
	for name, bad := range badTokens(e, user, android) {
		for _, v := range []envelope{envelopes[0], envelopes[3]} {
			q := v.query(user, android, bad.token)
			_, err := dial(e.srv.ws, user, android, v, q)
			refused, ok := err.(*handshakeError)
			if !ok || !slices.Contains(bad.codes, refused.code) || refused.size >= 1024 {
				t.Errorf("%s, %s: %v, want one of %v in a short body", name, v.name, err, bad.codes)
			}
			q.Set("isMsgResp", "true")
			if code := firstFrame(e, user, v, q); !slices.Contains(bad.codes, code) {
				t.Errorf("%s, %s: first frame has code %d, want one of %v", name, v.name, code, bad.codes)
			}
		}
	}
	for _, missing := range []string{"sendID", "token", "platformID"} {
		q := envelopes[0].query(user, android, "x")
		q.Del(missing)
		if _, err := dial(e.srv.ws, user, android, envelopes[0], q); err == nil || err.(*handshakeError).code != 1602 {
			t.Errorf("without %s: %v", missing, err)
		}
		q.Set("isMsgResp", "true")
		if code := firstFrame(e, user, envelopes[0], q); code != 1602 {
			t.Errorf("without %s: first frame has code %d", missing, code)
		}
	}
	q := envelopes[0].query(user, android, e.token(user, android))
	q.Set("isMsgResp", "true")
	if code := firstFrame(e, user, envelopes[0], q); code != 0 {
		t.Errorf("good token: first frame has code %d", code)
	}
}

// firstFrame connects with isMsgResp and returns the code of the text frame that
// has to come first; after a failure the server has to close.
func firstFrame(e *env, user string, v envelope, q map[string][]string) int {
	e.Helper()
	r, err := dial(e.srv.ws, user, android, v, q)
	if err != nil {
		e.Fatalf("with isMsgResp: %v", err)
	}
	defer r.close()
	_ = r.conn.SetReadDeadline(time.Now().Add(within))
	kind, b, err := r.conn.ReadMessage()
	var answer struct{ ErrCode *int }
	if err != nil || kind != websocket.TextMessage || json.Unmarshal(b, &answer) != nil || answer.ErrCode == nil {
		e.Fatalf("with isMsgResp: first frame %d %q %v", kind, b, err)
	}
	if *answer.ErrCode != 0 {
		if _, b, err := r.conn.ReadMessage(); err == nil {
			e.Fatalf("after a refusal: another frame %q", b)
		}
	}
	return *answer.ErrCode
}

// Acceptance 3, the SDK's side: told once, no retry.
func TestBadTokenInSDK(t *testing.T) {
	t.Parallel()
	e := shared(t)
	user := e.user("bad")
	told := map[string]string{"no JWT": onTokenInvalid, "never issued": onTokenInvalid, "expired": onTokenExpired}
	bad := badTokens(e, user, android)
	devices := map[string]*device{}
	for name := range told {
		devices[name] = e.device(user, android)
		devices[name].begin(bad[name].token)
	}
	for name, callback := range told {
		d := devices[name]
		e.eventually(name+": told", func() bool { return d.count(callback) > 0 })
	}
	// The first retry would come after 1 s, the second after 2 s more.
	settled(4*time.Second, func() int {
		n := 0
		for _, d := range devices {
			n += d.count(onConnecting)
		}
		return n
	})
	for name, callback := range told {
		d := devices[name]
		if d.count(onConnecting) != 1 || d.count(callback) != 1 || d.count(onTokenInvalid, onTokenExpired, onKicked) != 1 {
			t.Errorf("%s: %d connects, told %v", name, d.count(onConnecting), d.all(onTokenInvalid, onTokenExpired, onKicked))
		}
	}
}

// Acceptance 14: under the default policy a login ends the one of the same
// platform, and no other.
func TestSamePlatformKicks(t *testing.T) {
	t.Parallel()
	e := shared(t)
	user := e.user("twice")
	first, other := e.device(user, android).login(), e.device(user, windows).login()
	second := e.device(user, android).login()
	e.eventually("first device kicked", func() bool { return first.count(onKicked) > 0 })
	e.refused("/user/get_users_info", first.token, obj{"userIDs": []string{user}}, codeTokenKicked)

	settled(2*time.Second, func() int { return first.count(onConnecting, onKicked) })
	if first.count(onKicked) != 1 || first.count(onConnecting) != 1 {
		t.Errorf("first device: kicked %d times, connected %d times", first.count(onKicked), first.count(onConnecting))
	}
	if n := other.count(onKicked) + second.count(onKicked); n != 0 {
		t.Errorf("%d other devices kicked", n)
	}
	// The kicked token cannot come back.
	back := e.device(user, android)
	back.begin(first.token)
	e.eventually("old token refused", func() bool { return back.count(onKicked) > 0 })
	e.must("/user/get_users_info", second.token, obj{"userIDs": []string{user}}, nil)
	e.must("/user/get_users_info", other.token, obj{"userIDs": []string{user}}, nil)
}

// Acceptance 14 in every envelope: the frame 2002 leaves before the connection
// ends; connections of one token live side by side.
func TestKickFrame(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		user := e.user("kicked")
		token := e.token(user, web)
		tabs := []*raw{e.rawToken(user, web, v, token), e.rawToken(user, web, v, token)}
		elsewhere := e.raw(user, iOS, v)
		for _, tab := range tabs {
			if code, err := tab.do(reqNewestSeq, newestOf(user), nil); code != 0 || err != nil {
				e.Fatalf("one of two connections of a token: %d %v", code, err)
			}
		}
		e.must("/auth/force_logout", e.admin, obj{"userID": user, "platformID": web}, nil)
		for _, tab := range tabs {
			e.closeCode(tab)
			tab.mu.Lock()
			kicks := tab.kicks
			tab.mu.Unlock()
			if kicks != 1 {
				e.Errorf("%d frames 2002 before the end", kicks)
			}
		}
		e.refused("/user/get_users_info", token, obj{"userIDs": []string{user}}, codeTokenKicked)
		if _, err := dial(e.srv.ws, user, web, v, v.query(user, web, token)); err == nil || err.(*handshakeError).code != codeTokenKicked {
			e.Errorf("handshake with a kicked token: %v", err)
		}
		e.ask(elsewhere, reqNewestSeq, newestOf(user), nil)
	})
}

// Acceptance 13, the part about tokens: the API's codes for them, which the SDK
// takes for a log-out, come for tokens only.
func TestTokenCodes(t *testing.T) {
	t.Parallel()
	e := shared(t)
	user, other := e.user("some"), e.user("someone")
	ask := obj{"userIDs": []string{user}}
	for name, bad := range badTokens(e, user, android) {
		if strings.HasPrefix(name, "another ") {
			continue // good tokens, only not for that handshake
		}
		e.refused("/user/get_users_info", bad.token, ask, bad.codes...)
	}
	e.refused("/user/get_users_info", "", ask, codeArgs)

	token := e.token(user, android)
	e.must("/user/get_users_info", token, ask, nil)
	var parsed struct {
		UserID     string
		PlatformID int32
	}
	e.must("/auth/parse_token", "", obj{"token": token}, &parsed)
	if parsed.UserID != user || parsed.PlatformID != android {
		t.Errorf("parse_token: %+v", parsed)
	}
	e.refused("/user/user_register", token, obj{"users": []obj{{"userID": user + "x", "nickname": "x"}}}, codeNoPermission)
	e.refused("/auth/get_user_token", token, obj{"userID": other, "platformID": android}, codeNoPermission)
	e.refused("/conversation/get_incremental_conversations", token, obj{"userID": other}, codeNoPermission)
	e.refused("/msg/newest_seq", token, obj{"userID": other}, codeNoPermission)
	e.must("/user/get_users_info", token, ask, nil)

	e.token(user, android)
	e.refused("/user/get_users_info", token, ask, codeTokenKicked)
}

func with(o obj, key string, value any) obj {
	o = maps.Clone(o)
	o[key] = value
	return o
}
