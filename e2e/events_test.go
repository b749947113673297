package e2e

import (
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/openimsdk/openim-sdk-core/v3/sdk_struct"
)

// event is one callback of the SDK: the method's name and its argument as text.
type event struct {
	name string
	arg  string
	at   time.Time
}

// recorder implements every listener of the SDK and keeps what it was told, in
// the order of the calls.
type recorder struct {
	mu     sync.Mutex
	events []event // guarded by mu
}

func (r *recorder) add(name, arg string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event{name, arg, time.Now()})
}

// all returns the events of one of the names so far.
func (r *recorder) all(names ...string) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []event
	for _, e := range r.events {
		for _, n := range names {
			if e.name == n {
				out = append(out, e)
			}
		}
	}
	return out
}

func (r *recorder) count(names ...string) int { return len(r.all(names...)) }

// messages returns the messages received so far by the callback of that name.
func (r *recorder) messages(name string) []sdk_struct.MsgStruct {
	events := r.all(name)
	out := make([]sdk_struct.MsgStruct, len(events))
	for i, e := range events {
		if err := json.Unmarshal([]byte(e.arg), &out[i]); err != nil {
			out[i].Content = "undecodable: " + e.arg
		}
	}
	return out
}

// The callbacks' names, as tests use them.
const (
	onConnecting     = "OnConnecting"
	onConnectSuccess = "OnConnectSuccess"
	onConnectFailed  = "OnConnectFailed"
	onKicked         = "OnKickedOffline"
	onTokenExpired   = "OnUserTokenExpired"
	onTokenInvalid   = "OnUserTokenInvalid"
	onSyncStart      = "OnSyncServerStart"
	onSyncFinish     = "OnSyncServerFinish"
	onSyncFailed     = "OnSyncServerFailed"
	onUnreadTotal    = "OnTotalUnreadMessageCountChanged"
	onInputStatus    = "OnConversationUserInputStatusChanged"
	onMessage        = "OnRecvNewMessage"
	onMessages       = "OnRecvNewMessages"
	onOnlineOnly     = "OnRecvOnlineOnlyMessage"
	onReceipt        = "OnRecvC2CReadReceipt"
	onRevoked        = "OnNewRecvMessageRevoked"
	onUserStatus     = "OnUserStatusChanged"
	onSelfInfo       = "OnSelfInfoUpdated"
	onBusiness       = "OnRecvCustomBusinessMessage"
)

func (r *recorder) OnConnecting()     { r.add(onConnecting, "") }
func (r *recorder) OnConnectSuccess() { r.add(onConnectSuccess, "") }
func (r *recorder) OnConnectFailed(c int32, m string) {
	r.add(onConnectFailed, strconv.Itoa(int(c))+" "+m)
}
func (r *recorder) OnKickedOffline()               { r.add(onKicked, "") }
func (r *recorder) OnUserTokenExpired()            { r.add(onTokenExpired, "") }
func (r *recorder) OnUserTokenInvalid(m string)    { r.add(onTokenInvalid, m) }
func (r *recorder) OnSyncServerStart(first bool)   { r.add(onSyncStart, strconv.FormatBool(first)) }
func (r *recorder) OnSyncServerFinish(first bool)  { r.add(onSyncFinish, strconv.FormatBool(first)) }
func (r *recorder) OnSyncServerFailed(first bool)  { r.add(onSyncFailed, strconv.FormatBool(first)) }
func (r *recorder) OnSyncServerProgress(p int)     { r.add("OnSyncServerProgress", strconv.Itoa(p)) }
func (r *recorder) OnNewConversation(s string)     { r.add("OnNewConversation", s) }
func (r *recorder) OnConversationChanged(s string) { r.add("OnConversationChanged", s) }
func (r *recorder) OnTotalUnreadMessageCountChanged(n int32) {
	r.add(onUnreadTotal, strconv.Itoa(int(n)))
}
func (r *recorder) OnConversationUserInputStatusChanged(s string) { r.add(onInputStatus, s) }
func (r *recorder) OnRecvNewMessage(s string)                     { r.add(onMessage, s) }
func (r *recorder) OnRecvC2CReadReceipt(s string)                 { r.add(onReceipt, s) }
func (r *recorder) OnNewRecvMessageRevoked(s string)              { r.add(onRevoked, s) }
func (r *recorder) OnRecvOfflineNewMessage(s string)              { r.add("OnRecvOfflineNewMessage", s) }
func (r *recorder) OnMsgDeleted(s string)                         { r.add("OnMsgDeleted", s) }
func (r *recorder) OnRecvOnlineOnlyMessage(s string)              { r.add(onOnlineOnly, s) }
func (r *recorder) OnSelfInfoUpdated(s string)                    { r.add(onSelfInfo, s) }
func (r *recorder) OnUserStatusChanged(s string)                  { r.add(onUserStatus, s) }
func (r *recorder) OnUserCommandAdd(s string)                     { r.add("OnUserCommandAdd", s) }
func (r *recorder) OnUserCommandDelete(s string)                  { r.add("OnUserCommandDelete", s) }
func (r *recorder) OnUserCommandUpdate(s string)                  { r.add("OnUserCommandUpdate", s) }
func (r *recorder) OnFriendApplicationAdded(s string)             { r.add("OnFriendApplicationAdded", s) }
func (r *recorder) OnFriendApplicationDeleted(s string)           { r.add("OnFriendApplicationDeleted", s) }
func (r *recorder) OnFriendApplicationAccepted(s string)          { r.add("OnFriendApplicationAccepted", s) }
func (r *recorder) OnFriendApplicationRejected(s string)          { r.add("OnFriendApplicationRejected", s) }
func (r *recorder) OnFriendAdded(s string)                        { r.add("OnFriendAdded", s) }
func (r *recorder) OnFriendDeleted(s string)                      { r.add("OnFriendDeleted", s) }
func (r *recorder) OnFriendInfoChanged(s string)                  { r.add("OnFriendInfoChanged", s) }
func (r *recorder) OnBlackAdded(s string)                         { r.add("OnBlackAdded", s) }
func (r *recorder) OnBlackDeleted(s string)                       { r.add("OnBlackDeleted", s) }
func (r *recorder) OnJoinedGroupAdded(s string)                   { r.add("OnJoinedGroupAdded", s) }
func (r *recorder) OnJoinedGroupDeleted(s string)                 { r.add("OnJoinedGroupDeleted", s) }
func (r *recorder) OnGroupMemberAdded(s string)                   { r.add("OnGroupMemberAdded", s) }
func (r *recorder) OnGroupMemberDeleted(s string)                 { r.add("OnGroupMemberDeleted", s) }
func (r *recorder) OnGroupApplicationAdded(s string)              { r.add("OnGroupApplicationAdded", s) }
func (r *recorder) OnGroupApplicationDeleted(s string)            { r.add("OnGroupApplicationDeleted", s) }
func (r *recorder) OnGroupInfoChanged(s string)                   { r.add("OnGroupInfoChanged", s) }
func (r *recorder) OnGroupDismissed(s string)                     { r.add("OnGroupDismissed", s) }
func (r *recorder) OnGroupMemberInfoChanged(s string)             { r.add("OnGroupMemberInfoChanged", s) }
func (r *recorder) OnGroupApplicationAccepted(s string)           { r.add("OnGroupApplicationAccepted", s) }
func (r *recorder) OnGroupApplicationRejected(s string)           { r.add("OnGroupApplicationRejected", s) }
func (r *recorder) OnRecvCustomBusinessMessage(s string)          { r.add(onBusiness, s) }

// batches is the listener for messages by list. An SDK that has one does not call
// OnRecvNewMessage, so it is apart from the others.
type batches struct{ *recorder }

func (b batches) OnRecvNewMessages(s string)        { b.add(onMessages, s) }
func (b batches) OnRecvOfflineNewMessages(s string) { b.add("OnRecvOfflineNewMessages", s) }
