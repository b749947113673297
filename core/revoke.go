package core

import (
	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// conversationName is the stripe of changes to a conversation's messages.
func conversationName(id string) string { return "c" + id }

// storedMessage reads one message of a window; ErrRecordNotFound when the user
// cannot see it.
func (c *Core) storedMessage(r Reader, w window, conv string, seq int64) (*sdkws.MsgData, error) {
	if seq < w.lo || seq > w.hi {
		return nil, im.ErrRecordNotFound.With("message %d of %s not found", seq, conv)
	}
	m := new(sdkws.MsgData)
	ok, err := getProto(r, Key{Table: TableMessage, A: conv, N: uint64(seq)}, m)
	if err == nil && (!ok || m.Status == im.MsgStatusDeleted) {
		err = im.ErrRecordNotFound.With("message %d of %s not found", seq, conv)
	}
	return m, err
}

// revokedContent is what takes the place of a revoked message's content.
type revokedContent struct {
	*sdkws.MessageRevokedContent
	IsAdminRevoke bool `json:"isAdminRevoke"`
}

// RevokeMsg replaces a message by a note that it was revoked and tells all who
// have it (2101). The sender may; in a group also its owner, and its role admins
// for what ordinary members wrote; administrators always.
func (c *Core) RevokeMsg(from Caller, req *msg.RevokeMsgReq) (*msg.RevokeMsgResp, error) {
	if err := from.self(req.UserID); err != nil {
		return nil, err
	}
	err := c.update([]string{conversationName(req.ConversationID)}, func(t *tx) error {
		t.holdOn = true
		m, role, err := c.revocable(from, req)
		if err != nil {
			return err
		}
		revoker := req.UserID
		if from.Admin && revoker != m.SendID {
			revoker = from.UserID
		}
		u, err := c.user(c.store.Latest(), revoker)
		if err != nil {
			return err
		}
		now := c.nowMS()
		note := revokedContent{MessageRevokedContent: &sdkws.MessageRevokedContent{
			RevokerID: revoker, RevokerRole: role, ClientMsgID: m.ClientMsgID, RevokerNickname: u.GetNickname(), RevokeTime: now,
			SourceMessageSendTime: m.SendTime, SourceMessageSendID: m.SendID, SourceMessageSenderNickname: m.SenderNickname,
			SessionType: m.SessionType, Seq: m.Seq,
		}, IsAdminRevoke: from.Admin && revoker != m.SendID}
		if m.Content, err = wire.NotificationContent(note); err != nil {
			return err
		}
		m.ContentType = im.NotifyRevoke
		if err := t.putProto(Key{Table: TableMessage, A: req.ConversationID, N: uint64(req.Seq)}, m); err != nil {
			return err
		}
		return t.notify(notice{
			kind: im.NotifyRevoke, from: m.SendID, to: m.RecvID, group: m.GroupID, trace: from.OperationID,
			detail: &sdkws.RevokeMsgTips{
				RevokerUserID: revoker, ClientMsgID: m.ClientMsgID, RevokeTime: now, SesstionType: m.SessionType,
				Seq: m.Seq, ConversationID: req.ConversationID, IsAdminRevoke: note.IsAdminRevoke,
			},
		})
	})
	if err != nil {
		return nil, err
	}
	return &msg.RevokeMsgResp{}, nil
}

// revocable reads the message and checks who may revoke it (contract §6.3).
func (c *Core) revocable(from Caller, req *msg.RevokeMsgReq) (m *sdkws.MsgData, role int32, err error) {
	r := c.store.Latest()
	w, err := c.windowFor(from, req.UserID, req.ConversationID)
	if err != nil {
		return nil, 0, err
	}
	if m, err = c.storedMessage(r, w, req.ConversationID, req.Seq); err != nil {
		return nil, 0, err
	}
	switch {
	case m.ContentType == im.NotifyRevoke:
		return nil, 0, im.ErrMsgAlreadyRevoke
	case im.IsNotification(req.ConversationID):
		return nil, 0, im.ErrArgs.With("notifications cannot be revoked")
	case from.Admin:
		return m, 0, nil
	}
	role, above, err := c.standsAbove(r, w.rec, req.UserID, m.SendID)
	if err == nil && m.SendID != req.UserID && !above {
		err = im.ErrNoPermission.With("only the sender, or a manager of the group above him, may revoke a message")
	}
	return m, role, err
}

// standsAbove answers user's role in the group that a conversation belongs to,
// and whether it gives him power over what other wrote there. Pairs have no roles.
func (c *Core) standsAbove(r Reader, rec conversationRecord, user, other string) (role int32, above bool, err error) {
	if rec.kind != kindGroup {
		return 0, false, nil
	}
	var theirs int32
	members, err := c.members(r, rec.a, []string{user, other})
	for _, m := range members {
		if m.UserID == user {
			role = m.RoleLevel
		} else {
			theirs = m.RoleLevel
		}
	}
	return role, role >= roleAdmin && role > theirs, err
}

// windowFor is mustSee, but an administrator sees every conversation whole.
func (c *Core) windowFor(from Caller, user, conv string) (window, error) {
	if !from.Admin {
		return c.mustSee(user, conv)
	}
	p, err := c.position(conv)
	if err == nil && p.rec.kind == kindNone {
		err = im.ErrRecordNotFound.With("no conversation %s", conv)
	}
	return window{position: p, lo: max(1, p.rec.minSeq), hi: p.maxSeq}, err
}

// DeleteMsgs removes messages from the user's own sight, or, with isSyncOther,
// from everybody's: that only those may who could revoke them.
func (c *Core) DeleteMsgs(from Caller, req *msg.DeleteMsgsReq) (*msg.DeleteMsgsResp, error) {
	w, err := c.mustSeeAs(from, req.UserID, req.ConversationID)
	if err != nil {
		return nil, err
	}
	if w.row == nil {
		return nil, im.ErrArgs.With("%s is no chat", req.ConversationID)
	}
	if len(req.Seqs) == 0 || len(req.Seqs) > receiptMax {
		return nil, im.ErrArgs.With("seqs must hold 1 to %d elements", receiptMax)
	}
	tips := &sdkws.DeleteMsgsTips{UserID: req.UserID, ConversationID: req.ConversationID, Seqs: req.Seqs}
	err = c.update([]string{conversationName(req.ConversationID)}, func(t *tx) error {
		n := notice{kind: im.NotifyDeleteMsgs, from: req.UserID, to: req.UserID, detail: tips, trace: from.OperationID}
		if req.DeleteSyncOpt.GetIsSyncOther() {
			t.holdOn = true
			if err := t.erase(from, req, w); err != nil {
				return err
			}
			n.to, n.group = w.others(req.UserID)
			return t.notify(n)
		}
		for _, s := range req.Seqs {
			if s >= w.lo && s <= w.hi {
				t.put(Key{Table: TableHidden, A: req.UserID, B: req.ConversationID, N: uint64(s)}, []byte{})
			}
		}
		if req.DeleteSyncOpt.GetIsSyncSelf() {
			return t.notify(n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &msg.DeleteMsgsResp{}, nil
}

// others says where a notification about the conversation goes: to the peer of a
// pair, or to the group.
func (w window) others(user string) (to, group string) {
	if w.rec.kind == kindPair {
		return w.rec.peer(user), ""
	}
	return "", w.rec.a
}

// erase empties messages for everybody.
func (t *tx) erase(from Caller, req *msg.DeleteMsgsReq, w window) error {
	for _, s := range req.Seqs {
		m, err := t.c.storedMessage(t.c.store.Latest(), w, req.ConversationID, s)
		if err != nil {
			return err
		}
		if !from.Admin && m.SendID != req.UserID {
			_, above, err := t.c.standsAbove(t.c.store.Latest(), w.rec, req.UserID, m.SendID)
			if err != nil {
				return err
			}
			if !above {
				return im.ErrNoPermission.With("user %s may not delete message %d for everybody", req.UserID, s)
			}
		}
		if err := t.empty(req.ConversationID, m); err != nil {
			return err
		}
	}
	return nil
}

// ClearConversationsMsg hides everything up to now in some of the user's
// conversations; with isSyncOther for everybody in them.
func (c *Core) ClearConversationsMsg(from Caller, req *msg.ClearConversationsMsgReq) (*msg.ClearConversationsMsgResp, error) {
	if err := c.clear(from, req.UserID, req.ConversationIDs, req.DeleteSyncOpt); err != nil {
		return nil, err
	}
	return &msg.ClearConversationsMsgResp{}, nil
}

// UserClearAllMsg is ClearConversationsMsg for all conversations of the user.
func (c *Core) UserClearAllMsg(from Caller, req *msg.UserClearAllMsgReq) (*msg.UserClearAllMsgResp, error) {
	if err := from.self(req.UserID); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	ids, err := inbox(view, req.UserID)
	view.Release()
	if err != nil {
		return nil, err
	}
	if err := c.clear(from, req.UserID, ids, req.DeleteSyncOpt); err != nil {
		return nil, err
	}
	return &msg.UserClearAllMsgResp{}, nil
}

func (c *Core) clear(from Caller, user string, convs []string, opt *msg.DeleteSyncOpt) error {
	if err := from.self(user); err != nil {
		return err
	}
	if err := uniqueIDs(convs, "conversationID"); err != nil {
		return err
	}
	names := []string{userName(user)}
	for _, conv := range convs {
		names = append(names, conversationName(conv))
	}
	return c.update(names, func(t *tx) error {
		var cleared []string
		for _, conv := range convs {
			w, err := c.mustSee(user, conv)
			if err != nil {
				return err
			}
			if w.row == nil {
				return im.ErrArgs.With("%s is no chat", conv)
			}
			// The row's bound is read again: another change of it may be on its way.
			row := new(conversation.Conversation)
			if _, err := getProto(c.store.Latest(), Key{Table: TableInbox, A: user, B: conv}, row); err != nil {
				return err
			}
			row.MinSeq = max(row.MinSeq, w.maxSeq+1)
			if err := t.putInbox(row); err != nil {
				return err
			}
			t.reads = append(t.reads, readMove{conv: conv, user: user, seq: w.maxSeq})
			cleared = append(cleared, conv)
			if opt.GetIsSyncOther() {
				if err := t.clearForAll(from, user, conv, w); err != nil {
					return err
				}
			}
		}
		if len(cleared) == 0 {
			return nil
		}
		err := t.notify(notice{
			kind: im.NotifyConversationChanged, from: user, to: user, trace: from.OperationID,
			detail: &sdkws.ConversationUpdateTips{UserID: user, ConversationIDList: cleared},
		})
		if err != nil || !opt.GetIsSyncSelf() {
			return err
		}
		return t.notify(notice{
			kind: im.NotifyClearConversation, from: user, to: user, trace: from.OperationID,
			detail: &sdkws.ClearConversationTips{UserID: user, ConversationIDs: cleared},
		})
	})
}

// clearForAll moves the conversation's own first visible seq. That removes what
// everybody wrote: administrators may, and the owner of a group, who stands above
// all in it.
func (t *tx) clearForAll(from Caller, user, conv string, w window) error {
	if !from.Admin {
		role, _, err := t.c.standsAbove(t.c.store.Latest(), w.rec, user, "")
		if err != nil {
			return err
		}
		if role != roleOwner {
			return im.ErrNoPermission.With("user %s may not clear %s for everybody", user, conv)
		}
	}
	rec := w.rec
	rec.minSeq = w.maxSeq + 1
	t.saveConversation(conv, rec)
	to, group := w.others(user)
	return t.notify(notice{
		kind: im.NotifyClearConversation, from: user, to: to, group: group, trace: from.OperationID,
		detail: &sdkws.ClearConversationTips{UserID: user, ConversationIDs: []string{conv}},
	})
}
