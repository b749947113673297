package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"gannet/internal/im"
)

type pulled struct {
	Msgs map[string]struct {
		Msgs []struct {
			SendID, RecvID, ClientMsgID, ServerMsgID, SenderNickname, Ex string
			SessionType, ContentType, MsgFrom, SenderPlatformID          int32
			Seq, SendTime                                                int64
			Content                                                      *[]byte
			Options                                                      map[string]bool
			AtUserIDList                                                 []string
			OfflinePushInfo                                              *struct{ Title string }
		}
		IsEnd bool
	}
}

func (r *rig) pull(token, user, conversation string) *pulled {
	r.Helper()
	out := new(pulled)
	r.must("/msg/pull_msg_by_seq", token, obj{
		"userID": user, "seqRanges": []obj{{"conversationID": conversation, "begin": 1, "end": 100, "num": 100}},
	}, out)
	return out
}

func TestSendAndPull(t *testing.T) {
	r := newRig(t)
	u1, _ := r.user("u1"), r.user("u2")
	m := obj{
		"sendID": "u2", "recvID": "u1", "groupID": "left by the app", "senderNickname": "two", "senderPlatformID": 3,
		"contentType": 101, "sessionType": 1, "ex": "e", "offlinePushInfo": obj{"title": "t"}, "notOfflinePush": true,
		"content": json.RawMessage(`{ "content" : "<hi> & ` + "\u2028" + `", "big":12345678901234567890, "half":0.10 }`),
	}
	var sent struct {
		ServerMsgID, ClientMsgID string
		SendTime                 int64
	}
	r.must("/msg/send_msg", r.admin, m, &sent)
	if sent.ServerMsgID == "" || len(sent.ClientMsgID) != 32 || sent.SendTime == 0 {
		t.Errorf("%+v", sent)
	}
	got := r.pull(u1, "u1", im.SingleID("u1", "u2")).Msgs[im.SingleID("u1", "u2")].Msgs
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	d := got[0]
	if d.SendID != "u2" || d.RecvID != "u1" || d.ServerMsgID != sent.ServerMsgID || d.ClientMsgID != sent.ClientMsgID ||
		d.SenderNickname != "two" || d.Ex != "e" || d.SenderPlatformID != 3 || d.MsgFrom != im.MsgFromSystem || d.Seq != 1 ||
		d.OfflinePushInfo.Title != "t" || len(d.Options) != 1 || d.Options[im.OptOfflinePush] {
		t.Errorf("%+v", d)
	}
	if want := `{"content":"<hi> & ` + "\u2028" + `","big":12345678901234567890,"half":0.10}`; string(*d.Content) != want {
		t.Errorf("content %s, want %s", *d.Content, want)
	}
	// The two sides of reading.
	var seqs struct{ MaxSeqs map[string]int64 }
	r.must("/msg/newest_seq", u1, obj{"userID": "u1"}, &seqs)
	if seqs.MaxSeqs[im.SingleID("u1", "u2")] != 1 {
		t.Errorf("%+v", seqs)
	}
	r.must("/msg/mark_conversation_as_read", u1, obj{"userID": "u1", "conversationID": im.SingleID("u1", "u2"), "hasReadSeq": 1}, nil)
	a := r.must("/msg/get_conversations_has_read_and_max_seq", u1, obj{"userID": "u1"}, nil)
	if !strings.Contains(string(a.Data), `"maxSeq":1,"hasReadSeq":1`) {
		t.Errorf("%s", a.Data)
	}
	// A placeholder has content, too: "" and not null or [].
	r.must("/msg/delete_msgs", u1, obj{"userID": "u1", "conversationID": im.SingleID("u1", "u2"), "seqs": []int{1}}, nil)
	a = r.call("/msg/pull_msg_by_seq", u1, obj{
		"userID": "u1", "seqRanges": []obj{{"conversationID": im.SingleID("u1", "u2"), "begin": 1, "end": 1, "num": 1}},
	})
	if strings.Contains(a.Body, `"content":[`) || strings.Contains(a.Body, `"content":null`) {
		t.Error(a.Body)
	}
}

func TestSendOnlineOnly(t *testing.T) {
	r := newRig(t)
	u1 := r.user("u1")
	m := textTo("u1", "x")
	m["isOnlineOnly"] = true
	r.must("/msg/send_msg", r.admin, m, nil)
	if got := r.pull(u1, "u1", im.SingleID(testAdmin, "u1")); len(got.Msgs[im.SingleID(testAdmin, "u1")].Msgs) != 0 {
		t.Errorf("%+v", got)
	}
	b := sendBody{IsOnlineOnly: true}
	if fmt.Sprint(b.options()) != "map[conversationUpdate:false history:false persistent:false senderSync:false]" {
		t.Error(b.options())
	}
}

func TestSendChecks(t *testing.T) {
	r := newRig(t)
	u1 := r.user("u1")
	base := textTo("u1", "x")
	picture := obj{"type": "png", "width": 1, "height": 1, "url": "u"}
	for _, tc := range []struct {
		name   string
		change obj // nil values are left out
		code   int
		dlt    string
	}{
		{"as it is", obj{}, 0, ""},
		{"no sender", obj{"sendID": nil}, 1001, "sendID"},
		{"no receiver", obj{"recvID": nil}, 1001, "recvID"},
		{"unknown receiver", obj{"recvID": "nobody"}, 1004, "nobody"},
		{"no content", obj{"content": nil}, 1001, "content is empty"},
		{"null content", obj{"content": json.RawMessage("null")}, 1001, "content is empty"},
		{"content no object", obj{"content": "x"}, 1001, "content must be an object"},
		{"content a list", obj{"content": []int{1}}, 1001, "content must be an object"},
		{"no contentType", obj{"contentType": nil}, 1001, "contentType"},
		{"no sessionType", obj{"sessionType": nil}, 1001, "sessionType"},
		{"sessionType 2", obj{"sessionType": 2}, 1001, "sessionType 2"},
		{"group without ID", obj{"sessionType": 3}, 1001, "groupID"},
		{"unknown group", obj{"sessionType": 3, "groupID": "g"}, 1201, "g"},
		{"other contentType", obj{"contentType": 2101}, 1001, "contentType 2101"},
		{"text without text", obj{"content": obj{"content": ""}}, 1001, "content.content"},
		{"text as a number", obj{"content": obj{"content": 1}}, 1001, "content.content"},
		{"text in another case", obj{"content": obj{"Content": "x"}}, 0, ""},
		{"too long", obj{"content": obj{"content": strings.Repeat("x", contentMax)}}, 1001, "more than"},
		{"picture", obj{"contentType": 102, "content": obj{"sourcePicture": picture, "bigPicture": picture, "snapshotPicture": picture}}, 0, ""},
		{"half a picture", obj{"contentType": 102, "content": obj{"sourcePicture": picture, "bigPicture": picture}}, 1001, "content.snapshotPicture.type"},
		{"picture no object", obj{"contentType": 102, "content": obj{"sourcePicture": "x"}}, 1001, "content.sourcePicture.type"},
		{"voice", obj{"contentType": 103, "content": obj{"sourceUrl": "u", "duration": 1}}, 0, ""},
		{"voice of no length", obj{"contentType": 103, "content": obj{"sourceUrl": "u", "duration": 0}}, 1001, "content.duration"},
		{"video", obj{"contentType": 104, "content": obj{"videoUrl": "u", "videoType": "mp4", "videoSize": 5, "duration": 1, "snapshotUrl": "s", "snapshotWidth": 1, "snapshotHeight": 1}}, 0, ""},
		{"file", obj{"contentType": 105, "content": obj{"sourceUrl": "u", "fileName": "n", "fileSize": 1}}, 0, ""},
		{"file without size", obj{"contentType": 105, "content": obj{"sourceUrl": "u", "fileName": "n"}}, 1001, "content.fileSize"},
		{"at", obj{"contentType": 106, "content": obj{"text": "t", "atUserList": []string{"a"}}}, 0, ""},
		{"at nobody", obj{"contentType": 106, "content": obj{"text": "t", "atUserList": []string{}}}, 1001, "content.atUserList"},
		{"at a number", obj{"contentType": 106, "content": obj{"text": "t", "atUserList": []int{1}}}, 1001, "content.atUserList"},
		{"location", obj{"contentType": 109, "content": obj{}}, 0, ""},
		{"custom", obj{"contentType": 110, "content": obj{"data": "d"}}, 0, ""},
		{"custom without data", obj{"contentType": 110, "content": obj{"description": "d"}}, 1001, "content.data"},
		{"notice without text", obj{"contentType": 1400, "content": obj{"notificationName": "n", "notificationType": 1}}, 1001, "content.text"},
		{"sender a number", obj{"sendID": 5}, 1001, "cannot unmarshal"},
	} {
		m := obj{}
		for _, part := range []obj{base, tc.change} {
			for k, v := range part {
				if m[k] = v; v == nil {
					delete(m, k)
				}
			}
		}
		a := r.call("/msg/send_msg", r.admin, m)
		if a.Status != 200 || a.ErrCode != tc.code || !strings.Contains(a.ErrDlt, tc.dlt) {
			t.Errorf("%s: %d %.300s", tc.name, a.Status, a.Body)
		}
	}
	r.refused("/msg/send_msg", u1, base, 1002, "user u1 is not admin userID")
	r.refused("/msg/batch_send_msg", u1, obj{"sendID": "u1", "recvIDs": []string{}, "contentType": 101, "sessionType": 1, "content": obj{"content": "x"}}, 1002, "")
	r.refused("/msg/send_business_notification", u1, obj{"key": "k", "data": "d", "sendUserID": "u1", "recvUserID": "u1"}, 1002, "")
}

func TestAtListAndNotice(t *testing.T) {
	b := sendBody{SendID: "s", ContentType: 106, SessionType: 3, GroupID: "g", Content: json.RawMessage(`{"text":"t","atUserList":["a","AtAllTag"]}`)}
	d, err := b.message()
	if err != nil || strings.Join(d.AtUserIDList, " ") != "a AtAllTag" || d.GroupID != "g" {
		t.Errorf("%v %v", d, err)
	}
	b = sendBody{SendID: "s", ContentType: 1400, SessionType: 1, Content: json.RawMessage(`{"notificationName":"n","notificationType":1,"text":"<t>","big":12345678901234567890}`)}
	if d, err = b.message(); err != nil {
		t.Fatal(err)
	}
	var content struct{ Detail string }
	if err := json.Unmarshal(d.Content, &content); err != nil {
		t.Fatal(err)
	}
	var detail struct {
		Text string
		Big  json.Number
	}
	if err := json.Unmarshal([]byte(content.Detail), &detail); err != nil || detail.Text != "<t>" || detail.Big != "12345678901234567890" || d.SessionType != im.NotificationChat {
		t.Errorf("%s %v %d", d.Content, err, d.SessionType)
	}
}

type batchResult struct {
	Results []struct {
		ServerMsgID, ClientMsgID, RecvID string
		SendTime                         int64
	}
	FailedUserIDs []string
}

func TestSendBatch(t *testing.T) {
	r := newRig(t)
	var rows []obj
	var ids []string
	for i := range 300 {
		id := fmt.Sprintf("u%03d", i)
		ids = append(ids, id)
		rows = append(rows, obj{"userID": id, "nickname": id})
	}
	r.must("/user/user_register", r.admin, obj{"users": rows}, nil)
	m := textTo("", "to all")
	delete(m, "recvID")
	r.refused("/msg/batch_send_msg", r.admin, m, 1001, "recvIDs is empty")

	m["recvIDs"] = append([]string{"nobody"}, ids...)
	var got batchResult
	r.must("/msg/batch_send_msg", r.admin, m, &got)
	if len(got.FailedUserIDs) != 1 || got.FailedUserIDs[0] != "nobody" || len(got.Results) != len(ids) {
		t.Fatalf("%d sent, failed %v", len(got.Results), got.FailedUserIDs)
	}
	seen := map[string]bool{}
	for i, res := range got.Results {
		if res.RecvID != ids[i] || res.ClientMsgID == "" || seen[res.ClientMsgID] || res.SendTime == 0 {
			t.Fatalf("%d: %+v", i, res)
		}
		seen[res.ClientMsgID] = true
	}
	m["recvIDs"], m["isSendAll"] = []string{}, true
	got = batchResult{}
	r.must("/msg/batch_send_msg", r.admin, m, &got)
	if len(got.Results) != len(ids)+2 || len(got.FailedUserIDs) != 0 {
		t.Errorf("to all: %d sent, failed %v", len(got.Results), got.FailedUserIDs)
	}
	u := r.token("u007")
	if d := r.pull(u, "u007", im.SingleID(testAdmin, "u007")).Msgs[im.SingleID(testAdmin, "u007")].Msgs; len(d) != 2 || d[0].RecvID != "u007" {
		t.Errorf("%+v", d)
	}
	m["recvIDs"], m["isSendAll"], m["sessionType"] = []string{}, false, 1
	if a := r.must("/msg/batch_send_msg", r.admin, m, nil); string(a.Data) != `{"results":[],"failedUserIDs":[]}` {
		t.Errorf("%s", a.Data)
	}
}

func TestBusinessNotification(t *testing.T) {
	r := newRig(t)
	r.user("u1")
	n := obj{"key": "k", "data": "d", "sendUserID": testAdmin, "recvUserID": "u1", "reliabilityLevel": 2}
	var sent struct{ ServerMsgID string }
	r.must("/msg/send_business_notification", r.admin, n, &sent)
	if sent.ServerMsgID == "" {
		t.Error("no serverMsgID")
	}
	n["recvUserID"] = ""
	r.refused("/msg/send_business_notification", r.admin, n, 1001, "recvUserID")
}

func TestCheckSent(t *testing.T) {
	r := newRig(t)
	r.user("u1")
	status := func(op string) (s struct{ Status int32 }) {
		a := r.send("POST", "/msg/check_msg_is_send_success", "{}", "operationID: "+op, "token: "+r.admin)
		if err := json.Unmarshal(a.Data, &s); err != nil {
			t.Fatal(err, a.Body)
		}
		return s
	}
	post := func(op, to string) {
		b, _ := json.Marshal(textTo(to, "x"))
		r.send("POST", "/msg/send_msg", string(b), "operationID: "+op, "token: "+r.admin)
	}
	post("good", "u1")
	post("bad", "nobody")
	if a, b, c := status("good").Status, status("bad").Status, status("never").Status; a != 2 || b != 3 || c != 0 {
		t.Errorf("%d %d %d", a, b, c)
	}
}

func TestSentLogForgetsTheOldest(t *testing.T) {
	l := newSentLog(3)
	for i, op := range []string{"a", "b", "a", "c", "d", "e"} {
		l.set(op, int32(i+1))
	}
	got := fmt.Sprint(l.get("a"), l.get("b"), l.get("c"), l.get("d"), l.get("e"))
	if got != "0 0 4 5 6" || len(l.status) != 3 {
		t.Error(got, len(l.status))
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 100 {
				l.set(fmt.Sprint(i, n), 1)
				l.get(fmt.Sprint(i, n))
			}
		})
	}
	all.Wait()
	if len(l.status) != 3 {
		t.Error(len(l.status))
	}
}

// The routes of web clients and the administrator's removals, over HTTP: what
// core does is core's test.
func TestShownAndRemoved(t *testing.T) {
	r := newRig(t)
	u1, _ := r.user("u1"), r.user("u2")
	conv := im.SingleID("u1", "u2")
	for i := range 3 {
		r.must("/msg/send_msg", r.admin, obj{
			"sendID": "u2", "recvID": "u1", "contentType": 101, "sessionType": 1, "content": obj{"content": fmt.Sprint("text ", i)},
		}, nil)
	}
	content := base64.StdEncoding.EncodeToString([]byte(`{"content":"text 2"}`))
	for path, body := range map[string]obj{
		"/jssdk/get_active_conversations": {"ownerUserID": "u2", "count": 10},
		"/jssdk/get_conversations":        {"conversationIDs": []string{conv}},
	} {
		a := r.must(path, u1, body, nil)
		for _, want := range []string{`{"unreadCount":3,"conversations":[{"conversation":{"ownerUserID":"u1","conversationID":"` + conv + `"`,
			`"lastMsg":{"sendID":"u2"`, `"content":"` + content + `"`, `"user":{"userID":"u2"`, `"friend":null,"group":null,"maxSeq":3,"readSeq":0}`} {
			if !strings.Contains(string(a.Data), want) {
				t.Errorf("%s: %s lacks %s", path, a.Data, want)
			}
		}
	}
	a := r.must("/msg/delete_msg_phsical_by_seq", r.admin, obj{"conversationID": conv, "seqs": []int{2}}, nil)
	if a.Data != nil {
		t.Errorf("%s", a.Body)
	}
	if got := r.pull(u1, "u1", conv).Msgs[conv].Msgs; len(got) != 3 || len(*got[1].Content) != 0 || len(*got[0].Content) == 0 {
		t.Errorf("%+v", got)
	}
	r.must("/msg/delete_msg_physical", r.admin, obj{"conversationIDs": []string{conv}, "timestamp": 3600}, nil)
	if got := r.pull(u1, "u1", conv).Msgs[conv].Msgs; len(got) != 3 {
		t.Errorf("%+v", got)
	}
	// All of it, and the conversation goes on. An age of 0 is what was sent before
	// this millisecond.
	last := r.pull(u1, "u1", conv).Msgs[conv].Msgs[2].SendTime
	for now := last; now <= last; {
		var clock struct{ ServerTime int64 }
		r.must("/msg/get_server_time", u1, obj{}, &clock)
		now = clock.ServerTime
	}
	r.must("/msg/delete_msg_physical", r.admin, obj{"conversationIDs": []string{conv}, "timestamp": 0}, nil)
	if got := r.pull(u1, "u1", conv).Msgs[conv].Msgs; len(got) != 0 {
		t.Errorf("%+v", got)
	}
	r.must("/msg/send_msg", r.admin, obj{
		"sendID": "u2", "recvID": "u1", "contentType": 101, "sessionType": 1, "content": obj{"content": "after"},
	}, nil)
	if got := r.pull(u1, "u1", conv).Msgs[conv].Msgs; len(got) != 1 || got[0].Seq != 4 || got[0].SendTime <= last {
		t.Errorf("%+v", got)
	}
	r.refused("/msg/delete_msg_physical", r.admin, obj{"timestamp": 0}, 1001, "conversationIDs")
	r.refused("/msg/delete_msg_physical", u1, obj{"conversationIDs": []string{conv}}, 1002, "")
	r.refused("/msg/delete_msg_phsical_by_seq", u1, obj{"conversationID": conv, "seqs": []int{1}}, 1002, "")
	r.refused("/msg/delete_msg_phsical_by_seq", r.admin, obj{"conversationID": conv}, 1001, "seqs")
	r.refused("/jssdk/get_active_conversations", u1, obj{"count": -1}, 1001, "count")
}
