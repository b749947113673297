package core

import (
	"cmp"
	"slices"
	"strings"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
)

// putInbox writes a changed row of a user's conversation list and moves the
// list's version. The caller holds the owner's stripe.
func (t *tx) putInbox(row *conversation.Conversation) error {
	if err := t.putProto(Key{Table: TableInbox, A: row.OwnerUserID, B: row.ConversationID}, row); err != nil {
		return err
	}
	t.touch(row.OwnerUserID)
	_, err := t.bump(conversationsOf(row.OwnerUserID), change{changeUpdate, row.ConversationID})
	return err
}

// rows reads the whole conversation list of owner, in the order of IDs.
func rows(r Reader, owner string) (list []*conversation.Conversation, err error) {
	list = []*conversation.Conversation{}
	var damaged error
	err = r.Scan(Range{Table: TableInbox, Fixed: 1, A: owner}, func(_ Key, v []byte) bool {
		row := new(conversation.Conversation)
		damaged = proto.Unmarshal(v, row)
		list = append(list, row)
		return damaged == nil
	})
	return list, firstError(err, damaged)
}

// rowsOf reads the given rows; missing ones are left out.
func rowsOf(r Reader, owner string, ids []string) ([]*conversation.Conversation, error) {
	list := []*conversation.Conversation{}
	for _, id := range ids {
		row := new(conversation.Conversation)
		ok, err := getProto(r, Key{Table: TableInbox, A: owner, B: id}, row)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, row)
		}
	}
	return list, nil
}

// ownRows runs read on a snapshot for a caller who may see owner's list.
func ownRows[T any](c *Core, from Caller, owner string, read func(View) (T, error)) (T, error) {
	if err := from.self(owner); err != nil {
		var none T
		return none, err
	}
	view := c.store.Committed()
	defer view.Release()
	return read(view)
}

// GetAllConversations answers the whole list.
func (c *Core) GetAllConversations(from Caller, req *conversation.GetAllConversationsReq) (*conversation.GetAllConversationsResp, error) {
	list, err := ownRows(c, from, req.OwnerUserID, func(v View) ([]*conversation.Conversation, error) { return rows(v, req.OwnerUserID) })
	return &conversation.GetAllConversationsResp{Conversations: list}, err
}

// GetConversations answers the rows asked for that exist.
func (c *Core) GetConversations(from Caller, req *conversation.GetConversationsReq) (*conversation.GetConversationsResp, error) {
	if err := checkList(len(req.ConversationIDs), "conversations"); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.OwnerUserID, func(v View) ([]*conversation.Conversation, error) {
		return rowsOf(v, req.OwnerUserID, req.ConversationIDs)
	})
	return &conversation.GetConversationsResp{Conversations: list}, err
}

// GetConversation answers one row.
func (c *Core) GetConversation(from Caller, req *conversation.GetConversationReq) (*conversation.GetConversationResp, error) {
	list, err := ownRows(c, from, req.OwnerUserID, func(v View) ([]*conversation.Conversation, error) {
		return rowsOf(v, req.OwnerUserID, []string{req.ConversationID})
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, im.ErrRecordNotFound.With("user %s has no conversation %s", req.OwnerUserID, req.ConversationID)
	}
	return &conversation.GetConversationResp{Conversation: list[0]}, nil
}

// GetOwnerConversation pages through the list.
func (c *Core) GetOwnerConversation(from Caller, req *conversation.GetOwnerConversationReq) (*conversation.GetOwnerConversationResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.UserID, func(v View) ([]*conversation.Conversation, error) { return rows(v, req.UserID) })
	return &conversation.GetOwnerConversationResp{
		Total: int64(len(list)), Conversations: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber),
	}, err
}

// GetIncrementalConversation answers what changed in the list since a version.
func (c *Core) GetIncrementalConversation(from Caller, req *conversation.GetIncrementalConversationReq) (*conversation.GetIncrementalConversationResp, error) {
	return ownRows(c, from, req.UserID, func(v View) (*conversation.GetIncrementalConversationResp, error) {
		d, err := c.diff(v, conversationsOf(req.UserID), req.VersionID, req.Version)
		if err != nil {
			return nil, err
		}
		resp := &conversation.GetIncrementalConversationResp{Version: d.version, VersionID: d.versionID, Full: d.full, Delete: d.delete}
		if resp.Insert, err = rowsOf(v, req.UserID, d.insert); err != nil {
			return nil, err
		}
		resp.Update, err = rowsOf(v, req.UserID, d.update)
		return resp, err
	})
}

// GetFullOwnerConversationIDs answers all IDs of the list with its version.
func (c *Core) GetFullOwnerConversationIDs(from Caller, req *conversation.GetFullOwnerConversationIDsReq) (*conversation.GetFullOwnerConversationIDsResp, error) {
	return ownRows(c, from, req.UserID, func(v View) (*conversation.GetFullOwnerConversationIDsResp, error) {
		h, err := c.readHead(v, conversationsOf(req.UserID))
		if err != nil {
			return nil, err
		}
		ids, err := inbox(v, req.UserID)
		return &conversation.GetFullOwnerConversationIDsResp{
			Version: h.version, VersionID: c.versionID(conversationsOf(req.UserID)), ConversationIDs: ids,
		}, err
	})
}

// ownIDs answers the IDs of the rows that match.
func (c *Core) ownIDs(from Caller, owner string, match func(*conversation.Conversation) bool) ([]string, error) {
	list, err := ownRows(c, from, owner, func(v View) ([]*conversation.Conversation, error) { return rows(v, owner) })
	ids := []string{}
	for _, row := range list {
		if match(row) {
			ids = append(ids, row.ConversationID)
		}
	}
	return ids, err
}

// GetNotNotifyConversationIDs answers the conversations that do not disturb.
func (c *Core) GetNotNotifyConversationIDs(from Caller, req *conversation.GetNotNotifyConversationIDsReq) (*conversation.GetNotNotifyConversationIDsResp, error) {
	ids, err := c.ownIDs(from, req.UserID, func(r *conversation.Conversation) bool { return r.RecvMsgOpt != im.RecvNormal })
	return &conversation.GetNotNotifyConversationIDsResp{ConversationIDs: ids}, err
}

// GetPinnedConversationIDs answers the pinned conversations.
func (c *Core) GetPinnedConversationIDs(from Caller, req *conversation.GetPinnedConversationIDsReq) (*conversation.GetPinnedConversationIDsResp, error) {
	ids, err := c.ownIDs(from, req.UserID, func(r *conversation.Conversation) bool { return r.IsPinned })
	return &conversation.GetPinnedConversationIDsResp{ConversationIDs: ids}, err
}

// GetConversationOfflinePushUserIDs answers which users want vendor pushes for a
// conversation. Administrators only, or a user about himself.
func (c *Core) GetConversationOfflinePushUserIDs(from Caller, req *conversation.GetConversationOfflinePushUserIDsReq) (*conversation.GetConversationOfflinePushUserIDsResp, error) {
	if err := checkList(len(req.UserIDs), "users"); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	resp := &conversation.GetConversationOfflinePushUserIDsResp{UserIDs: []string{}}
	for _, id := range req.UserIDs {
		if err := from.self(id); err != nil {
			return nil, err
		}
		list, err := rowsOf(view, id, []string{req.ConversationID})
		if err != nil {
			return nil, err
		}
		if len(list) == 0 || list[0].RecvMsgOpt == im.RecvNormal {
			resp.UserIDs = append(resp.UserIDs, id)
		}
	}
	return resp, nil
}

// SetConversations changes settings of one conversation in the lists of users;
// rows that do not exist are made. Only changed rows move a version and tell
// their owner (1300). isPrivateChat changes for both users of a single chat (1701).
func (c *Core) SetConversations(from Caller, req *conversation.SetConversationsReq) (*conversation.SetConversationsResp, error) {
	in := req.Conversation
	if in == nil || in.ConversationID == "" || in.ConversationType == 0 {
		return nil, im.ErrArgs.With("conversationID or conversationType is empty")
	}
	if err := firstError(checkList(len(req.UserIDs), "users"), uniqueIDs(req.UserIDs, "userID"),
		checkTexts(groupTextMax, in.Ex.GetValue(), in.AttachedInfo.GetValue())); err != nil {
		return nil, err
	}
	names := []string{}
	for _, id := range req.UserIDs {
		if err := from.self(id); err != nil {
			return nil, err
		}
		if in.ConversationType == im.SingleChat && in.ConversationID != im.SingleID(id, in.UserID) {
			return nil, im.ErrArgs.With("conversation %s is not that of %s and %s", in.ConversationID, id, in.UserID)
		}
		names = append(names, userName(id))
		if in.ConversationType == im.SingleChat {
			names = append(names, userName(in.UserID))
		}
	}
	err := c.update(names, func(t *tx) error {
		for _, id := range req.UserIDs {
			if err := t.setConversation(from, id, in); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &conversation.SetConversationsResp{}, nil
}

func (t *tx) setConversation(from Caller, owner string, in *conversation.ConversationReq) error {
	row, isNew, err := t.rowFor(owner, in)
	if err != nil {
		return err
	}
	before := proto.Clone(row).(*conversation.Conversation)
	applySettings(row, in)
	private := in.IsPrivateChat != nil && in.ConversationType == im.SingleChat && row.IsPrivateChat != in.IsPrivateChat.Value
	if private {
		row.IsPrivateChat = in.IsPrivateChat.Value
	}
	if isNew || !proto.Equal(before, row) {
		if err := t.saveRow(row, isNew); err != nil {
			return err
		}
		if err := t.notify(conversationChanged(from, owner, row.ConversationID)); err != nil {
			return err
		}
	}
	if !private || row.UserID == owner {
		return nil
	}
	peer, peerNew, err := t.rowFor(row.UserID, &conversation.ConversationReq{
		ConversationID: in.ConversationID, ConversationType: in.ConversationType, UserID: owner,
	})
	if err != nil {
		return err
	}
	peer.IsPrivateChat = row.IsPrivateChat
	if err := t.saveRow(peer, peerNew); err != nil {
		return err
	}
	return t.notify(notice{
		kind: im.NotifyPrivateChat, from: owner, to: row.UserID, trace: from.OperationID,
		detail: &sdkws.ConversationSetPrivateTips{
			RecvID: row.UserID, SendID: owner, IsPrivate: row.IsPrivateChat, ConversationID: row.ConversationID,
		},
	})
}

func conversationChanged(from Caller, owner string, ids ...string) notice {
	return notice{
		kind: im.NotifyConversationChanged, from: owner, to: owner, trace: from.OperationID,
		detail: &sdkws.ConversationUpdateTips{UserID: owner, ConversationIDList: ids},
	}
}

// rowFor reads owner's row, or makes one when the conversation can be his.
func (t *tx) rowFor(owner string, in *conversation.ConversationReq) (row *conversation.Conversation, isNew bool, err error) {
	r := t.c.store.Latest()
	row = new(conversation.Conversation)
	ok, err := getProto(r, Key{Table: TableInbox, A: owner, B: in.ConversationID}, row)
	if err != nil || ok {
		return row, false, err
	}
	switch in.ConversationType {
	case im.SingleChat:
		if in.ConversationID != im.SingleID(owner, in.UserID) {
			return nil, false, im.ErrArgs.With("conversation %s is not that of %s and %s", in.ConversationID, owner, in.UserID)
		}
	case im.NotificationChat:
		if in.ConversationID != im.SystemID(owner, in.UserID) {
			return nil, false, im.ErrArgs.With("conversation %s is not that of %s and %s", in.ConversationID, owner, in.UserID)
		}
	default:
		return nil, false, im.ErrRecordNotFound.With("user %s has no conversation %s", owner, in.ConversationID)
	}
	for _, id := range []string{owner, in.UserID} {
		if _, err := t.c.mustUser(r, id); err != nil {
			return nil, false, err
		}
	}
	first, err := t.c.firstSeq(in.ConversationID)
	return &conversation.Conversation{
		OwnerUserID: owner, ConversationID: in.ConversationID, ConversationType: in.ConversationType,
		UserID: in.UserID, MinSeq: first,
	}, true, err
}

func (t *tx) saveRow(row *conversation.Conversation, isNew bool) error {
	if !isNew {
		return t.putInbox(row)
	}
	if err := t.putProto(Key{Table: TableInbox, A: row.OwnerUserID, B: row.ConversationID}, row); err != nil {
		return err
	}
	t.touch(row.OwnerUserID)
	_, err := t.bump(conversationsOf(row.OwnerUserID), change{changeInsert, row.ConversationID})
	return err
}

// applySettings copies the given settings; minSeq and maxSeq are not settings.
func applySettings(row *conversation.Conversation, in *conversation.ConversationReq) {
	if in.RecvMsgOpt != nil {
		row.RecvMsgOpt = in.RecvMsgOpt.Value
	}
	if in.IsPinned != nil {
		row.IsPinned = in.IsPinned.Value
	}
	if in.AttachedInfo != nil {
		row.AttachedInfo = in.AttachedInfo.Value
	}
	if in.Ex != nil {
		row.Ex = in.Ex.Value
	}
	if in.BurnDuration != nil {
		row.BurnDuration = in.BurnDuration.Value
	}
	if in.GroupAtType != nil {
		row.GroupAtType = in.GroupAtType.Value
	}
	if in.MsgDestructTime != nil {
		row.MsgDestructTime = in.MsgDestructTime.Value
	}
	if in.IsMsgDestruct != nil {
		row.IsMsgDestruct = in.IsMsgDestruct.Value
	}
}

// GetSortedConversationList answers a page of the list with each conversation's
// newest message and unread count: pinned first, then the newest message first.
// Conversations without a visible message are left out.
func (c *Core) GetSortedConversationList(from Caller, req *conversation.GetSortedConversationListReq) (*conversation.GetSortedConversationListResp, error) {
	if err := checkList(len(req.ConversationIDs), "conversations"); err != nil {
		return nil, err
	}
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	return ownRows(c, from, req.UserID, func(v View) (*conversation.GetSortedConversationListResp, error) {
		list, err := rows(v, req.UserID)
		if len(req.ConversationIDs) > 0 && err == nil {
			list, err = rowsOf(v, req.UserID, req.ConversationIDs)
		}
		if err != nil {
			return nil, err
		}
		resp := &conversation.GetSortedConversationListResp{}
		p := &puller{c: c, view: v, user: req.UserID}
		var elems []*conversation.ConversationElem
		for _, row := range list {
			e, err := p.element(row)
			if err != nil {
				return nil, err
			}
			if e != nil {
				elems = append(elems, e)
				resp.UnreadTotal += e.UnreadCount
			}
		}
		if len(elems) == 0 {
			return nil, im.ErrRecordNotFound.With("user %s has no conversation with messages", req.UserID)
		}
		slices.SortStableFunc(elems, func(a, b *conversation.ConversationElem) int {
			if a.IsPinned != b.IsPinned {
				if a.IsPinned {
					return -1
				}
				return 1
			}
			return cmp.Or(cmp.Compare(b.MsgInfo.LatestMsgRecvTime, a.MsgInfo.LatestMsgRecvTime),
				strings.Compare(a.ConversationID, b.ConversationID))
		})
		resp.ConversationTotal = int64(len(elems))
		resp.ConversationElems = page(elems, req.Pagination.PageNumber, req.Pagination.ShowNumber)
		return resp, nil
	})
}

// element describes one conversation of the sorted list; nil without a message.
func (p *puller) element(row *conversation.Conversation) (*conversation.ConversationElem, error) {
	p.budget = answerMax
	m, err := p.last(row.ConversationID)
	if err != nil || m == nil {
		return nil, err
	}
	w, read, _, err := p.c.seeRead(p.view, p.user, row.ConversationID)
	if err != nil {
		return nil, err
	}
	info := &conversation.MsgInfo{
		ServerMsgID: m.ServerMsgID, ClientMsgID: m.ClientMsgID, SessionType: m.SessionType, SendID: m.SendID, RecvID: m.RecvID,
		SenderName: m.SenderNickname, FaceURL: m.SenderFaceURL, GroupID: m.GroupID, LatestMsgRecvTime: m.SendTime,
		MsgFrom: m.MsgFrom, ContentType: m.ContentType, Content: string(m.Content), Ex: m.Ex,
	}
	return &conversation.ConversationElem{
		ConversationID: row.ConversationID, RecvMsgOpt: row.RecvMsgOpt, UnreadCount: w.hi - read,
		IsPinned: row.IsPinned, MsgInfo: info,
	}, nil
}
