package api

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/core"
	"gannet/internal/im"
)

// unsent is beside the errors of send_msg that v2 servers found before sending;
// the capital M is theirs.
var unsent = members{{"sendTime", 0}, {"MsgID", ""}}

// sendRefused is an error that send_msg answers with HTTP 400.
func sendRefused(code int, text string, more members) *failure {
	return &failure{status: http.StatusBadRequest, code: code, text: text, more: more}
}

// Codes of send_msg's own errors.
const (
	v2BadContent     = 401
	v2ContentMissing = 403
	v2ContentType    = 404
	v2NoReceiver     = 405
)

// v2Message is the body of send_msg.
type v2Message struct {
	msg     *sdkws.MsgData // without content
	content json.RawMessage
	target  string // recvID
	force   []string
	online  bool // isOnlineOnly
	quiet   bool // notOfflinePush
}

func readMessage(o *object) *v2Message {
	r := &v2Message{
		msg: &sdkws.MsgData{
			SendID: o.text("sendID"), GroupID: o.text("groupID"),
			SenderNickname: o.text("senderNickname"), SenderFaceURL: o.text("senderFaceURL"),
			SenderPlatformID: o.number("senderPlatformID"), SessionType: o.number("sessionType"),
			ContentType: o.number("contentType"), OfflinePushInfo: readPushInfo(o),
		},
		content: o.object("content"), target: o.text("recvID"), force: o.list("forceList"),
		online: o.truth("isOnlineOnly"), quiet: o.truth("notOfflinePush"),
	}
	o.need("SendID", r.msg.SendID != "")
	o.need("Content", r.content != nil)
	o.need("ContentType", r.msg.ContentType != 0)
	o.need("SessionType", r.msg.SessionType != 0)
	o.between("SenderPlatformID", int64(r.msg.SenderPlatformID), 0, int64(im.PlatformAdmin))
	o.length("ForceList", r.force, atMax)
	return r
}

// sendMsg sends a message in anybody's name; answer words the success.
func (v v2) sendMsg(answer func(*msg.SendMsgResp) members) func(*object) spoken {
	return func(o *object) spoken {
		r := readMessage(o)
		return func(from core.Caller) (members, error) {
			content, err := r.complete()
			if err != nil {
				return nil, err
			}
			resp, err := v.deliver(from, r, content)
			if err != nil {
				return nil, sendFailure(err)
			}
			return answer(resp), nil
		}
	}
}

// sendAnswer is the answer of /manager/send_msg: nanoseconds, and the ID that
// clients know the message by.
func sendAnswer(r *msg.SendMsgResp) members {
	return members{{"sendTime", r.SendTime * int64(time.Millisecond)}, {"msgID", r.ClientMsgID}}
}

// manageAnswer is the answer of /msg/manage_send_msg, whose time is in ms.
func manageAnswer(r *msg.SendMsgResp) members {
	return as("data", &sentTimes{r.ServerMsgID, r.ClientMsgID, r.SendTime})
}

type sentTimes struct {
	ServerMsgID string `json:"serverMsgID"`
	ClientMsgID string `json:"clientMsgID"`
	SendTime    int64  `json:"sendTime"`
}

// complete checks the content, fills the message from it, and names its receiver.
// It returns the content's members.
func (r *v2Message) complete() (*object, error) {
	d := r.msg
	readContent, known := v2Contents[d.ContentType]
	if !known {
		return nil, sendRefused(v2ContentType, "contentType err", nil)
	}
	if len(r.content) > contentMax {
		return nil, sendRefused(v2BadContent, "content is too large", nil)
	}
	content, err := parseObject(r.content)
	if err == nil {
		readContent(content)
		err = content.bad
	}
	if err == nil {
		d.Content, err = storedContent(d.ContentType, content, r.content)
	}
	if err != nil {
		return nil, sendRefused(v2BadContent, err.Error(), nil)
	}
	if content.rule != nil {
		return nil, sendRefused(v2ContentMissing, content.rule.text, nil)
	}
	if d.ContentType == im.ContentOANotification {
		d.SessionType = im.NotificationChat
	}
	group := d.GroupID
	d.GroupID = ""
	switch d.SessionType {
	case im.WriteGroupChat, im.GroupChat:
		if group == "" {
			group = r.target
		}
		d.SessionType, d.GroupID = im.GroupChat, group
		d.AtUserIDList = atList(r.force, content.list("atUserList"))
		if group == "" {
			return nil, sendRefused(v2NoReceiver, "groupID is a null string", unsent)
		}
	default:
		d.RecvID = r.target
		if r.target == "" {
			return nil, sendRefused(v2NoReceiver, "recvID is a null string", unsent)
		}
		if d.SessionType != im.SingleChat && d.SessionType != im.NotificationChat {
			return nil, refused(v2SessionType, "unknown sessionType")
		}
	}
	d.Options = r.options()
	return content, nil
}

// atList is the users that a message addresses, each once.
func atList(lists ...[]string) []string {
	var all []string
	for _, id := range slices.Concat(lists...) {
		if id != "" && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

func (r *v2Message) options() map[string]bool {
	off := make(map[string]bool)
	if r.online || r.msg.ContentType == v2CustomForOnline {
		for _, o := range []string{
			im.OptHistory, im.OptPersistent, im.OptSenderSync, im.OptConversationUpdate, im.OptOfflinePush,
		} {
			off[o] = false
		}
	}
	if r.quiet {
		off[im.OptOfflinePush] = false
	}
	if r.msg.ContentType == v2CustomSilent {
		off[im.OptConversationUpdate] = false
	}
	return off
}

// deliver sends the message, or does to older ones what its type means.
func (v v2) deliver(from core.Caller, r *v2Message, content *object) (*msg.SendMsgResp, error) {
	d := r.msg
	switch d.ContentType {
	case v2Revoke, v2RevokeAs:
		return v.revoke(from, d, content.text("clientMsgID", "revokeMsgClientID"))
	case v2ReadSingle, v2ReadGroup:
		return v.markRead(from, d, content.list("msgIDList"))
	}
	return v.core.SendMsgLenient(from, d)
}

func conversationOf(d *sdkws.MsgData) string {
	if d.SessionType == im.GroupChat {
		return im.GroupID(d.GroupID)
	}
	return im.SingleID(d.SendID, d.RecvID)
}

// revoke revokes the message with this clientMsgID.
func (v v2) revoke(from core.Caller, d *sdkws.MsgData, id string) (*msg.SendMsgResp, error) {
	conv := conversationOf(d)
	found, err := v.core.FindMessages(from, conv, []string{id})
	if err != nil {
		return nil, err
	}
	seq, known := found[id]
	if !known {
		return nil, im.ErrRecordNotFound.With("message %s", id)
	}
	if _, err := v.core.RevokeMsg(from, &msg.RevokeMsgReq{ConversationID: conv, Seq: seq, UserID: d.SendID}); err != nil {
		return nil, err
	}
	return acted(), nil
}

// markRead marks the messages with these clientMsgIDs read by the sender of the
// receipt; unknown ones are left out.
func (v v2) markRead(from core.Caller, d *sdkws.MsgData, ids []string) (*msg.SendMsgResp, error) {
	conv := conversationOf(d)
	found, err := v.core.FindMessages(from, conv, ids)
	if err != nil || len(found) == 0 {
		return acted(), err
	}
	req := &msg.MarkMsgsAsReadReq{ConversationID: conv, UserID: d.SendID}
	for _, seq := range found {
		req.Seqs = append(req.Seqs, seq)
	}
	if _, err := v.core.MarkMsgsAsRead(from, req); err != nil {
		return nil, err
	}
	return acted(), nil
}

// acted is the answer to a message that changed older ones and is none itself.
func acted() *msg.SendMsgResp {
	var id [16]byte
	rand.Read(id[:])
	return &msg.SendMsgResp{ClientMsgID: hex.EncodeToString(id[:]), SendTime: time.Now().UnixMilli()}
}

// sendFailure words core's refusals of a message as the v2 dialect does.
func sendFailure(err error) *failure {
	f := explain(err)
	if f.status != http.StatusOK {
		return f
	}
	detail := detailOf(err)
	switch code := codeOf(err); code {
	case im.ErrBlockedByPeer.Code:
		return refused(v2Blocked, "in black list")
	case im.ErrNotPeersFriend.Code:
		return refused(v2NotFriend, "not friend")
	case im.ErrNotInGroup.Code:
		return refused(v2NotInGroup, "you are not in group")
	case im.ErrGroupIDNotFound.Code, im.ErrRecordNotFound.Code:
		return refused(v2GroupMissing, "record not found: "+detail)
	}
	return refused(v2GroupMissing, f.text)
}
