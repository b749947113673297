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

	NotifyFriendApproved    = 1201
	NotifyFriendRejected    = 1202
	NotifyFriendApplied     = 1203
	NotifyFriendAdded       = 1204
	NotifyFriendDeleted     = 1205
	NotifyFriendRemark      = 1206
	NotifyBlackAdded        = 1207
	NotifyBlackDeleted      = 1208
	NotifyFriendInfoUpdated = 1209
	NotifyFriendsUpdated    = 1210

	NotifyGroupCreated      = 1501
	NotifyGroupInfoSet      = 1502
	NotifyGroupApplied      = 1503
	NotifyMemberQuit        = 1504
	NotifyGroupAccepted     = 1505
	NotifyGroupRejected     = 1506
	NotifyGroupTransferred  = 1507
	NotifyMemberKicked      = 1508
	NotifyMemberInvited     = 1509
	NotifyMemberEnter       = 1510
	NotifyGroupDismissed    = 1511
	NotifyMemberMuted       = 1512
	NotifyMemberUnmuted     = 1513
	NotifyGroupMuted        = 1514
	NotifyGroupUnmuted      = 1515
	NotifyMemberInfoSet     = 1516
	NotifyMemberSetAdmin    = 1517
	NotifyMemberSetOrdinary = 1518
	NotifyGroupAnnouncement = 1519
	NotifyGroupName         = 1520

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
