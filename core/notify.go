package core

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// noticeRule says how a type of notification travels (contract §5.2, §5.3).
type noticeRule struct {
	reliable    bool // stored with a seq of the n_ conversation; else only for who is online
	asMessage   bool // also appears as a stored message of the chat
	offlinePush bool
	// first: told before that message. A client that gets the message first looks
	// the group up to name its new chat, and then does not report that it joined.
	first bool
}

// noticeRules are OpenIM's defaults. A type that is not listed is online only.
var noticeRules = map[int32]noticeRule{
	im.NotifyFriendApproved:    {asMessage: true, offlinePush: true},
	im.NotifyFriendAdded:       {asMessage: true},
	im.NotifyFriendRejected:    {offlinePush: true},
	im.NotifyFriendApplied:     {offlinePush: true},
	im.NotifyGroupCreated:      {asMessage: true, first: true},
	im.NotifyGroupApplied:      {offlinePush: true},
	im.NotifyMemberQuit:        {asMessage: true},
	im.NotifyGroupAccepted:     {offlinePush: true},
	im.NotifyGroupRejected:     {offlinePush: true},
	im.NotifyGroupTransferred:  {asMessage: true},
	im.NotifyMemberKicked:      {asMessage: true},
	im.NotifyMemberInvited:     {asMessage: true, first: true},
	im.NotifyMemberEnter:       {asMessage: true, first: true},
	im.NotifyGroupDismissed:    {asMessage: true},
	im.NotifyMemberMuted:       {asMessage: true},
	im.NotifyMemberUnmuted:     {asMessage: true},
	im.NotifyGroupMuted:        {asMessage: true},
	im.NotifyGroupUnmuted:      {asMessage: true},
	im.NotifyGroupAnnouncement: {asMessage: true},
	im.NotifyGroupName:         {asMessage: true},
	im.NotifyPrivateChat:       {asMessage: true},
	im.NotifyRevoke:            {reliable: true},
	im.NotifyDeleteMsgs:        {reliable: true},
	im.NotifyHasRead:           {reliable: true},
}

// notice is a notification to be sent: a fact that clients' lists or messages
// changed, as JSON of one of the sdkws …Tips messages.
type notice struct {
	kind   int32 // content type
	from   string
	to     string // a user, or
	group  string // a group
	detail any
	rule   *noticeRule // nil: as in noticeRules
	trace  string      // operationID
	extra  []string    // users who get it although they are not in the group
}

// noticeOptions is the options map of a notification: every key is written,
// because an absent key means true.
func noticeOptions(r noticeRule) map[string]bool {
	return map[string]bool{
		im.OptHistory: r.reliable, im.OptPersistent: r.reliable, im.OptOfflinePush: r.offlinePush && !r.asMessage,
		im.OptUnreadCount: false, im.OptConversationUpdate: false, im.OptSenderConversationUpdate: false,
		im.OptSenderSync: true, im.OptNotPrivate: false, im.OptIsNotNotification: false, im.OptIsSendMsg: r.asMessage,
	}
}

// notify adds n to the transaction: after the change it tells of, in the same
// commit. A notification that is also a chat message (asMessage) makes that
// message too; for a pair the caller holds both users' stripes.
func (t *tx) notify(n notice) error {
	rule := noticeRules[n.kind]
	if n.rule != nil {
		rule = *n.rule
	}
	content, err := wire.NotificationContent(n.detail)
	if err != nil {
		return err
	}
	d := &sdkws.MsgData{
		SendID: n.from, RecvID: n.to, GroupID: n.group, SessionType: im.SingleChat, MsgFrom: im.MsgFromSystem,
		ContentType: n.kind, Content: content, CreateTime: t.c.nowMS(),
	}
	if n.group != "" {
		d.SessionType, d.RecvID = im.GroupChat, n.group
	}
	kinds := []map[string]bool{noticeOptions(rule)}
	if rule.asMessage {
		kinds = append(kinds, map[string]bool{im.OptOfflinePush: rule.offlinePush, im.OptUnreadCount: true})
		if !rule.first {
			slices.Reverse(kinds)
		}
	}
	for _, d.Options = range kinds {
		if err := t.sendOwn(d, n); err != nil {
			return err
		}
	}
	return nil
}

// sendOwn adds a message that the server made. It has no resends, so no dedup key.
func (t *tx) sendOwn(d *sdkws.MsgData, n notice) error {
	d.ClientMsgID = t.c.newID()
	body, err := proto.Marshal(d)
	if err != nil {
		return err
	}
	m, err := newMessage(body)
	if err != nil {
		return err
	}
	m.trace = n.trace
	t.address(m)
	m.to = append(m.to, n.extra...)
	m.key = ""
	if m.stored && m.readOwn && d.SessionType == im.SingleChat {
		if err := t.pairRows(d.SendID, d.RecvID); err != nil {
			return err
		}
	}
	t.send(m)
	return nil
}

// address sets which conversation m belongs to, whether it is stored, and who
// gets it, from its sender, receiver, session type and options.
func (t *tx) address(m *message) {
	off := m.off()
	notification := off&wire.OptIsNotNotification != 0
	m.stored = off&wire.OptHistory == 0
	m.readOwn = !notification
	if m.sender != string(m.head.SendID) {
		m.sender = string(m.head.SendID)
	}
	if m.head.SessionType == im.GroupChat {
		group := string(m.head.GroupID)
		m.toGroup = group
		m.to = append(m.to, m.sender)
		m.conv, m.rec = im.GroupID(group), conversationRecord{kind: kindGroup, a: group}
		if notification {
			m.conv, m.rec = im.NotifyGroupID(group), conversationRecord{kind: kindNotice, a: group}
		}
		return
	}
	m.receiver = string(m.head.RecvID)
	m.rec = pairRecord(m.sender, m.receiver)
	m.to = append(m.to, m.receiver)
	if m.sender != m.receiver && off&wire.OptSenderSync == 0 {
		m.to = append(m.to, m.sender)
	}
	switch {
	case notification:
		m.conv = im.NotifyPairID(m.sender, m.receiver)
	case m.head.SessionType == im.NotificationChat:
		m.conv = im.SystemID(m.sender, m.receiver)
	default:
		m.conv = im.SingleID(m.sender, m.receiver)
	}
}
