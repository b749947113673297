package core

import (
	"slices"

	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// Answers to an application (handleResult).
const (
	resultPending = 0
	resultAgree   = 1
	resultRefuse  = -1
)

// groupAtNotice marks a conversation with a new announcement (groupAtType).
const groupAtNotice = 4

// managers lists the owner and the role admins of the group.
func (g *groupTx) managers() (ids []string, err error) {
	err = scanProto(g.c.store.Latest(), Range{Table: TableMember, Fixed: 1, A: g.info.GroupID}, func(_ Key, m *sdkws.GroupMemberFullInfo) {
		if m.RoleLevel >= roleAdmin {
			ids = append(ids, m.UserID)
		}
	})
	return ids, err
}

// request reads the application of user with everything clients expect in it.
func (g *groupTx) request(user string) (*sdkws.GroupRequest, error) {
	list, err := g.c.applications(g.c.store.Latest(), []Key{{Table: TableGroupRequest, A: g.info.GroupID, B: user}}, nil, nil)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// saveRequest writes an application without what is filled in when it is read.
func (g *groupTx) saveRequest(user string, q *sdkws.GroupRequest) error {
	stored := &sdkws.GroupRequest{
		HandleResult: q.HandleResult, ReqMsg: q.ReqMsg, HandleMsg: q.HandleMsg, ReqTime: q.ReqTime, HandleUserID: q.HandleUserID,
		HandleTime: q.HandleTime, Ex: q.Ex, JoinSource: q.JoinSource, InviterUserID: q.InviterUserID,
	}
	g.put(Key{Table: TableGroupAsked, A: user, B: g.info.GroupID}, []byte{})
	return g.putProto(Key{Table: TableGroupRequest, A: g.info.GroupID, B: user}, stored)
}

// apply files applications of users and tells the managers, the applicant and
// the inviter (1503).
func (g *groupTx) apply(users []string, text string, source int32, inviter string) error {
	managers, err := g.managers()
	if err != nil {
		return err
	}
	for _, id := range users {
		u, err := g.c.mustUser(g.c.store.Latest(), id)
		if err != nil {
			return err
		}
		public := &sdkws.PublicUserInfo{UserID: id, Nickname: u.Nickname, FaceURL: u.FaceURL, Ex: u.Ex}
		q := &sdkws.GroupRequest{
			UserInfo: public, GroupInfo: g.info, ReqMsg: text, ReqTime: g.now, JoinSource: source, InviterUserID: inviter,
		}
		if err := g.saveRequest(id, q); err != nil {
			return err
		}
		tips := &sdkws.JoinGroupApplicationTips{Group: g.info, Applicant: public, ReqMsg: text, Uuid: g.c.newID(), Request: q}
		if err := g.tellEach(im.NotifyGroupApplied, id, slices.Concat(managers, []string{id, inviter}), func(string) any { return tips }); err != nil {
			return err
		}
	}
	return nil
}

// tellEach sends a notification to several users, each in his own conversation
// with sender.
func (g *groupTx) tellEach(kind int32, sender string, to []string, detail func(user string) any) error {
	slices.Sort(to)
	for _, user := range slices.Compact(to) {
		if user == "" {
			continue
		}
		if err := g.notify(notice{kind: kind, from: sender, to: user, detail: detail(user), trace: g.from.OperationID}); err != nil {
			return err
		}
	}
	return nil
}

// GroupApplicationResponse accepts or refuses an application; accepting lets the
// applicant in.
func (c *Core) GroupApplicationResponse(from Caller, req *group.GroupApplicationResponseReq) (*group.GroupApplicationResponseResp, error) {
	if req.HandleResult != resultAgree && req.HandleResult != resultRefuse {
		return nil, im.ErrArgs.With("handleResult must be 1 or -1")
	}
	if err := checkTexts(exMax, req.HandledMsg); err != nil {
		return nil, err
	}
	err := c.changeGroup(from, req.GroupID, []string{req.FromUserID}, false, func(g *groupTx) error {
		if _, err := g.mustManage(); err != nil {
			return err
		}
		q, err := g.request(req.FromUserID)
		if err != nil {
			return err
		}
		if q == nil {
			return im.ErrRecordNotFound.With("no application of user %s", req.FromUserID)
		}
		if q.HandleResult != resultPending {
			return im.ErrGroupRequestHandled
		}
		q.HandleResult, q.HandleMsg, q.HandleUserID, q.HandleTime = req.HandleResult, req.HandledMsg, from.UserID, g.now
		if err := g.saveRequest(req.FromUserID, q); err != nil {
			return err
		}
		if err := g.tellAnswered(q, req.FromUserID); err != nil || req.HandleResult == resultRefuse {
			return err
		}
		return g.admit(q, req.FromUserID)
	})
	if err != nil {
		return nil, err
	}
	return &group.GroupApplicationResponseResp{}, nil
}

// admit lets an accepted applicant in, unless he is in already.
func (g *groupTx) admit(q *sdkws.GroupRequest, user string) error {
	old, err := g.member(user)
	if err != nil || old != nil {
		return err
	}
	if _, err := g.c.mustUser(g.c.store.Latest(), user); err != nil {
		return err
	}
	m := g.newMember(user, roleOrdinary, q.JoinSource)
	m.InviterUserID = q.InviterUserID
	if err := g.add([]*sdkws.GroupMemberFullInfo{m}); err != nil {
		return err
	}
	if q.InviterUserID == "" {
		return g.tellEntered(m)
	}
	return g.tellInvited([]*sdkws.GroupMemberFullInfo{m}, nil)
}

func (g *groupTx) tellAnswered(q *sdkws.GroupRequest, applicant string) error {
	managers, err := g.managers()
	if err != nil {
		return err
	}
	op, err := g.opUser()
	if err != nil {
		return err
	}
	kind := int32(im.NotifyGroupAccepted)
	if q.HandleResult == resultRefuse {
		kind = im.NotifyGroupRejected
	}
	id := g.c.newID()
	return g.tellEach(kind, g.from.UserID, append(managers, applicant), func(user string) any {
		as := int32(1)
		if user == applicant {
			as = 0
		}
		// The accepted and the rejected tips have the same fields.
		return &sdkws.GroupApplicationAcceptedTips{
			Group: g.info, OpUser: op, HandleMsg: q.HandleMsg, ReceiverAs: as, Uuid: id, Request: q,
		}
	})
}

// TransferGroupOwner makes another member the owner; the old one takes his role.
func (c *Core) TransferGroupOwner(from Caller, req *group.TransferGroupOwnerReq) (*group.TransferGroupOwnerResp, error) {
	if req.OldOwnerUserID == req.NewOwnerUserID {
		return nil, im.ErrArgs.With("old and new owner are the same")
	}
	err := c.changeGroup(from, req.GroupID, nil, false, func(g *groupTx) error {
		if err := from.self(req.OldOwnerUserID); err != nil {
			return err
		}
		was, err := g.member(req.OldOwnerUserID)
		if err != nil {
			return err
		}
		next, err := g.member(req.NewOwnerUserID)
		if err != nil {
			return err
		}
		switch {
		case was == nil || next == nil:
			return im.ErrArgs.With("both must be members of group %s", req.GroupID)
		case was.RoleLevel != roleOwner:
			return im.ErrNoPermission.With("user %s is not the owner", req.OldOwnerUserID)
		}
		was.RoleLevel, next.RoleLevel, next.MuteEndTime = next.RoleLevel, roleOwner, 0
		g.info.OwnerUserID = next.UserID
		if err := firstError(g.saveMember(was), g.saveMember(next), g.saveInfo()); err != nil {
			return err
		}
		_, err = g.bump(membersOf(req.GroupID), change{changeUpdate, was.UserID}, change{changeUpdate, next.UserID}, change{changeOrder, ""})
		if err != nil {
			return err
		}
		op, err := g.opUser()
		if err != nil {
			return err
		}
		both, err := g.filled([]*sdkws.GroupMemberFullInfo{was, next})
		if err != nil {
			return err
		}
		version, id := g.memberVersion()
		return g.tell(im.NotifyGroupTransferred, &sdkws.GroupOwnerTransferredTips{
			Group: g.info, OpUser: op, NewGroupOwner: both[1], OldGroupOwner: was.UserID, OldGroupOwnerInfo: both[0],
			OperationTime: g.now, GroupMemberVersion: version, GroupMemberVersionID: id,
		}, nil)
	})
	if err != nil {
		return nil, err
	}
	return &group.TransferGroupOwnerResp{}, nil
}

// setMute mutes a member for seconds, or ends that with 0.
func (c *Core) setMute(from Caller, groupID, user string, seconds uint32) error {
	return c.changeGroup(from, groupID, nil, false, func(g *groupTx) error {
		role, err := g.mustManage()
		if err != nil {
			return err
		}
		m, err := g.member(user)
		if err != nil {
			return err
		}
		switch {
		case m == nil:
			return im.ErrRecordNotFound.With("user %s is not in group %s", user, groupID)
		case m.RoleLevel >= role || m.RoleLevel == roleOwner:
			return im.ErrNoPermission.With("role of user %s is too low", from.UserID)
		}
		m.MuteEndTime = 0
		if seconds > 0 {
			m.MuteEndTime = g.now + int64(seconds)*1000
		}
		if err := g.saveMember(m); err != nil {
			return err
		}
		if _, err := g.bump(membersOf(groupID), change{changeUpdate, user}); err != nil {
			return err
		}
		op, err := g.opUser()
		if err != nil {
			return err
		}
		list, err := g.filled([]*sdkws.GroupMemberFullInfo{m})
		if err != nil {
			return err
		}
		version, id := g.memberVersion()
		if seconds == 0 {
			return g.tell(im.NotifyMemberUnmuted, &sdkws.GroupMemberCancelMutedTips{
				Group: g.info, OpUser: op, OperationTime: g.now, MutedUser: list[0], GroupMemberVersion: version, GroupMemberVersionID: id,
			}, nil)
		}
		return g.tell(im.NotifyMemberMuted, &sdkws.GroupMemberMutedTips{
			Group: g.info, OpUser: op, OperationTime: g.now, MutedUser: list[0], MutedSeconds: seconds,
			GroupMemberVersion: version, GroupMemberVersionID: id,
		}, nil)
	})
}

// MuteGroupMember keeps a member from writing for a while.
func (c *Core) MuteGroupMember(from Caller, req *group.MuteGroupMemberReq) (*group.MuteGroupMemberResp, error) {
	if req.MutedSeconds == 0 {
		return nil, im.ErrArgs.With("mutedSeconds is empty")
	}
	if err := c.setMute(from, req.GroupID, req.UserID, req.MutedSeconds); err != nil {
		return nil, err
	}
	return &group.MuteGroupMemberResp{}, nil
}

// CancelMuteGroupMember lets a member write again.
func (c *Core) CancelMuteGroupMember(from Caller, req *group.CancelMuteGroupMemberReq) (*group.CancelMuteGroupMemberResp, error) {
	if err := c.setMute(from, req.GroupID, req.UserID, 0); err != nil {
		return nil, err
	}
	return &group.CancelMuteGroupMemberResp{}, nil
}

// setGroupStatus mutes the whole group or ends that.
func (c *Core) setGroupStatus(from Caller, groupID string, status, kind int32) error {
	return c.changeGroup(from, groupID, nil, false, func(g *groupTx) error {
		if _, err := g.mustManage(); err != nil {
			return err
		}
		g.info.Status = status
		g.statusChanged()
		if err := g.saveInfo(); err != nil {
			return err
		}
		if _, err := g.bump(membersOf(groupID), change{changeInfo, ""}); err != nil {
			return err
		}
		op, err := g.opUser()
		if err != nil {
			return err
		}
		version, id := g.memberVersion()
		// The tips of muting and unmuting have the same fields.
		return g.tell(kind, &sdkws.GroupMutedTips{
			Group: g.info, OpUser: op, OperationTime: g.now, GroupMemberVersion: version, GroupMemberVersionID: id,
		}, nil)
	})
}

// MuteGroup keeps ordinary members from writing.
func (c *Core) MuteGroup(from Caller, req *group.MuteGroupReq) (*group.MuteGroupResp, error) {
	if err := c.setGroupStatus(from, req.GroupID, groupMuted, im.NotifyGroupMuted); err != nil {
		return nil, err
	}
	return &group.MuteGroupResp{}, nil
}

// CancelMuteGroup lets everybody write again.
func (c *Core) CancelMuteGroup(from Caller, req *group.CancelMuteGroupReq) (*group.CancelMuteGroupResp, error) {
	if err := c.setGroupStatus(from, req.GroupID, groupNormal, im.NotifyGroupUnmuted); err != nil {
		return nil, err
	}
	return &group.CancelMuteGroupResp{}, nil
}

// SetGroupMemberInfo changes what members are called in a group, and roles: the
// owner everybody's but his own role, a role admin his own and ordinary members',
// an ordinary member his own names.
func (c *Core) SetGroupMemberInfo(from Caller, req *group.SetGroupMemberInfoReq) (*group.SetGroupMemberInfoResp, error) {
	if len(req.Members) == 0 || len(req.Members) > groupUsersMax {
		return nil, im.ErrArgs.With("members must hold 1 to %d elements", groupUsersMax)
	}
	seen := make(map[[2]string]bool)
	for _, in := range req.Members {
		switch {
		case in == nil || in.GroupID == "" || in.UserID == "":
			return nil, im.ErrArgs.With("groupID or userID is empty")
		case seen[[2]string{in.GroupID, in.UserID}]:
			return nil, im.ErrArgs.With("member %s repeated", in.UserID)
		case in.RoleLevel != nil && in.RoleLevel.Value == roleOwner:
			return nil, im.ErrNoPermission.With("the owner is set by transfer_group")
		case in.RoleLevel != nil && in.RoleLevel.Value != roleAdmin && in.RoleLevel.Value != roleOrdinary:
			return nil, im.ErrArgs.With("roleLevel must be %d or %d", roleOrdinary, roleAdmin)
		}
		seen[[2]string{in.GroupID, in.UserID}] = true
	}
	// Several groups in one call are several changes, each whole.
	byGroup := make(map[string][]*group.SetGroupMemberInfo)
	var order []string
	for _, in := range req.Members {
		if byGroup[in.GroupID] == nil {
			order = append(order, in.GroupID)
		}
		byGroup[in.GroupID] = append(byGroup[in.GroupID], in)
	}
	for _, id := range order {
		err := c.changeGroup(from, id, nil, false, func(g *groupTx) error {
			for _, in := range byGroup[id] {
				if err := g.setMemberInfo(in); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return &group.SetGroupMemberInfoResp{}, nil
}

func (g *groupTx) setMemberInfo(in *group.SetGroupMemberInfo) error {
	role, err := g.role(g.from.UserID)
	if err != nil {
		return err
	}
	m, err := g.member(in.UserID)
	if err != nil {
		return err
	}
	self := in.UserID == g.from.UserID
	switch {
	case role == 0:
		return im.ErrNoPermission.With("user %s is not in group %s", g.from.UserID, g.info.GroupID)
	case m == nil:
		return im.ErrArgs.With("user %s is not in group %s", in.UserID, g.info.GroupID)
	case !self && (role < roleAdmin || m.RoleLevel >= role):
		return im.ErrNoPermission.With("role of user %s is too low", g.from.UserID)
	case in.RoleLevel != nil && m.RoleLevel == roleOwner:
		return im.ErrArgs.With("the owner's role is set by transfer_group")
	case in.RoleLevel != nil && in.RoleLevel.Value > m.RoleLevel && role < roleOwner:
		return im.ErrNoPermission.With("only the owner makes role admins")
	}
	named := in.Nickname != nil || in.FaceURL != nil || in.Ex != nil
	if in.Nickname != nil {
		m.Nickname = in.Nickname.Value
	}
	if in.FaceURL != nil {
		m.FaceURL = in.FaceURL.Value
	}
	if in.Ex != nil {
		m.Ex = in.Ex.Value
	}
	if len(m.Nickname) > nicknameMax || len(m.FaceURL) > faceURLMax || len(m.Ex) > exMax {
		return im.ErrArgs.With("a text is too long")
	}
	changes := []change{{changeUpdate, m.UserID}}
	if in.RoleLevel != nil {
		m.RoleLevel = in.RoleLevel.Value
		changes = append(changes, change{changeOrder, ""})
	}
	if !named && in.RoleLevel == nil {
		return nil
	}
	if err := g.saveMember(m); err != nil {
		return err
	}
	if _, err := g.bump(membersOf(g.info.GroupID), changes...); err != nil {
		return err
	}
	if in.RoleLevel != nil {
		kind := int32(im.NotifyMemberSetOrdinary)
		if in.RoleLevel.Value == roleAdmin {
			kind = im.NotifyMemberSetAdmin
		}
		if err := g.tellMemberInfo(kind, m); err != nil {
			return err
		}
	}
	if named {
		return g.tellMemberInfo(im.NotifyMemberInfoSet, m)
	}
	return nil
}

func (g *groupTx) tellMemberInfo(kind int32, m *sdkws.GroupMemberFullInfo) error {
	op, err := g.opUser()
	if err != nil {
		return err
	}
	list, err := g.filled([]*sdkws.GroupMemberFullInfo{m})
	if err != nil {
		return err
	}
	version, id := g.memberVersion()
	tips := &sdkws.GroupMemberInfoSetTips{
		Group: g.info, OpUser: op, OperationTime: g.now, ChangedUser: list[0], GroupMemberVersion: version, GroupMemberVersionID: id,
	}
	if kind != im.NotifyMemberInfoSet {
		tips.GroupSortVersion = version
	}
	return g.tell(kind, tips, nil)
}
