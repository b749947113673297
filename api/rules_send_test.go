package api

import (
	"fmt"
	"strings"
)

// sending is a call of send_msg; rest is added to the body.
func sending(rule, rest, want string) line {
	return line{rule, "v2 /manager/send_msg admin", `{` + rest + `}`, want}
}

const (
	aliceToCarol = `"sendID":"alice","recvID":"carol","sessionType":1,`
	hi           = `"contentType":101,"content":{"text":"hi"}`
	sent         = `200 0 | "errMsg":"","sendTime":1 | "msgID":"`
	unsentWant   = ` | "sendTime":0,"MsgID":""`
	failedWant   = ` | "sendTime":0,"msgID":""`
)

var ruleMessages = []line{
	sending("text", aliceToCarol+hi, sent+` | !"MsgID"`),
	sending("text as v3 writes it", aliceToCarol+`"contentType":101,"content":{"content":"hi"}`, sent),
	{"stored as v3 reads it: {\"content\":\"hi\"}", "v3 /msg/pull_msg_by_seq carol", `{"userID":"carol","seqRanges":[{"conversationID":"si_alice_carol","begin":1,"end":2,"num":10}]}`, `200 0 | "content":"eyJjb250ZW50IjoiaGkifQ==" | "senderNickname":"nick alice" | "msgFrom":200 | "seq":2`},
	{"on the other port", "v2@10002 /manager/send_msg admin", `{` + aliceToCarol + hi + `}`, sent},
	sending("names, face and platform as told", aliceToCarol+`"senderNickName":"S","senderFaceURL":"F","senderPlatformID":5,`+hi, sent),
	{"as told", "v3 /msg/pull_msg_by_seq carol", `{"userID":"carol","seqRanges":[{"conversationID":"si_alice_carol","begin":5,"end":5,"num":10}]}`, `200 0 | "senderNickname":"S","senderFaceURL":"F" | "senderPlatformID":5`},
	sending("to himself", `"sendID":"carol","recvID":"carol","sessionType":1,`+hi, sent),
	sending("to nobody registered", `"sendID":"alice","recvID":"later","sessionType":1,`+hi, sent),
	sending("from nobody registered", `"sendID":"robot","recvID":"carol","sessionType":1,`+hi, sent),
	sending("push info", aliceToCarol+`"offlinePushInfo":{"title":"t","desc":"d","ex":"e","iOSPushSound":"s","iOSBadgeCount":true},"notOfflinePush":true,`+hi, sent),
	{"carried", "v3 /msg/pull_msg_by_seq carol", `{"userID":"carol","seqRanges":[{"conversationID":"si_alice_carol","begin":6,"end":6,"num":10}]}`, `200 0 | "title":"t","desc":"d","ex":"e","iOSPushSound":"s","iOSBadgeCount":true | "offlinePush":false`},
	sending("for who is online", aliceToCarol+`"isOnlineOnly":true,`+hi, sent),
	{"not stored", "v3 /msg/newest_seq carol", `{"userID":"carol"}`, `200 0 | "si_alice_carol":6`},
	{"sibling with ms", "v2 /msg/manage_send_msg admin", `{` + aliceToCarol + hi + `}`, `200 0 | "data":{"serverMsgID":" | "clientMsgID":" | "sendTime":1 | !msgID`},

	sending("no sendID", `"recvID":"carol","sessionType":1,`+hi, `400 400 | 'SendID' | !"MsgID"`),
	sending("no content", aliceToCarol+`"contentType":101`, `400 400 | 'Content'`),
	sending("content null", aliceToCarol+`"contentType":101,"content":null`, `400 400 | 'Content'`),
	sending("content a text", aliceToCarol+`"contentType":101,"content":"hi"`, `400 400 | cannot unmarshal`),
	sending("no contentType", aliceToCarol+`"content":{"text":"hi"}`, `400 400 | 'ContentType'`),
	sending("no sessionType", `"sendID":"alice","recvID":"carol",`+hi, `400 400 | 'SessionType'`),
	sending("senderPlatformID 11", aliceToCarol+`"senderPlatformID":11,`+hi, `400 400 | 'SenderPlatformID' | 'max'`),
	{"lost token", "v2 /manager/send_msg garbage", `{` + aliceToCarol + hi + `}`, `400 400 | parse token failed` + unsentWant},
	{"no token", "v2 /manager/send_msg", `{` + aliceToCarol + hi + `}`, `400 400 | parse token failed` + unsentWant},
	{"expired token", "v2 /manager/send_msg sampleAdmin", `{` + aliceToCarol + hi + `}`, `400 400 | parse token failed` + unsentWant},
	{"no administrator", "v2 /manager/send_msg alice", `{` + aliceToCarol + hi + `}`, `400 400 | not authorized` + unsentWant},
	{"no administrator, before contentType", "v2 /manager/send_msg alice", `{` + aliceToCarol + `"contentType":999,"content":{}}`, `400 400 | not authorized`},
	{"sibling, no administrator", "v2 /msg/manage_send_msg alice", `{` + aliceToCarol + hi + `}`, `200 801 | no permission | "data":{"serverMsgID":"","clientMsgID":"","sendTime":0}`},
	sending("contentType 100", aliceToCarol+`"contentType":100,"content":{}`, `400 404 | contentType err | !"MsgID"`),
	sending("contentType 121", aliceToCarol+`"contentType":121,"content":{}`, `400 404 | contentType err`),
	sending("contentType 1401", aliceToCarol+`"contentType":1401,"content":{}`, `400 404 | contentType err`),
	sending("text a number", aliceToCarol+`"contentType":101,"content":{"text":123}`, `400 401 | cannot unmarshal`),
	sending("text missing", aliceToCarol+`"contentType":101,"content":{}`, `400 403 | 'Text'`),
	sending("text empty", aliceToCarol+`"contentType":101,"content":{"text":""}`, `400 403 | 'Text'`),
	sending("content before receiver", `"sendID":"alice","sessionType":1,"contentType":101,"content":{}`, `400 403`),
	sending("no receiver", `"sendID":"alice","sessionType":1,`+hi, `400 405 | recvID is a null string`+unsentWant),
	sending("no group", `"sendID":"alice","sessionType":2,`+hi, `400 405 | groupID is a null string`+unsentWant),
	sending("groupID is no receiver", `"sendID":"alice","groupID":"g1","sessionType":1,`+hi, `400 405 | recvID is a null string`),
	sending("sessionType 9", `"sendID":"alice","recvID":"carol","sessionType":9,`+hi, `200 203 | unknown sessionType`+failedWant),
	sending("blacklisted", `"sendID":"bob","recvID":"alice","sessionType":1,`+hi, `200 600 | in black list`+failedWant),
	sending("not the other way", `"sendID":"alice","recvID":"bob","sessionType":1,`+hi, sent),
	sending("sessionType 4", `"sendID":"openIM123456","recvID":"bob","sessionType":4,`+hi, sent),

	sending("group by recvID, sessionType 2", `"sendID":"alice","recvID":"g1","sessionType":2,`+hi, sent),
	sending("group by groupID", `"sendID":"alice","groupID":"g1","sessionType":2,`+hi, sent),
	sending("groupID before recvID", `"sendID":"alice","groupID":"g1","recvID":"nowhere","sessionType":3,`+hi, sent),
	{"v3 sees 3", "v3 /msg/pull_msg_by_seq carol", `{"userID":"carol","seqRanges":[{"conversationID":"sg_g1","begin":1,"end":99,"num":99}]}`, `200 0 | "sessionType":3 | !"sessionType":2`},
	sending("unknown group", `"sendID":"alice","recvID":"nowhere","sessionType":2,`+hi, `200 201 | record not found`+failedWant),
	sending("dismissed group", `"sendID":"alice","recvID":"g2","sessionType":2,`+hi, `200 201`+failedWant),
	sending("not in the group", `"sendID":"gone","recvID":"g1","sessionType":2,`+hi, `200 202 | you are not in group`+failedWant),
	sending("kicked from the group", `"sendID":"dave","recvID":"g1","sessionType":2,`+hi, `200 202 | you are not in group`),
	sending("an administrator is never a stranger", `"sendID":"openIM123456","recvID":"g1","sessionType":2,`+hi, sent),
	sending("forceList", `"sendID":"alice","groupID":"g7","sessionType":2,"forceList":["bob","122","bob"],`+hi, sent),
	sending("at list", `"sendID":"alice","groupID":"g7","sessionType":2,"forceList":["bob"],"contentType":106,"content":{"text":"@","atUserList":["AtAllTag"],"isAtSelf":false}`, sent),
	{"who is addressed", "v3 /msg/pull_msg_by_seq bob", `{"userID":"bob","seqRanges":[{"conversationID":"sg_g7","begin":1,"end":99,"num":99}]}`, `200 0 | "atUserIDList":["bob","122"] | "atUserIDList":["bob","AtAllTag"]`},
	sending("forceList of 1001", `"sendID":"alice","groupID":"g7","sessionType":2,"forceList":`+listOf(1001)+`,`+hi, `400 400 | 'ForceList' | 'lte'`),

	sending("v2 notice", `"sendID":"alice","recvID":"bob","sessionType":1,"contentType":1400,"content":{"notificationName":"n","notificationType":1,"text":"t"}`, sent),
	{"sessionType of a notice is 4", "v3 /msg/newest_seq bob", `{"userID":"bob"}`, `200 0 | "sn_alice_bob":1`},
	{"v3 notice of an ordinary user", "v3 /msg/send_msg admin", `{"sendID":"alice","recvID":"bob","sessionType":1,"contentType":1400,"content":{"notificationName":"n","notificationType":1,"text":"t"}}`, `200 1002 | NoPermissionError`},
	{"v3 notice of nobody", "v3 /msg/send_msg admin", `{"sendID":"nobody","recvID":"bob","sessionType":1,"contentType":1400,"content":{"notificationName":"n","notificationType":1,"text":"t"}}`, `200 1101 | UserIDNotFoundError`},
	{"v3 notice of an administrator", "v3 /msg/send_msg admin", `{"sendID":"openIMAdmin","recvID":"bob","sessionType":1,"contentType":1400,"content":{"notificationName":"n","notificationType":1,"text":"t"}}`, `200 0`},
	{"v3 to nobody registered", "v3 /msg/send_msg admin", `{"sendID":"alice","recvID":"nobody","sessionType":1,"contentType":101,"content":{"content":"x"}}`, `200 1004`},
	sending("revoke what is not there", aliceToCarol+`"contentType":111,"content":{"revokeMsgClientID":"x"}`, `200 201 | record not found`+failedWant),
	sending("receipt for what is not there", aliceToCarol+`"contentType":112,"content":{"msgIDList":["x"]}`, sent),
	sending("receipt in a group", `"sendID":"carol","recvID":"g1","sessionType":2,"contentType":116,"content":{"msgIDList":[]}`, sent),
}

// ruleContents are the content types: what each accepts and refuses.
var ruleContents = func() (lines []line) {
	for _, c := range []struct {
		kind                int
		good, wrong, absent string // absent: lacks what is required, if anything is
	}{
		{102, `{"sourcePath":"p","sourcePicture":{"url":"u"},"bigPicture":{},"snapshotPicture":{}}`, `{"sourcePicture":"u"}`, ``},
		{103, `{"uuid":"u","soundPath":"p","sourceUrl":"s","dataSize":1,"duration":2}`, `{"duration":"2"}`, ``},
		{104, `{"videoPath":"p","videoUrl":"u","videoSize":1,"snapshotWidth":3}`, `{"videoUrl":1}`, ``},
		{105, `{"filePath":"p","fileName":"n","fileSize":9007199254740993}`, `{"fileName":{}}`, ``},
		{106, `{"text":"@","atUserList":["bob"],"isAtSelf":true}`, `{"atUserList":"bob"}`, ``},
		{107, `{"title":"t","abstractList":["a"],"multiMessage":[]}`, `{"title":1}`, ``},
		{108, `{"userID":"bob","anything":[1]}`, ``, ``},
		{109, `{"description":"d","longitude":1.5,"latitude":-2}`, `{"longitude":"1.5"}`, ``},
		{110, `{"data":"","description":"","extension":""}`, `{"data":{}}`, `{"description":"d"}`},
		{113, `{"msgTips":"yes"}`, `{"msgTips":1}`, ``},
		{114, `{"text":"t","quoteMessage":{}}`, `{"quoteMessage":"m"}`, ``},
		{115, `{"index":3,"data":"d"}`, `{"index":"3"}`, ``},
		{117, `{"text":"t","messageEntityList":[]}`, `{"text":[]}`, ``},
		{119, `{"data":"d"}`, `{"extension":1,"data":""}`, `{}`},
		{120, `{"data":"d"}`, `{"description":1,"data":""}`, `{}`},
		{1400, `{"notificationName":"n","notificationType":1,"text":"t","mixType":1,"pictureElem":{}}`, `{"notificationName":1}`, `{"notificationName":"n","text":"t"}`},
		{111, ``, `{"revokeMsgClientID":1}`, `{}`},
		{112, `{"msgIDList":[]}`, `{"msgIDList":"x"}`, `{}`},
		{116, `{"msgIDList":[]}`, `{"msgIDList":[1]}`, `{}`},
		{118, ``, `{"clientMsgID":1}`, `{"revokerID":"alice"}`},
	} {
		for what, tc := range map[string][2]string{"accepted": {c.good, sent}, "wrong type": {c.wrong, `400 401 | !"MsgID"`}, "missing": {c.absent, `400 403 | !"MsgID"`}} {
			if tc[0] != "" {
				lines = append(lines, sending(fmt.Sprintf("content %d %s", c.kind, what), fmt.Sprintf(`%s"contentType":%d,"content":%s`, aliceToCarol, c.kind, tc[0]), tc[1]))
			}
		}
	}
	return lines
}()

var ruleDeletion = []line{
	{"delete by a user", "v2 /manager/delete_user alice", `{"deleteUidList":["gone","bob"]}`, `200 801 | no permission | "failedUidList":["gone","bob"]`},
	{"delete", "v2 /manager/delete_user admin", `{"deleteUidList":["gone","nobody","openIM123456","gone"]}`, `200 0 | "failedUidList":["nobody","openIM123456","gone"]`},
	{"delete again", "v2 /manager/delete_user admin", `{"deleteUidList":["gone"]}`, `200 0 | "failedUidList":["gone"]`},
	{"delete alias deleteUserIDList", "v2 /manager/delete_user admin", `{"deleteUserIDList":["r2"]}`, `200 0 | "failedUidList":[]`},
	{"delete alias userIDList", "v2 /manager/delete_user admin", `{"userIDList":["r3"]}`, `200 0 | "failedUidList":[]`},
	{"delete nobody", "v2 /manager/delete_user admin", `{"deleteUidList":[]}`, `200 0 | "failedUidList":[]`},
	{"delete without list", "v2 /manager/delete_user admin", `{}`, `400 400 | 'DeleteUidList'`},
	{"delete 300", "v2 /manager/delete_user admin", `{"deleteUidList":` + listOf(300) + `}`, `200 0 | "x299"`},
	{"the deleted one's token", "v2 /friend/add_blacklist gone", `{"toUserID":"bob"}`, `400 500 | GetUserIDFromToken failed`},
	{"no longer registered", "v2 /manager/account_check admin", `{"userIDList":["gone"]}`, `200 0 | unregistered`},
	{"registered again", "v2 /auth/user_register", `{"secret":"tuoyun","platform":1,"userID":"gone","nickname":"new"}`, `200 0`},
	{"without the old profile", "v2 /auth/user_register", `{"secret":"tuoyun","platform":1,"userID":"r3"}`, `200 0`},
	{"a blank one", "v2 /user/get_user_info admin", `{"uidList":["r3"]}`, `200 0 | "name":"","icon":"","gender":0,"mobile":""`},
	{"the owner of a group", "v2 /manager/delete_user admin", `{"deleteUidList":["alice"]}`, `200 0 | "failedUidList":[]`},
	{"the manager inherits", "v3 /group/get_groups_info admin", `{"groupIDs":["g1"]}`, `200 0 | "ownerUserID":"carol" | "memberCount":2`},
	{"off the friend lists", "v3 /friend/is_friend admin", `{"userID1":"bob","userID2":"alice"}`, `200 0 | "inUser1Friends":false,"inUser2Friends":false`},
	{"closed sessions", "v2 /manager/delete_user admin", `{"deleteUidList":["online"]}`, `200 0 | "failedUidList":[]`},
	{"nested too deep", "raw@10000 /manager/account_check", strings.Repeat(`{"a":`, 5000), `400 400`},
}
