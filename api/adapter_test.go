package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"google.golang.org/protobuf/proto"

	"gannet/core"
	"gannet/internal/im"
)

// Bodies decode as with encoding/json, whose behaviour clients were written for.
func TestDecodeLikeStandard(t *testing.T) {
	for _, tc := range []struct {
		req  proto.Message
		body string
	}{
		{new(user.UpdateUserInfoExReq), `{"userInfo":{"userID":"a","nickname":"","ex":null,"globalRecvMsgOpt":2}}`},
		{new(user.UpdateUserInfoExReq), `{"USERINFO":{"userid":"a","NickName":"n","faceurl":"f"}}`},
		{new(conversation.SetConversationsReq), `{"userIDs":[],"conversation":{"conversationID":"x","conversationType":3,"groupID":"g","isPinned":false,"minSeq":9007199254740993,"burnDuration":0,"ex":"\u00e9\n"}}`},
		{new(conversation.SetConversationsReq), `{"userIDs":["a","a"],"userIDs":["b"],"conversation":{"conversationID":"x","conversationType":4,"isPrivateChat":true}}`},
		{new(conversation.GetIncrementalConversationReq), `{"userID":"a","versionID":"b","version":18446744073709551615}`},
		{new(msg.RevokeMsgReq), `{"conversationID":"c","seq":9007199254740993,"userID":"u","extra":[{"a":null}]}`},
		{new(user.GetDesignateUsersReq), "{\"userIDs\":[\"a\xffb\",\"\\ud800\"]}"},
	} {
		want := tc.req.ProtoReflect().New().Interface()
		if err := json.Unmarshal([]byte(tc.body), want); err != nil {
			t.Fatal(err)
		}
		body := []byte(tc.body)
		if err := decode(body, tc.req); err != nil {
			t.Errorf("%s: %v", tc.body, err)
		}
		for i := range body {
			body[i] = '#' // the HTTP server uses the memory again
		}
		if !proto.Equal(tc.req, want) {
			t.Errorf("%s: %v, want %v", tc.body, tc.req, want)
		}
	}
}

// Wrappers tell "not given" from "given as zero", and refuse other types.
func TestWrappers(t *testing.T) {
	var req user.UpdateUserInfoExReq
	if err := decode([]byte(`{"userInfo":{"userID":"a","nickname":"","globalRecvMsgOpt":0}}`), &req); err != nil {
		t.Fatal(err)
	}
	u := req.UserInfo
	if u.Nickname == nil || u.Nickname.Value != "" || u.GlobalRecvMsgOpt == nil || u.FaceURL != nil || u.Ex != nil {
		t.Error(u)
	}
	for _, bad := range []string{
		`{"userInfo":{"userID":"a","nickname":1}}`,
		`{"userInfo":{"userID":"a","globalRecvMsgOpt":"1"}}`,
		`{"userInfo":{"userID":"a","globalRecvMsgOpt":5000000000}}`,
		`{"userInfo":{"userID":"a","globalRecvMsgOpt":{}}}`,
	} {
		err := decode([]byte(bad), new(user.UpdateUserInfoExReq))
		if e, ok := err.(*im.Error); !ok || e.Code != im.ErrArgs.Code || e.Detail == "" {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestDecodeErrorQuotesNothing(t *testing.T) {
	secret := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
	for _, body := range []string{
		`{"users":"` + secret + `"}`, `{"users":["` + secret + `"]}`, `{"users":` + secret + `}`, `{"users":["` + secret,
	} {
		err := decode([]byte(body), new(user.UserRegisterReq))
		if err == nil || strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestEncode(t *testing.T) {
	for _, tc := range []struct {
		name string
		data any
		want string
	}{
		{"all digits", &sdkws.GetMaxSeqResp{MaxSeqs: map[string]int64{"c": 9007199254740993}}, `{"maxSeqs":{"c":9007199254740993},"minSeqs":{}}`},
		{"uint64", &conversation.GetIncrementalConversationResp{Version: 18446744073709551615},
			`{"version":18446744073709551615,"versionID":"","full":false,"delete":[],"insert":[],"update":[]}`},
		{"nested nil", &sdkws.PullMessageBySeqsResp{Msgs: map[string]*sdkws.PullMsgs{"c": {}}},
			`{"msgs":{"c":{"Msgs":[],"isEnd":false,"endSeq":0}},"notificationMsgs":{}}`},
		{"nil message", &msg.SendMsgResp{ServerMsgID: "s"}, `{"serverMsgID":"s","clientMsgID":"","sendTime":0,"modify":null}`},
		{"bad UTF-8", &user.GetAllUserIDResp{UserIDs: []string{"a\xffb\x01\"\\"}}, `{"total":0,"userIDs":["a\ufffdb\u0001\"\\"]}`},
		{"array", &[]accountStatus{{"u", "registered"}}, `[{"userID":"u","accountStatus":"registered"}]`},
		{"empty array", &[]accountStatus{}, `[]`},
	} {
		b, err := appendEnvelope(nil, tc.data, nil)
		if want := `{"errCode":0,"errMsg":"","errDlt":"","data":` + tc.want + `}`; err != nil || string(b) != want {
			t.Errorf("%s: %s, want %s (%v)", tc.name, b, want, err)
		}
		if !json.Valid(b) {
			t.Errorf("%s: not JSON: %s", tc.name, b)
		}
	}
	b, err := appendEnvelope([]byte("before"), nil, im.ErrArgs.With("a \"word\""))
	if string(b) != `before{"errCode":1001,"errMsg":"ArgsError","errDlt":"a \"word\""}` || err != nil {
		t.Errorf("%s %v", b, err)
	}
}

// Answers without fields have no data.
func TestFieldless(t *testing.T) {
	for _, tc := range []struct {
		resp reflect.Type
		want bool
	}{
		{reflect.TypeFor[user.UserRegisterResp](), true},
		{reflect.TypeFor[msg.RevokeMsgResp](), true},
		{reflect.TypeFor[user.GetAllUserIDResp](), false},
		{reflect.TypeFor[[]accountStatus](), false},
	} {
		if got := fieldless(tc.resp); got != tc.want {
			t.Errorf("%v: %v", tc.resp, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"users":[{"userID":"a","nickname":"b","createTime":1}],"secret":"x"}`))
	f.Add([]byte(`{"users":[null]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want userRegisterReq
		err := jsonIn.Unmarshal(body, &got)
		if stdErr := json.Unmarshal(body, &want); err != nil || stdErr != nil {
			return
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", body, got, want)
		}
	})
}

func FuzzContent(f *testing.F) {
	f.Add(int32(101), []byte(`{"content":"x","n":12345678901234567890}`))
	f.Add(int32(102), []byte(`{"sourcePicture":{"type":"png","width":1}}`))
	f.Add(int32(106), []byte(`{"atUserList":["a",1]}`))
	f.Fuzz(func(t *testing.T, contentType int32, raw []byte) {
		content, _, err := checkContent(contentType, raw)
		if _, known := err.(*im.Error); err != nil && !known {
			t.Error(err)
		}
		if err == nil && !json.Valid(content) {
			t.Errorf("%q became %q", raw, content)
		}
	})
}

func BenchmarkHandleSmall(b *testing.B) {
	run := handle(func(core.Caller, *msg.GetServerTimeReq) (*msg.GetServerTimeResp, error) {
		return &msg.GetServerTimeResp{ServerTime: 1700000000000}, nil
	})
	body, out := []byte(`{}`), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		data, err := run(core.Caller{}, body)
		if err != nil {
			b.Fatal(err)
		}
		if out, err = appendEnvelope(out[:0], data, nil); err != nil {
			b.Fatal(err)
		}
	}
}
