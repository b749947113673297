package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// v2 posts body in the v2 dialect; the v3 listener of the rig serves it too.
func (r *rig) v2(path, token string, body obj) *answer {
	r.Helper()
	body["operationID"] = "op"
	text, err := json.Marshal(body)
	if err != nil {
		r.Fatal(err)
	}
	return r.send(http.MethodPost, path, string(text), "token: "+token)
}

// sent sends in the v2 dialect and returns the msgID.
func (r *rig) sent(body obj) string {
	r.Helper()
	var a struct {
		SendTime int64
		MsgID    string
	}
	got := r.v2("/manager/send_msg", r.admin, body)
	if err := json.Unmarshal([]byte(got.Body), &a); err != nil || got.ErrCode != 0 {
		r.Fatalf("%s %v", got.Body, err)
	}
	if a.SendTime%1_000_000 != 0 || a.SendTime < 1e18 || len(a.MsgID) != 32 {
		r.Errorf("%s", got.Body)
	}
	return a.MsgID
}

// pulled is a conversation as user sees it, and its messages by clientMsgID.
func (r *rig) pulled(user, conv string) map[string]obj {
	r.Helper()
	var data struct {
		Msgs map[string]struct{ Msgs []obj }
	}
	r.must("/msg/pull_msg_by_seq", r.admin, obj{"userID": user, "seqRanges": []obj{{"conversationID": conv, "begin": 1, "end": 99, "num": 99}}}, &data)
	all := make(map[string]obj)
	for _, m := range data.Msgs[conv].Msgs {
		all[m["clientMsgID"].(string)] = m
	}
	return all
}

func contentOf(t *testing.T, m obj) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(m["content"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each content type reaches clients of v3 in the form that they know.
func TestV2ContentIsStored(t *testing.T) {
	r := newRig(t)
	r.user("a")
	r.user("b")
	for _, tc := range []struct {
		kind          int
		content, want string
	}{
		{101, `{"text":"<&> \"张\""}`, "{\"content\":\"\\u003c\\u0026\\u003e \\\"张\\\"\"}"},
		{102, `{ "sourcePicture": {"url":"u"}, "more":12345678901234567890 }`, `{"sourcePicture":{"url":"u"},"more":12345678901234567890}`},
		{110, `{"data":"","description":"d"}`, `{"data":"","description":"d"}`},
		{115, `{"index":1}`, `{"index":1}`},
		{119, `{"data":"x"}`, `{"data":"x"}`},
	} {
		id := r.sent(obj{"sendID": "a", "recvID": "b", "sessionType": 1, "contentType": tc.kind, "content": json.RawMessage(tc.content)})
		m := r.pulled("b", "si_a_b")[id]
		if m == nil || contentOf(t, m) != tc.want || m["contentType"] != float64(tc.kind) {
			t.Errorf("%d: %v, want %s", tc.kind, m, tc.want)
		}
		if silent, _ := m["options"].(map[string]any)["conversationUpdate"].(bool); tc.kind == 119 && (silent || len(m["options"].(map[string]any)) == 0) {
			t.Errorf("119 touches the conversation: %v", m["options"])
		}
	}
	before := len(r.pulled("b", "si_a_b"))
	for _, body := range []obj{
		{"contentType": 120, "content": obj{"data": "x"}},
		{"contentType": 113, "content": obj{"msgTips": "yes"}},
		{"contentType": 101, "content": obj{"text": "x"}, "isOnlineOnly": true},
	} {
		body["sendID"], body["recvID"], body["sessionType"] = "a", "b", 1
		r.sent(body)
	}
	if after := len(r.pulled("b", "si_a_b")); after != before {
		t.Errorf("%d messages were stored though they are for who is online", after-before)
	}
	id := r.sent(obj{"sendID": "a", "recvID": "b", "sessionType": 1, "contentType": 1400,
		"content": obj{"notificationName": "n", "notificationType": 1, "text": "t"}})
	if m := r.pulled("b", "sn_a_b")[id]; m == nil || !strings.HasPrefix(contentOf(t, m), `{"detail":"{\"notificationName\":`) {
		t.Errorf("%v", m)
	}
}

// 111 and 118 revoke the message that they name; they are no messages.
func TestV2Revoke(t *testing.T) {
	r := newRig(t)
	r.user("a")
	r.user("b")
	if a := r.v2("/group/create_group", r.admin, obj{"groupID": "g", "ownerUserID": "a", "memberList": []obj{{"userID": "b"}}}); a.ErrCode != 0 {
		t.Fatal(a.Body)
	}
	for _, tc := range []struct {
		name     string
		to       obj
		conv     string
		kind     int
		revokeBy obj
	}{
		{"own", obj{"recvID": "b", "sessionType": 1}, "si_a_b", 111, obj{"sendID": "a"}},
		{"the peer's", obj{"recvID": "b", "sessionType": 1}, "si_a_b", 118, obj{"sendID": "b", "recvID": "a"}},
		{"in a group", obj{"groupID": "g", "sessionType": 2}, "sg_g", 111, obj{"sendID": "b"}},
	} {
		body := obj{"sendID": "a", "contentType": 101, "content": obj{"text": "x"}}
		for k, v := range tc.to {
			body[k] = v
		}
		id := r.sent(body)
		before := len(r.pulled("b", tc.conv))
		body["contentType"], body["content"] = tc.kind, obj{"revokeMsgClientID": id}
		for k, v := range tc.revokeBy {
			body[k] = v
		}
		r.sent(body)
		all := r.pulled("b", tc.conv)
		if m := all[id]; m == nil || m["contentType"] != 2101.0 || len(all) != before {
			t.Errorf("%s: %v of %d messages, %d before", tc.name, m, len(all), before)
		}
		if a := r.v2("/manager/send_msg", r.admin, body); a.ErrCode != 201 || a.Status != 200 {
			t.Errorf("%s again: %s", tc.name, a.Body)
		}
	}
}

// 112 moves the reader's position as far as the messages it names.
func TestV2Receipt(t *testing.T) {
	r := newRig(t)
	r.user("a")
	r.user("b")
	ids := make([]string, 3)
	for i := range ids {
		ids[i] = r.sent(obj{"sendID": "a", "recvID": "b", "sessionType": 1, "contentType": 101, "content": obj{"text": "x"}})
	}
	r.sent(obj{"sendID": "b", "recvID": "a", "sessionType": 1, "contentType": 112, "content": obj{"msgIDList": []string{ids[0], ids[1], "unknown"}}})
	var data struct {
		Seqs map[string]struct{ MaxSeq, HasReadSeq int }
	}
	r.must("/msg/get_conversations_has_read_and_max_seq", r.admin, obj{"userID": "b"}, &data)
	if got := data.Seqs["si_a_b"]; got.MaxSeq != 3 || got.HasReadSeq != 2 {
		t.Errorf("%+v", got)
	}
}

// A member spelled twice: the first spelling in the canonical order that is
// not empty counts, whatever the order in the body.
func TestSpellings(t *testing.T) {
	for _, tc := range []struct{ body, want string }{
		{`{"faceURL":"a","faceUrl":"b","icon":"c"}`, "a"},
		{`{"icon":"c","FACEURL":"b","faceURL":"a"}`, "a"},
		{`{"icon":"c","faceUrl":"b","faceURL":""}`, "b"},
		{`{"icon":"c","faceURL":null}`, "c"},
		{`{"ICON":"c"}`, "c"},
		{`{"faceURL":"a","faceURL":"b"}`, "b"},
		{`{}`, ""},
	} {
		o, err := parseObject([]byte(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		if got := o.text("faceURL", "icon"); got != tc.want || o.err() != nil {
			t.Errorf("%s: %q %v", tc.body, got, o.err())
		}
	}
	o, err := parseObject([]byte(`{"faceURL":"a","icon":5}`))
	if err != nil || o.text("faceURL", "icon") != "a" || o.err() == nil {
		t.Error("every spelling must have the right type")
	}
}

// The v2 reader takes and refuses what encoding/json does, and never panics.
func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"userID":"a","UserID":"b","platform":"1","birth":"x","kickedUserIDList":[{"userId":"x"},"y"],"memberList":[{"userID":"m","roleLevel":3}]}`))
	f.Add([]byte(`{"a":tru}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := parseObject(body)
		var m map[string]json.RawMessage
		if stdErr := json.Unmarshal(body, &m); (err == nil) != (stdErr == nil) && stdErr == nil {
			t.Fatalf("%q: %v, encoding/json %v", body, err, stdErr)
		}
		if err != nil {
			return
		}
		v := v2{}
		for _, read := range []func(*object) spoken{v.updateUserInfo, v.createGroup, v.kickFromGroup, v.importFriend, v.sendMsg(sendAnswer)} {
			read(o)
		}
	})
}
