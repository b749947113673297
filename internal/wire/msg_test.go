package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func fullMsg() *sdkws.MsgData {
	return &sdkws.MsgData{
		SendID: "alice", RecvID: "bob", GroupID: "group", ClientMsgID: "c0ffee", ServerMsgID: "server",
		SenderPlatformID: 5, SenderNickname: "Alice", SenderFaceURL: "http://face", SessionType: 1, MsgFrom: 100,
		ContentType: 101, Content: []byte(`{"content":"hello"}`), Seq: 7, SendTime: 1726312345678, CreateTime: -5,
		Status: 2, IsRead: true,
		Options:         map[string]bool{"history": false, "unreadCount": true, "unknown": false},
		OfflinePushInfo: &sdkws.OfflinePushInfo{Title: "t", Desc: "d", Ex: "e", IOSPushSound: "s", IOSBadgeCount: true, SignalInfo: "i"},
		AtUserIDList:    []string{"carol", "", "dave"}, AttachedInfo: "{}", Ex: "ex",
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkScan compares ScanMsg with proto.Unmarshal on the same bytes: acceptance
// and every field.
func checkScan(t testing.TB, b []byte) {
	t.Helper()
	var got Msg
	var want sdkws.MsgData
	gotErr, wantErr := ScanMsg(b, &got), proto.Unmarshal(b, &want)
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("ScanMsg: %v; proto.Unmarshal: %v\n%x", gotErr, wantErr, b)
	}
	if gotErr != nil {
		return
	}
	var off Options
	for i, key := range optionKeys {
		if on, ok := want.Options[key]; ok && !on {
			off |= 1 << i
		}
	}
	var at []string
	for id := range got.AtUserIDs {
		at = append(at, string(id))
	}
	for name, pair := range map[string][2]any{
		"sendID":           {string(got.SendID), want.SendID},
		"recvID":           {string(got.RecvID), want.RecvID},
		"groupID":          {string(got.GroupID), want.GroupID},
		"clientMsgID":      {string(got.ClientMsgID), want.ClientMsgID},
		"serverMsgID":      {string(got.ServerMsgID), want.ServerMsgID},
		"content":          {string(got.Content), string(want.Content)},
		"senderPlatformID": {got.SenderPlatformID, want.SenderPlatformID},
		"sessionType":      {got.SessionType, want.SessionType},
		"contentType":      {got.ContentType, want.ContentType},
		"status":           {got.Status, want.Status},
		"seq":              {got.Seq, want.Seq},
		"sendTime":         {got.SendTime, want.SendTime},
		"options":          {got.Off, off},
		"atUsers":          {got.AtUsers, len(want.AtUserIDList)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %v, proto.Unmarshal has %v", name, pair[0], pair[1])
		}
	}
	if !slices.Equal(at, want.AtUserIDList) {
		t.Errorf("atUserIDList: %q, proto.Unmarshal has %q", at, want.AtUserIDList)
	}
	if len(got.Content) > 0 && !got.HasContent {
		t.Error("content without HasContent")
	}
}

// msgCases are encodings that tell careful decoders from careless ones.
func msgCases(t testing.TB) [][]byte {
	t.Helper()
	full := marshal(t, fullMsg())
	text := func(num protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), v)
	}
	varint := func(num protowire.Number, x uint64) []byte { return appendVarintField(nil, num, x) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	option := func(parts ...[]byte) []byte { return text(fieldOptions, string(join(parts...))) }
	group := func(num protowire.Number, depth int) []byte {
		var b []byte
		for range depth {
			b = protowire.AppendTag(b, num, protowire.StartGroupType)
		}
		for range depth {
			b = protowire.AppendTag(b, num, protowire.EndGroupType)
		}
		return b
	}
	bad := "\xff"
	cases := [][]byte{
		nil, full, join(full, full),
		join(full, text(1, "eve"), varint(fieldSeq, 9), varint(fieldSessionType, 1<<40|3), varint(fieldIsRead, 0)),
		option(text(1, "history"), varint(2, 0)),
		option(text(1, "history")), // no value: false
		option(varint(2, 1)), option(), option(varint(2, 0)),
		join(option(text(1, "history"), varint(2, 0)), option(text(1, "history"), varint(2, 1))),
		join(option(text(1, "history"), varint(2, 1)), option(text(1, "history"))),
		option(text(1, "history"), varint(2, 1), text(1, "senderSync"), varint(2, 0)), // last wins inside too
		option(varint(1, 5), text(2, "x")),                                            // other wire types
		option(text(1, bad)), option(text(3, bad), group(4, 2)), option([]byte{0x0c}), option([]byte{8}),
		text(fieldOptions, "\x0a\x05ab"), varint(fieldOptions, 3),
		text(fieldOfflinePushInfo, string(text(1, "ok"))), text(fieldOfflinePushInfo, string(text(6, bad))),
		text(fieldOfflinePushInfo, string(text(7, bad))), text(fieldOfflinePushInfo, string(join(varint(5, 1), varint(1, 1), text(5, bad)))),
		text(fieldOfflinePushInfo, "\x0a\x05"), text(fieldOfflinePushInfo, string(group(9, 3))),
		text(fieldContent, bad), text(fieldContent, ""), text(13, bad), text(24, bad), text(64, bad), text(65, bad), text(fieldSeq, bad),
		group(30, 1), group(30, 9_999), group(30, 10_000), group(30, 10_001), group(fieldContent, 2), group(fieldOptions, 2),
		protowire.AppendTag(nil, 5, protowire.EndGroupType), protowire.AppendTag(nil, 30, protowire.StartGroupType),
		protowire.AppendFixed32(protowire.AppendTag(nil, fieldSeq, protowire.Fixed32Type), 5),
		protowire.AppendFixed64(protowire.AppendTag(nil, fieldEx, protowire.Fixed64Type), 5),
		{0x8a, 0x80, 0x00, 0x01, 'a'}, {0x0a, 0x81, 0x00, 'a'}, {0xaa, 0x81, 0x80, 0x00, 0x01, 'a'}, // long forms of varints
		{0x00, 0x00}, {0x07}, {0x0e}, {0x0a}, {0x0a, 0x05, 'a'}, {0x48}, {0x48, 0x80},
		append(bytes.Repeat([]byte{0xff}, 9), 0x01), append([]byte{0x70}, append(bytes.Repeat([]byte{0xff}, 9), 0x01)...),
		append([]byte{0x70}, append(bytes.Repeat([]byte{0xff}, 9), 0x02)...),
		protowire.AppendVarint(nil, uint64(protowire.MaxValidNumber)<<3), protowire.AppendVarint(nil, uint64(protowire.MaxValidNumber+1)<<3),
		protowire.AppendVarint(nil, 1<<35|2),
	}
	for num := range protowire.Number(26) {
		if num > 0 {
			cases = append(cases, text(num, bad), text(num, "ok"), varint(num, 1<<33+5), text(num, ""))
		}
	}
	return cases
}

func TestScanMsgIsUnmarshal(t *testing.T) {
	for i, b := range msgCases(t) {
		t.Run(fmt.Sprint(i), func(t *testing.T) { checkScan(t, b) })
	}
	full := marshal(t, fullMsg())
	for n := range full {
		checkScan(t, full[:n])
	}
}

func TestAtUserIDsStops(t *testing.T) {
	var m Msg
	if err := ScanMsg(marshal(t, fullMsg()), &m); err != nil {
		t.Fatal(err)
	}
	for id := range m.AtUserIDs {
		if string(id) != "carol" {
			t.Fatalf("%q after the loop ended", id)
		}
		break
	}
}

func FuzzScanMsg(f *testing.F) {
	for _, b := range msgCases(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkScan(t, b) })
}

func TestServerFieldsWin(t *testing.T) {
	for off := Options(0); off < optionsEnd; off++ {
		client := fullMsg()
		f := ServerFields{Seq: 1 << 40, SendTime: 1726312345999, ServerMsgID: "ours", Status: 2, SenderPlatformID: 3, Off: off}
		if off%2 == 0 {
			f = ServerFields{Off: off}
		}
		want := proto.Clone(client).(*sdkws.MsgData)
		want.Seq, want.SendTime, want.ServerMsgID, want.Status, want.SenderPlatformID = f.Seq, f.SendTime, f.ServerMsgID, f.Status, f.SenderPlatformID
		for i, key := range optionKeys {
			if off&(1<<i) != 0 {
				want.Options[key] = false
			}
		}
		b := AppendServerFields(marshal(t, client), &f)
		var got sdkws.MsgData
		if err := proto.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, want) {
			t.Fatalf("got  %v\nwant %v", &got, want)
		}
		checkScan(t, b)
	}
}

func TestNotificationContent(t *testing.T) {
	tips := &sdkws.UserInfoUpdatedTips{UserID: `a<b>"&`}
	b, err := NotificationContent(tips)
	if err != nil {
		t.Fatal(err)
	}
	var outer struct{ Detail string }
	var got sdkws.UserInfoUpdatedTips
	if err := json.Unmarshal(b, &outer); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(outer.Detail), &got); err != nil {
		t.Fatal(err)
	}
	if got.UserID != tips.UserID || !strings.HasPrefix(string(b), `{"detail":"`) {
		t.Fatalf("%s", b)
	}
	if _, err := NotificationContent(make(chan int)); err == nil {
		t.Fatal("a channel has no JSON form")
	}
}
