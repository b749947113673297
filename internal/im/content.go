package im

// Content types of messages and notifications, by OpenIM's numbers
// (sdk-websocket contract §5). Types below 1000 are users' messages, opaque to
// the server except where a rule names them.
const (
	ContentText             = 101
	ContentAtText           = 106
	ContentCustom           = 110
	ContentTyping           = 113
	ContentQuote            = 114
	ContentOANotification   = 1400
	ContentNotificationBase = 1000

	NotifyUserInfoUpdated     = 1303
	NotifyCommandAdd          = 1305
	NotifyCommandDelete       = 1306
	NotifyCommandUpdate       = 1307
	NotifyConversationChanged = 1300
	NotifyPrivateChat         = 1701
	NotifyClearConversation   = 1703
	NotifyBusiness            = 2001
	NotifyRevoke              = 2101
	NotifyDeleteMsgs          = 2102
	NotifyHasRead             = 2200
)

// Message states (MsgData.status).
const (
	MsgStatusSending = 1
	MsgStatusSent    = 2
	MsgStatusFailed  = 3
	MsgStatusDeleted = 4
)

// Origins (MsgData.msgFrom).
const (
	MsgFromUser   = 100
	MsgFromSystem = 200
)

// Option keys of MsgData.options. An absent key means true (contract §3.8).
const (
	OptHistory                  = "history"
	OptPersistent               = "persistent"
	OptOfflinePush              = "offlinePush"
	OptUnreadCount              = "unreadCount"
	OptConversationUpdate       = "conversationUpdate"
	OptSenderConversationUpdate = "senderConversationUpdate"
	OptSenderSync               = "senderSync"
	OptNotPrivate               = "notPrivate"
	OptIsNotNotification        = "isNotNotification"
	OptIsSendMsg                = "isSendMsg"
)

// How far a user wants to be disturbed (recvMsgOpt, globalRecvMsgOpt).
const (
	RecvNormal      = 0
	RecvNothing     = 1 // do not deliver
	RecvWithoutPush = 2 // deliver to live sessions, no offline push
)

// AtAllTag in an at-list addresses every member of a group.
const AtAllTag = "AtAllTag"
