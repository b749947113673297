package core

import (
	"strings"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/wrapperspb"

	"gannet/internal/im"
)

// SetGroupInfo changes a group's non-empty texts and given settings.
func (c *Core) SetGroupInfo(from Caller, req *group.SetGroupInfoReq) (*group.SetGroupInfoResp, error) {
	in := req.GroupInfoForSet
	if in == nil {
		return nil, im.ErrArgs.With("groupInfoForSet is empty")
	}
	given := func(s string) *wrapperspb.StringValue {
		if s == "" {
			return nil
		}
		return wrapperspb.String(s)
	}
	_, err := c.SetGroupInfoEx(from, &group.SetGroupInfoExReq{
		GroupID: in.GroupID, GroupName: given(in.GroupName), Notification: given(in.Notification), Introduction: given(in.Introduction),
		FaceURL: given(in.FaceURL), Ex: in.Ex, NeedVerification: in.NeedVerification, LookMemberInfo: in.LookMemberInfo,
		ApplyMemberFriend: in.ApplyMemberFriend,
	})
	if err != nil {
		return nil, err
	}
	return &group.SetGroupInfoResp{}, nil
}

// SetGroupInfoEx changes exactly the given fields; owner and role admins may. A
// new announcement also marks the conversation of every member.
func (c *Core) SetGroupInfoEx(from Caller, req *group.SetGroupInfoExReq) (*group.SetGroupInfoExResp, error) {
	var members []string
	// Who may not manage the group is refused below, without the cost of its members.
	if r := c.store.Latest(); strings.TrimSpace(req.Notification.GetValue()) != "" && c.mayManage(r, from, req.GroupID) == nil {
		var err error
		if members, err = groupMembers(r, req.GroupID); err != nil {
			return nil, err
		}
	}
	err := c.changeGroup(from, req.GroupID, members, false, func(g *groupTx) error {
		if _, err := g.mustManage(); err != nil {
			return err
		}
		name, other, err := g.applyInfo(req)
		if err != nil {
			return err
		}
		if !name && !other && req.Notification == nil {
			return nil
		}
		if err := g.saveInfo(); err != nil {
			return err
		}
		if _, err := g.bump(membersOf(req.GroupID), change{changeInfo, ""}); err != nil {
			return err
		}
		return g.tellInfo(req.Notification != nil, name, other, members)
	})
	if err != nil {
		return nil, err
	}
	return &group.SetGroupInfoExResp{}, nil
}

// applyInfo copies the given fields and says whether the name, or another one,
// was given.
func (g *groupTx) applyInfo(req *group.SetGroupInfoExReq) (name, other bool, err error) {
	if req.GroupName != nil {
		if strings.TrimSpace(req.GroupName.Value) == "" {
			return false, false, im.ErrArgs.With("groupName is empty")
		}
		g.info.GroupName, name = req.GroupName.Value, true
	}
	if req.Notification != nil {
		g.info.Notification = strings.TrimSpace(req.Notification.Value)
		g.info.NotificationUpdateTime, g.info.NotificationUserID = g.now, g.from.UserID
	}
	texts := []struct {
		given *wrapperspb.StringValue
		field *string
	}{{req.Introduction, &g.info.Introduction}, {req.FaceURL, &g.info.FaceURL}, {req.Ex, &g.info.Ex}}
	for _, t := range texts {
		if t.given != nil {
			*t.field, other = t.given.Value, true
		}
	}
	numbers := []struct {
		given *wrapperspb.Int32Value
		field *int32
	}{
		{req.NeedVerification, &g.info.NeedVerification}, {req.LookMemberInfo, &g.info.LookMemberInfo},
		{req.ApplyMemberFriend, &g.info.ApplyMemberFriend},
	}
	for _, n := range numbers {
		if n.given != nil {
			*n.field, other = n.given.Value, true
		}
	}
	return name, other, checkGroupInfo(g.info)
}

func (g *groupTx) tellInfo(announcement, name, other bool, members []string) error {
	op, err := g.opUser()
	if err != nil {
		return err
	}
	version, id := g.memberVersion()
	if announcement {
		visible := g.info.Notification != ""
		err := g.tell(im.NotifyGroupAnnouncement, &sdkws.GroupInfoSetAnnouncementTips{
			OpUser: op, Group: g.info, GroupMemberVersion: version, GroupMemberVersionID: id,
		}, &visible)
		if err != nil {
			return err
		}
		if err := g.markAll(members, groupAtNotice); err != nil {
			return err
		}
	}
	if name {
		err := g.tell(im.NotifyGroupName, &sdkws.GroupInfoSetNameTips{
			OpUser: op, Group: g.info, GroupMemberVersion: version, GroupMemberVersionID: id,
		}, nil)
		if err != nil {
			return err
		}
	}
	if other {
		return g.tell(im.NotifyGroupInfoSet, &sdkws.GroupInfoSetTips{
			OpUser: op, Group: g.info, GroupMemberVersion: version, GroupMemberVersionID: id,
		}, nil)
	}
	return nil
}

// markAll sets the at-mark of the group's conversation for users, and tells each.
func (g *groupTx) markAll(users []string, at int32) error {
	conv := im.GroupID(g.info.GroupID)
	for _, user := range users {
		row := new(conversation.Conversation)
		ok, err := getProto(g.c.store.Latest(), Key{Table: TableInbox, A: user, B: conv}, row)
		if err != nil {
			return err
		}
		if !ok || row.GroupAtType == at {
			continue
		}
		row.GroupAtType = at
		if err := g.putInbox(row); err != nil {
			return err
		}
		if err := g.notify(conversationChanged(Caller{UserID: user, OperationID: g.from.OperationID}, user, conv)); err != nil {
			return err
		}
	}
	return nil
}
