package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"gannet/core"
	"gannet/internal/im"
)

func TestUserRegister(t *testing.T) {
	r := newRig(t)
	u := r.user("u0")
	one := func(id string) []obj { return []obj{{"userID": id, "nickname": "n"}} }
	const path = "/user/user_register"
	// Who may, and in which order the checks come.
	r.must(path, r.admin, obj{"users": one("a1")}, nil)
	r.must(path, "", obj{"users": one("a2"), "secret": "openIM123"}, nil)
	r.must(path, "", obj{"users": one("a3"), "secret": "tuoyun"}, nil)
	r.must(path, "expired or nonsense", obj{"users": one("a4"), "secret": "openIM123"}, nil)
	r.must(path, r.admin, obj{"users": one("a5"), "secret": "wrong"}, nil)
	r.must(path, "", obj{"users": []obj{{"userID": "a6"}}, "secret": "openIM123"}, nil)
	r.refused(path, "", obj{"secret": "wrong"}, 1001, "Users is empty")
	r.refused(path, "", obj{"users": nil, "secret": "wrong"}, 1001, "Users is empty")
	r.refused(path, "", obj{"users": []obj{}, "secret": "wrong"}, 1001, "users is empty")
	r.refused(path, "", obj{"users": one("b"), "secret": "wrong"}, 1002, "secret invalid")
	r.refused(path, "", obj{"users": one("b")}, 1002, "secret invalid")
	r.refused(path, u, obj{"users": one("b"), "secret": "wrong"}, 1002, "secret invalid")
	r.refused(path, u, obj{"users": one("b")}, 1002, "user u0 is not admin userID")
	r.refused(path, "nonsense", obj{"users": one("b")}, 1503, "")
	r.refused(path, "nonsense", obj{"users": nil}, 1001, "Users is empty")
	r.refused(path, r.admin, obj{"users": append(one("b"), one("b")...)}, 1001, "userID repeated")
	r.refused(path, r.admin, obj{"users": one("")}, 1001, "userID is empty")
	r.refused(path, r.admin, obj{"users": one("b:c")}, 1001, "")
	r.refused(path, r.admin, `{"users":[null]}`, 1001, "null")
	r.refused(path, r.admin, obj{"users": append(one("c"), one("a1")...)}, 1102, "userID registered already")
	r.refused("/auth/get_user_token", r.admin, obj{"userID": "c", "platformID": 1}, 1004, "")
}

func TestTokens(t *testing.T) {
	r := newRig(t)
	first := r.user("u1")
	var got struct {
		Token             string
		ExpireTimeSeconds int64
		UserID            string
		PlatformID        int32
	}
	// The documents' way: by secret, without ending the token before.
	a := r.must("/auth/user_token", "", obj{"secret": "openIM123", "platformID": 1, "userID": "u1"}, &got)
	if got.ExpireTimeSeconds != 7776000 || strings.Contains(a.Body, `"userID"`) {
		t.Error(a.Body)
	}
	r.must("/auth/parse_token", "", obj{"token": first}, nil)
	r.must("/auth/parse_token", "", obj{"token": got.Token}, &got)
	if got.UserID != "u1" || got.PlatformID != 1 || got.ExpireTimeSeconds < 1_700_000_000 {
		t.Errorf("%+v", got)
	}
	r.must("/auth/user_token", "", obj{"secret": "openIM123", "platformID": 2, "userID": testAdmin}, nil)
	for _, tc := range []struct {
		body obj
		code int
		dlt  string
	}{
		{obj{"secret": "x", "platformID": 1}, 1001, "userID is empty"},
		{obj{"secret": "x", "userID": "u1"}, 1001, "platform is invalidate"},
		{obj{"secret": "x", "userID": "u1", "platformID": 99}, 1001, "platform is invalidate"},
		{obj{"secret": "x", "userID": "u1", "platformID": 1}, 1002, "secret invalid"},
		{obj{"userID": "u1", "platformID": 1}, 1002, "secret invalid"},
		{obj{"secret": "openIM123", "userID": "nobody", "platformID": 1}, 1004, "userID not found"},
	} {
		r.refused("/auth/user_token", "", tc.body, tc.code, tc.dlt)
	}
	r.refused("/auth/get_admin_token", "", obj{"secret": "x", "userID": testAdmin}, 1002, "")
	r.refused("/auth/get_admin_token", "", obj{"secret": "openIM123", "userID": "u1"}, 1001, "")
	r.refused("/auth/parse_token", "", obj{"token": "x"}, 1503, "")
	r.refused("/auth/get_user_token", first, obj{"userID": "u1", "platformID": 1}, 1002, "")

	// The other way ends it, and a forced logout ends both.
	second := r.token("u1")
	r.refused("/msg/get_server_time", first, `{}`, 1506, "")
	r.must("/msg/get_server_time", second, `{}`, nil)
	r.must("/auth/force_logout", r.admin, obj{"userID": "u1", "platformID": 1}, nil)
	r.refused("/msg/get_server_time", second, `{}`, 1506, "")
	r.refused("/auth/force_logout", r.admin, obj{"userID": "u1", "platformID": 0}, 1001, "platform")
}

func TestAccountCheck(t *testing.T) {
	r := newRig(t)
	u := r.user("u1")
	a := r.must("/user/account_check", r.admin, obj{"checkUserIDs": []string{"x", "u1"}}, nil)
	if want := `{"results":[{"userID":"x","accountStatus":"unregistered"},{"userID":"u1","accountStatus":"registered"}]}`; string(a.Data) != want {
		t.Errorf("%s", a.Data)
	}
	if a := r.must("/user/account_check", r.admin, `{"checkUserIDs":[]}`, nil); string(a.Data) != `{"results":[]}` {
		t.Errorf("%s", a.Data)
	}
	r.refused("/user/account_check", r.admin, `{}`, 1001, "CheckUserIDs is empty")
	r.refused("/user/account_check", u, `{"checkUserIDs":["a","a"]}`, 1001, "userID repeated")
	r.refused("/user/account_check", u, `{"checkUserIDs":["a"]}`, 1002, "user u1 is not admin userID")
}

func TestUsers(t *testing.T) {
	r := newRig(t)
	u := r.user("u1")
	a := r.must("/user/get_users", u, obj{"pagination": obj{"pageNumber": 1, "showNumber": 50}}, nil)
	for _, want := range []string{`"total":3`, `"userID":"u1","nickname":"nick u1","faceURL":"","ex":"","createTime":`, `"appMangerLevel":1,"globalRecvMsgOpt":0`} {
		if !strings.Contains(string(a.Data), want) {
			t.Errorf("%s lacks %s", a.Data, want)
		}
	}
	if a := r.must("/user/get_users", u, obj{"pagination": obj{"pageNumber": 9, "showNumber": 50}}, nil); string(a.Data) != `{"total":3,"users":[]}` {
		t.Errorf("%s", a.Data)
	}
	r.refused("/user/get_users", u, `{}`, 1001, "pagination is empty")
	r.refused("/user/get_users", u, `{"pagination":{"pageNumber":1}}`, 1001, "showNumber is invalid")
	r.must("/user/update_user_info_ex", u, `{"userInfo":{"userID":"u1","nickname":"new","ex":""}}`, nil)
	if a := r.must("/user/get_users_info", u, `{"userIDs":["u1"]}`, nil); !strings.Contains(string(a.Data), `"nickname":"new"`) {
		t.Errorf("%s", a.Data)
	}
	r.refused("/user/update_user_info_ex", u, `{"userInfo":{"userID":"imAdmin","nickname":"new"}}`, 1002, "")
}

func TestUsersOnlineStatus(t *testing.T) {
	r := newRig(t)
	u := r.user("u1")
	r.core.Connect("u1", core.SessionRef{ID: 0xabc, Platform: uint8(im.PlatformIOS), Background: true})
	a := r.must("/user/get_users_online_status", r.admin, `{"userIDs":["u1","x"]}`, nil)
	want := `[{"userID":"u1","status":1,"detailPlatformStatus":[{"platformID":1,"connID":"abc","isBackground":true,"token":""}]},` +
		`{"userID":"x","status":0,"detailPlatformStatus":[]}]`
	if string(a.Data) != want {
		t.Errorf("%s, want %s", a.Data, want)
	}
	r.core.Connect("u1", core.SessionRef{ID: 1, Platform: uint8(im.PlatformWeb), Token: core.TokenID{1}})
	r.core.Connect("u1", core.SessionRef{ID: 2, Platform: uint8(im.PlatformWeb), Token: core.TokenID{1}})
	a = r.must("/user/get_users_online_token_detail", r.admin, `{"userIDs":["x","u1"]}`, nil)
	want = `[{"userID":"u1","status":1,"singlePlatformToken":[{"platformID":1,"total":1,"token":[]},{"platformID":5,"total":2,"token":[]}]}]`
	if string(a.Data) != want {
		t.Errorf("%s, want %s", a.Data, want)
	}
	if a := r.must("/user/get_users_online_token_detail", r.admin, `{"userIDs":["x"]}`, nil); string(a.Data) != `[]` {
		t.Errorf("%s", a.Data)
	}
	r.refused("/user/get_users_online_token_detail", u, `{"userIDs":["u1"]}`, 1002, "")
	r.refused("/user/get_users_online_token_detail", r.admin, `{}`, 1001, "")
	r.core.Disconnect("u1", core.SessionRef{ID: 1})
	r.core.Disconnect("u1", core.SessionRef{ID: 2})
	r.refused("/user/get_users_online_status", u, `{"userIDs":["u1"]}`, 1002, "")
	r.refused("/user/get_users_online_status", r.admin, `{}`, 1001, "")
	if a := r.must("/user/get_users_status", u, `{"userIDs":["u1"]}`, nil); string(a.Data) != `{"statusList":[{"userID":"u1","status":1,"platformIDs":[1]}]}` {
		t.Errorf("%s", a.Data)
	}
}

// The whole way of a request but for the socket's.
func BenchmarkServe(b *testing.B) {
	r := newRig(b)
	var rows []obj
	for i := range 10 {
		rows = append(rows, obj{"userID": fmt.Sprintf("user%d", i), "nickname": "n"})
	}
	r.must("/user/user_register", r.admin, obj{"users": rows}, nil)
	for _, tc := range []struct{ name, path, body string }{
		{"server_time", "/msg/get_server_time", `{}`},
		{"account_check_10", "/user/account_check", `{"checkUserIDs":["user0","user1","user2","user3","user4","user5","user6","user7","user8","user9"]}`},
		{"v2_account_check_10", "/manager/account_check", `{"operationID":"o","userIDList":["user0","user1","user2","user3","user4","user5","user6","user7","user8","user9"]}`},
		{"v2_online_status_100", "/manager/get_users_online_status", `{"operationID":"o","userIDList":` + listOf(100) + `}`},
	} {
		b.Run(tc.name, func(b *testing.B) {
			var ctx fasthttp.RequestCtx
			ctx.Request.Header.SetMethod("POST")
			ctx.Request.SetRequestURI(tc.path)
			ctx.Request.Header.Set("operationID", "bench")
			ctx.Request.Header.Set("token", r.admin)
			ctx.Request.SetBodyString(tc.body)
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				r.api.serve(&ctx, core.DialectV3)
			}
			if !strings.HasPrefix(string(ctx.Response.Body()), `{"errCode":0`) {
				b.Fatalf("%s", ctx.Response.Body())
			}
		})
	}
}
