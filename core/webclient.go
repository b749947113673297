package core

import (
	"cmp"
	"slices"
	"strings"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/jssdk"
	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// Web clients keep no database: they read a conversation with all that is shown
// of it in one answer.

// How many conversations GetActiveConversations answers.
const (
	activeDefault = 100
	activeMax     = 500
)

// GetConversationsShown answers the caller's conversations asked for, with their
// last messages; those without one are left out. unreadCount is their sum.
func (c *Core) GetConversationsShown(from Caller, req *jssdk.GetConversationsReq) (*jssdk.GetConversationsResp, error) {
	if err := checkList(len(req.ConversationIDs), "conversations"); err != nil {
		return nil, err
	}
	return ownRows(c, from, from.UserID, func(v View) (*jssdk.GetConversationsResp, error) {
		list, err := rowsOf(v, from.UserID, req.ConversationIDs)
		if err != nil {
			return nil, err
		}
		resp := &jssdk.GetConversationsResp{Conversations: []*jssdk.ConversationMsg{}}
		p := &puller{c: c, view: v, user: from.UserID}
		for _, row := range list {
			shown, err := p.shown(row)
			if err != nil {
				return nil, err
			}
			if shown != nil {
				resp.Conversations = append(resp.Conversations, shown)
				resp.UnreadCount += shown.MaxSeq - shown.ReadSeq
			}
		}
		return resp, nil
	})
}

// GetActiveConversations answers the caller's first conversations with their last
// messages: pinned ones first, then the newest message first. unreadCount is the
// sum over all of his conversations.
func (c *Core) GetActiveConversations(from Caller, req *jssdk.GetActiveConversationsReq) (*jssdk.GetActiveConversationsResp, error) {
	count := int(min(cmp.Or(req.Count, activeDefault), activeMax))
	if count < 0 {
		return nil, im.ErrArgs.With("count is negative")
	}
	return ownRows(c, from, from.UserID, func(v View) (*jssdk.GetActiveConversationsResp, error) {
		list, err := rows(v, from.UserID)
		if err != nil {
			return nil, err
		}
		resp := &jssdk.GetActiveConversationsResp{Conversations: []*jssdk.ConversationMsg{}}
		newest := make(map[string]int64, len(list))
		for _, row := range list {
			w, read, _, err := c.seeRead(v, from.UserID, row.ConversationID)
			if err != nil {
				return nil, err
			}
			newest[row.ConversationID] = w.maxTime
			resp.UnreadCount += w.hi - read
		}
		slices.SortFunc(list, func(a, b *conversation.Conversation) int {
			if a.IsPinned != b.IsPinned {
				if a.IsPinned {
					return -1
				}
				return 1
			}
			return cmp.Or(cmp.Compare(newest[b.ConversationID], newest[a.ConversationID]), strings.Compare(a.ConversationID, b.ConversationID))
		})
		p := &puller{c: c, view: v, user: from.UserID}
		for _, row := range list {
			if len(resp.Conversations) == count {
				break
			}
			shown, err := p.shown(row)
			if err != nil {
				return nil, err
			}
			if shown != nil {
				resp.Conversations = append(resp.Conversations, shown)
			}
		}
		return resp, nil
	})
}

// shown is a conversation with what is displayed of it; nil without a message.
func (p *puller) shown(row *conversation.Conversation) (*jssdk.ConversationMsg, error) {
	p.budget = answerMax
	last, err := p.last(row.ConversationID)
	if err != nil || last == nil {
		return nil, err
	}
	w, read, _, err := p.c.seeRead(p.view, p.user, row.ConversationID)
	if err != nil {
		return nil, err
	}
	out := &jssdk.ConversationMsg{Conversation: row, LastMsg: last, MaxSeq: w.hi, ReadSeq: read}
	if row.GroupID != "" {
		out.Group, err = p.c.group(p.view, row.GroupID)
		return out, err
	}
	if out.User, err = p.c.user(p.view, row.UserID); err != nil {
		return nil, err
	}
	f := new(sdkws.FriendInfo)
	ok, err := getProto(p.view, Key{Table: TableFriend, A: p.user, B: row.UserID}, f)
	if ok {
		out.Friend = &relation.FriendInfoOnly{
			OwnerUserID: p.user, FriendUserID: row.UserID, Remark: f.Remark, CreateTime: f.CreateTime, AddSource: f.AddSource,
			OperatorUserID: f.OperatorUserID, Ex: f.Ex, IsPinned: f.IsPinned,
		}
	}
	return out, err
}
