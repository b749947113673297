package core

import (
	"errors"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// Bounds on what a message may carry beside its content.
const (
	clientMsgIDMax = 128 // bytes
	userIDMax      = 64  // bytes

	// messageMax bounds a message's encoded bytes: any message fits into an answer.
	messageMax = answerMax - 4<<10
)

// onlineOnly are the options of a message that is neither stored nor counted.
const onlineOnly = wire.OptHistory | wire.OptPersistent | wire.OptSenderSync | wire.OptConversationUpdate |
	wire.OptSenderConversationUpdate | wire.OptUnreadCount | wire.OptOfflinePush

// sending is what a session's message takes, in one piece of memory.
type sending struct {
	m     message
	t     tx
	reply reply
	to    [2]string
}

// Send takes a message from a session (1003). With nil the answer comes through
// the sink once the message is durable; an error is the caller's to answer.
func (c *Core) Send(from Caller, ref SessionRef, req *wire.Request) error {
	return c.sendFrom(from, ref, req, false)
}

// TrySend is Send for an event loop: it never waits, neither for the disk nor for a
// lock that is held meanwhile. With done false nothing came of it, because deciding
// would take a read of the store, or a turn that is another's: then Send is to be
// called where waiting is allowed. A conversation in use is decided here, as a rule.
func (c *Core) TrySend(from Caller, ref SessionRef, req *wire.Request) (done bool, err error) {
	if c.store.Crowded() {
		return false, nil
	}
	err = c.sendFrom(from, ref, req, true)
	if err == errWait {
		return false, nil
	}
	return true, err
}

// errWait says that a decision that must not wait would have to.
var errWait = errors.New("core: would wait")

func (c *Core) sendFrom(from Caller, ref SessionRef, req *wire.Request, now bool) error {
	s := new(sending)
	m := &s.m
	if err := m.read(req.Data); err != nil {
		return err
	}
	if string(m.head.SendID) != from.UserID {
		return im.ErrNoPermission.With("sendID is not the session's user")
	}
	if m.head.ContentType >= im.ContentNotificationBase {
		return im.ErrArgs.With("contentType %d is the server's", m.head.ContentType)
	}
	if m.head.Off&wire.OptIsNotNotification != 0 {
		return im.ErrArgs.With("notifications are the server's")
	}
	if s := m.head.SessionType; s != im.SingleChat && s != im.GroupChat {
		return im.ErrArgs.With("sessionType %d is not supported", s)
	}
	m.sender, m.platform, m.to = from.UserID, int32(from.Platform), s.to[:0]
	s.reply = reply{ref: ref, msgIncr: req.MsgIncr, operationID: req.OperationID}
	m.reply = &s.reply
	m.size = int64(len(m.body)) + messageOverhead
	if !c.inFlight.try(m.size) {
		c.stats.busy.Add(1)
		return im.ErrBusy.With("too many messages in flight")
	}
	s.t.init(c)
	s.t.now = now
	out, err := c.submit(&s.t, m, from.Admin)
	if err != nil || out != queued {
		c.inFlight.give(m.size)
	}
	if err == nil && out == answered {
		frame := m.reply.append(nil, appendSendResp(nil, m))
		round := []Delivery{{Frame: frame, To: []SessionRef{ref}}}
		if m.data != nil {
			round = append(round, Delivery{Frame: wire.AppendPush(nil, ref.Variant, string(req.OperationID), m.conv, m.data), To: []SessionRef{ref}})
		}
		c.sink.Deliver(round)
	}
	return err
}

// SendMsg takes a message from an administrator (REST send_msg); sender and
// receiver are as the message says. It returns when the message is durable.
func (c *Core) SendMsg(from Caller, req *msg.SendMsgReq) (*msg.SendMsgResp, error) {
	d := req.MsgData
	if d.GetContentType() == im.ContentOANotification {
		u, err := c.user(c.store.Latest(), d.SendID)
		if err != nil {
			return nil, err
		}
		if u == nil {
			return nil, im.ErrUserIDNotFound.With("userID not found: %s", d.SendID)
		}
		if u.AppMangerLevel < levelAdmin {
			return nil, im.ErrNoPermission.With("user %s may not send notifications", d.SendID)
		}
	}
	return c.sendMsg(from, d, false)
}

// SendMsgLenient is SendMsg as the v2 dialect wants it: the receiver of a single
// chat need not be registered, and anybody's notice may be sent.
func (c *Core) SendMsgLenient(from Caller, d *sdkws.MsgData) (*msg.SendMsgResp, error) {
	return c.sendMsg(from, d, true)
}

func (c *Core) sendMsg(from Caller, d *sdkws.MsgData, lenient bool) (*msg.SendMsgResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if d == nil {
		return nil, im.ErrArgs.With("msgData is empty")
	}
	if d.ClientMsgID == "" {
		d.ClientMsgID = c.newID()
	}
	d.CreateTime, d.MsgFrom = c.nowMS(), im.MsgFromSystem
	if err := c.completeSender(d); err != nil {
		return nil, err
	}
	body, err := proto.Marshal(d)
	if err != nil {
		return nil, im.ErrArgs.With("message: %v", err)
	}
	m, err := newMessage(body)
	if err != nil {
		return nil, err
	}
	m.trace, m.toAnyone = from.OperationID, lenient
	m.size = int64(len(m.body)) + messageOverhead
	c.inFlight.wait()
	c.inFlight.force(m.size)
	t := c.newTx()
	t.done = make(chan error, 1)
	out, err := c.submit(t, m, c.admins[d.SendID])
	if err != nil || out != queued {
		c.inFlight.give(m.size)
	}
	if err == nil {
		err = <-t.done
	}
	if err != nil {
		return nil, err
	}
	return &msg.SendMsgResp{ServerMsgID: m.serverID, ClientMsgID: d.ClientMsgID, SendTime: m.sendTime}, nil
}

// completeSender fills a sender's name and face from the profile when blank.
func (c *Core) completeSender(d *sdkws.MsgData) error {
	if d.SenderNickname != "" && d.SenderFaceURL != "" {
		return nil
	}
	u, err := c.user(c.store.Latest(), d.SendID)
	if err != nil || u == nil {
		return err
	}
	if d.SenderNickname == "" {
		d.SenderNickname = u.Nickname
	}
	if d.SenderFaceURL == "" {
		d.SenderFaceURL = u.FaceURL
	}
	return nil
}

// outcome is what became of a submitted message.
type outcome uint8

const (
	queued   outcome = iota // decided; answered when durable
	answered                // nothing to queue: m carries what to answer now
	joined                  // a resend of a message in flight, answered together with it
)

// submit checks m against the rules and queues it. When it did not fail and
// t.done is set, the transaction's end will be told there, whatever the outcome.
func (c *Core) submit(t *tx, m *message, admin bool) (out outcome, err error) {
	err = checkMessage(&m.head)
	if len(m.body) > messageMax {
		err = im.ErrArgs.With("a message has more than %d bytes", messageMax)
	}
	if err != nil {
		c.stats.refused.Add(1)
		return queued, err
	}
	m.key = keyOf(m.head.SendID, m.head.ClientMsgID)
	if m.head.ContentType == im.ContentTyping {
		m.force |= onlineOnly
	}
	t.address(m)
	if m.toGroup != "" {
		out, err = c.submitGroup(t, m, admin)
	} else {
		out, err = c.submitPair(t, m, admin)
	}
	if err != nil && err != errWait {
		c.stats.refused.Add(1)
	}
	return out, err
}

// checkMessage checks what every message must have (contract §6.1, rows 1 and 3).
func checkMessage(h *wire.Msg) error {
	switch {
	case len(h.SendID) == 0:
		return im.ErrArgs.With("sendID is empty")
	case len(h.ClientMsgID) == 0 || len(h.ClientMsgID) > clientMsgIDMax:
		return im.ErrArgs.With("clientMsgID must have 1 to %d bytes", clientMsgIDMax)
	case !h.HasContent:
		return im.ErrArgs.With("content is empty")
	case h.ContentType == 0:
		return im.ErrArgs.With("contentType is empty")
	case len(h.SendID) > userIDMax || len(h.RecvID) > userIDMax || len(h.GroupID) > userIDMax:
		return im.ErrArgs.With("an ID has more than %d bytes", userIDMax)
	}
	switch h.SessionType {
	case im.SingleChat, im.NotificationChat:
		if len(h.RecvID) == 0 {
			return im.ErrArgs.With("recvID is empty")
		}
		if len(h.GroupID) != 0 {
			return im.ErrArgs.With("groupID and sessionType %d do not go together", h.SessionType)
		}
	case im.GroupChat:
		if len(h.GroupID) == 0 {
			return im.ErrArgs.With("groupID is empty")
		}
	default:
		return im.ErrArgs.With("sessionType %d is not supported", h.SessionType)
	}
	if h.ContentType == im.ContentOANotification && h.SessionType != im.NotificationChat {
		return im.ErrArgs.With("contentType %d and sessionType %d do not go together", h.ContentType, h.SessionType)
	}
	return nil
}

// queueLocked places m and queues the transaction. The caller holds the shard's
// lock (and the stripes of t's bumps, already written).
func (c *Core) queueLocked(t *tx, st *convState, m *message) error {
	t.msgs = append(t.msgs, m)
	m.st = st
	if err := c.place(t, m, c.nowMS()); err != nil {
		return err
	}
	if len(t.ops) == 0 {
		t.committed(nil)
		return nil
	}
	return t.queue()
}

// inboxRow puts the conversation of m into user's list unless it is there.
func (t *tx) inboxRow(user string, m *message) error {
	k := Key{Table: TableInbox, A: user, B: m.conv}
	b, err := t.c.store.Latest().Get(k)
	if err != nil || b != nil {
		return err
	}
	row := &conversation.Conversation{OwnerUserID: user, ConversationID: m.conv, ConversationType: m.head.SessionType}
	if row.MinSeq, err = t.c.firstSeq(m.conv); err != nil {
		return err
	}
	if m.rec.kind == kindGroup {
		row.GroupID = m.rec.a
	} else {
		row.UserID = m.rec.peer(user)
	}
	if err := t.putProto(k, row); err != nil {
		return err
	}
	t.touch(user)
	_, err = t.bump(conversationsOf(user), change{changeInsert, m.conv})
	return err
}

// firstSeq is the minSeq of a new row of a pair's conversation: older messages
// without a row are those of a deleted user of the same name. 0 when there are none.
func (c *Core) firstSeq(conv string) (int64, error) {
	p, err := c.position(conv)
	if err != nil || p.maxSeq == 0 {
		return 0, err
	}
	return p.maxSeq + 1, nil
}

// pairRows puts the single chat of a and b into both lists. The caller holds
// both users' stripes.
func (t *tx) pairRows(a, b string) error {
	m := &message{conv: im.SingleID(a, b), rec: pairRecord(a, b)}
	m.head.SessionType = im.SingleChat
	if err := t.inboxRow(a, m); err != nil || a == b {
		return err
	}
	return t.inboxRow(b, m)
}

// userName is the stripe of a user, groupName that of a group.
func userName(id string) string  { return "u" + id }
func groupName(id string) string { return "g" + id }
