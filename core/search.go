package core

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// The administrator's searches and statistics walk whole tables on a snapshot:
// their cost grows with the store, and nothing is kept for them beside the
// records themselves.

// eachMessage calls fn for every stored message of chats, conversation by
// conversation, oldest first.
func (c *Core) eachMessage(r Reader, fn func(conv string, head *wire.Msg, data []byte) error) error {
	var failed error
	err := r.Scan(Range{Table: TableMessage}, func(k Key, v []byte) bool {
		if im.IsNotification(k.A) {
			return true
		}
		var head wire.Msg
		if failed = wire.ScanMsg(v, &head); failed == nil {
			failed = fn(k.A, &head, v)
		}
		return failed == nil
	})
	return firstError(err, failed)
}

// SearchMessage pages through the messages that match all given fields, oldest
// first; what was removed for everybody is left out. sendTime is a day in UTC, "2006-01-02".
func (c *Core) SearchMessage(from Caller, req *msg.SearchMessageReq) (*msg.SearchMessageResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	var day, end int64
	if req.SendTime != "" {
		d, err := time.Parse(time.DateOnly, req.SendTime)
		if err != nil {
			return nil, im.ErrArgs.With("sendTime must be a day like 2006-01-02")
		}
		day, end = d.UnixMilli(), d.AddDate(0, 0, 1).UnixMilli()
	}
	view := c.store.Committed()
	defer view.Release()
	var found []*sdkws.MsgData
	lo := int64(req.Pagination.PageNumber-1) * int64(req.Pagination.ShowNumber)
	hi := lo + int64(req.Pagination.ShowNumber)
	total := int64(0)
	err := c.eachMessage(view, func(_ string, h *wire.Msg, data []byte) error {
		switch {
		case h.Status == im.MsgStatusDeleted,
			req.SendID != "" && string(h.SendID) != req.SendID,
			req.RecvID != "" && string(h.RecvID) != req.RecvID && string(h.GroupID) != req.RecvID,
			req.ContentType != 0 && h.ContentType != req.ContentType,
			req.SessionType != 0 && h.SessionType != req.SessionType,
			day != 0 && (h.SendTime < day || h.SendTime >= end):
			return nil
		}
		if total >= lo && total < hi {
			m := new(sdkws.MsgData)
			if err := proto.Unmarshal(data, m); err != nil {
				return err
			}
			found = append(found, m)
		}
		total++
		return nil
	})
	if err != nil {
		return nil, err
	}
	resp := &msg.SearchMessageResp{ChatLogsNum: int32(total)}
	for _, m := range found {
		log, err := c.chatLog(view, m)
		if err != nil {
			return nil, err
		}
		resp.ChatLogs = append(resp.ChatLogs, log)
	}
	return resp, nil
}

// chatLog is a message as the search answers it.
func (c *Core) chatLog(r Reader, m *sdkws.MsgData) (*msg.SearchChatLog, error) {
	log := &msg.ChatLog{
		ServerMsgID: m.ServerMsgID, ClientMsgID: m.ClientMsgID, SendID: m.SendID, RecvID: m.RecvID, GroupID: m.GroupID,
		SenderPlatformID: m.SenderPlatformID, SenderNickname: m.SenderNickname, SenderFaceURL: m.SenderFaceURL,
		SessionType: m.SessionType, MsgFrom: m.MsgFrom, ContentType: m.ContentType, Content: string(m.Content), Status: m.Status,
		SendTime: m.SendTime, CreateTime: m.CreateTime, Ex: m.Ex, Seq: m.Seq,
	}
	if log.SenderNickname == "" {
		u, err := c.user(r, m.SendID)
		if err != nil {
			return nil, err
		}
		log.SenderNickname = u.GetNickname()
	}
	if m.GroupID != "" {
		g, err := c.group(r, m.GroupID)
		if err != nil {
			return nil, err
		}
		log.RecvID, log.GroupName, log.GroupFaceURL = m.GroupID, g.GetGroupName(), g.GetFaceURL()
		log.GroupMemberCount, log.GroupOwner, log.GroupType = g.GetMemberCount(), g.GetOwnerUserID(), g.GetGroupType()
	} else {
		u, err := c.user(r, m.RecvID)
		if err != nil {
			return nil, err
		}
		log.RecvNickname = u.GetNickname()
	}
	return &msg.SearchChatLog{ChatLog: log, IsRevoked: m.ContentType == im.NotifyRevoke}, nil
}

// perDay counts times (ms) between start and end by UTC day, and those before.
type perDay struct {
	start, end    int64
	total, before int64
	days          map[string]int64
}

func newPerDay(start, end int64) *perDay {
	return &perDay{start: start, end: end, days: make(map[string]int64)}
}

func (p *perDay) add(at int64) {
	switch {
	case at < p.start:
		p.before++
	case at <= p.end:
		p.total++
		p.days[time.UnixMilli(at).UTC().Format(time.DateOnly)]++
	}
}

// UserRegisterCount counts registrations by day.
func (c *Core) UserRegisterCount(from Caller, req *user.UserRegisterCountReq) (*user.UserRegisterCountResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	p := newPerDay(req.Start, req.End)
	err := scanProto(view, Range{Table: TableUser}, func(_ Key, u *sdkws.UserInfo) { p.add(u.CreateTime) })
	return &user.UserRegisterCountResp{Total: p.before + p.total, Before: p.before, Count: p.days}, err
}

// GroupCreateCount counts new groups by day.
func (c *Core) GroupCreateCount(from Caller, req *group.GroupCreateCountReq) (*group.GroupCreateCountResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	p := newPerDay(req.Start, req.End)
	err := scanProto(view, Range{Table: TableGroup}, func(_ Key, g *sdkws.GroupInfo) { p.add(g.CreateTime) })
	return &group.GroupCreateCountResp{Total: p.before + p.total, Before: p.before, Count: p.days}, err
}

// ranked is one row of a ranking.
type ranked struct {
	id    string
	count int64
}

// active counts the messages between start and end by day and by what key says.
func (c *Core) active(r Reader, start, end int64, ascending bool, key func(*wire.Msg) string) (p *perDay, list []ranked, err error) {
	p = newPerDay(start, end)
	counts := make(map[string]int64)
	err = c.eachMessage(r, func(_ string, h *wire.Msg, _ []byte) error {
		if id := key(h); id != "" && h.SendTime >= start && h.SendTime <= end {
			p.add(h.SendTime)
			counts[id]++
		}
		return nil
	})
	for id, n := range counts {
		list = append(list, ranked{id, n})
	}
	slices.SortFunc(list, func(a, b ranked) int {
		order := cmp.Compare(b.count, a.count)
		if ascending {
			order = -order
		}
		return cmp.Or(order, strings.Compare(a.id, b.id))
	})
	return p, list, err
}

// GetActiveUser ranks users by messages sent; with group, only those in groups.
func (c *Core) GetActiveUser(from Caller, req *msg.GetActiveUserReq) (*msg.GetActiveUserResp, error) {
	if err := firstError(from.admin(), checkPage(req.Pagination)); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	p, list, err := c.active(view, req.Start, req.End, req.Ase, func(h *wire.Msg) string {
		if req.Group && len(h.GroupID) == 0 {
			return ""
		}
		return string(h.SendID)
	})
	if err != nil {
		return nil, err
	}
	resp := &msg.GetActiveUserResp{MsgCount: p.total, UserCount: int64(len(list)), DateCount: p.days, Users: []*msg.ActiveUser{}}
	for _, row := range page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber) {
		u, err := c.user(view, row.id)
		if err != nil {
			return nil, err
		}
		if u == nil {
			u = &sdkws.UserInfo{UserID: row.id}
		}
		resp.Users = append(resp.Users, &msg.ActiveUser{User: u, Count: row.count})
	}
	return resp, nil
}

// GetActiveGroup ranks groups by messages.
func (c *Core) GetActiveGroup(from Caller, req *msg.GetActiveGroupReq) (*msg.GetActiveGroupResp, error) {
	if err := firstError(from.admin(), checkPage(req.Pagination)); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	p, list, err := c.active(view, req.Start, req.End, req.Ase, func(h *wire.Msg) string { return string(h.GroupID) })
	if err != nil {
		return nil, err
	}
	resp := &msg.GetActiveGroupResp{MsgCount: p.total, GroupCount: int64(len(list)), DateCount: p.days, Groups: []*msg.ActiveGroup{}}
	for _, row := range page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber) {
		g, err := c.group(view, row.id)
		if err != nil {
			return nil, err
		}
		if g == nil {
			g = &sdkws.GroupInfo{GroupID: row.id, Status: groupDismissed}
		}
		resp.Groups = append(resp.Groups, &msg.ActiveGroup{Group: g, Count: row.count})
	}
	return resp, nil
}
