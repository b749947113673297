package core

import (
	"cmp"
	"slices"
	"strings"

	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// mayRead fails unless the caller is a member of the group or an administrator.
func (c *Core) mayRead(r Reader, from Caller, groupID string) error {
	if from.Admin {
		return nil
	}
	b, err := r.Get(Key{Table: TableMember, A: groupID, B: from.UserID})
	if err == nil && b == nil {
		err = im.ErrNoPermission.With("user %s is not in group %s", from.UserID, groupID)
	}
	return err
}

// memberList reads all members: role descending, then the time of joining.
func (c *Core) memberList(r Reader, groupID string) ([]*sdkws.GroupMemberFullInfo, error) {
	list := []*sdkws.GroupMemberFullInfo{}
	err := scanProto(r, Range{Table: TableMember, Fixed: 1, A: groupID}, func(_ Key, m *sdkws.GroupMemberFullInfo) {
		list = append(list, m)
	})
	slices.SortStableFunc(list, func(a, b *sdkws.GroupMemberFullInfo) int {
		return cmp.Or(cmp.Compare(b.RoleLevel, a.RoleLevel), cmp.Compare(a.JoinTime, b.JoinTime))
	})
	return list, err
}

// GetGroupMemberList pages through the members; keyword filters by ID and name.
func (c *Core) GetGroupMemberList(from Caller, req *group.GetGroupMemberListReq) (*group.GetGroupMemberListResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	if err := c.mayRead(view, from, req.GroupID); err != nil {
		return nil, err
	}
	list, err := c.memberList(view, req.GroupID)
	if err != nil {
		return nil, err
	}
	if word := strings.ToLower(req.Keyword); word != "" {
		for _, m := range list {
			if err := c.fillMember(view, m); err != nil {
				return nil, err
			}
		}
		list = slices.DeleteFunc(list, func(m *sdkws.GroupMemberFullInfo) bool {
			return !strings.Contains(strings.ToLower(m.Nickname), word) && !strings.Contains(strings.ToLower(m.UserID), word)
		})
	}
	resp := &group.GetGroupMemberListResp{
		Total: uint32(len(list)), Members: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber),
	}
	for _, m := range resp.Members {
		if err := c.fillMember(view, m); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// GetGroupMembersInfo answers the members asked for; others are left out.
func (c *Core) GetGroupMembersInfo(from Caller, req *group.GetGroupMembersInfoReq) (*group.GetGroupMembersInfoResp, error) {
	if err := checkList(len(req.UserIDs), "users"); err != nil {
		return nil, err
	}
	if len(req.UserIDs) == 0 {
		return nil, im.ErrArgs.With("userIDs is empty")
	}
	view := c.store.Committed()
	defer view.Release()
	if err := c.mayRead(view, from, req.GroupID); err != nil {
		return nil, err
	}
	list, err := c.members(view, req.GroupID, req.UserIDs)
	return &group.GetGroupMembersInfoResp{Members: list}, err
}

// GetFullGroupMemberUserIDs answers all member IDs in list order, with the version.
func (c *Core) GetFullGroupMemberUserIDs(from Caller, req *group.GetFullGroupMemberUserIDsReq) (*group.GetFullGroupMemberUserIDsResp, error) {
	view := c.store.Committed()
	defer view.Release()
	if err := c.mayRead(view, from, req.GroupID); err != nil {
		return nil, err
	}
	h, err := c.readHead(view, membersOf(req.GroupID))
	if err != nil {
		return nil, err
	}
	list, err := c.memberList(view, req.GroupID)
	return &group.GetFullGroupMemberUserIDsResp{
		Version: h.version, VersionID: c.versionID(membersOf(req.GroupID)), UserIDs: userIDs(list),
	}, err
}

// GetGroupMemberUserIDs answers all member IDs in list order.
func (c *Core) GetGroupMemberUserIDs(from Caller, req *group.GetGroupMemberUserIDsReq) (*group.GetGroupMemberUserIDsResp, error) {
	view := c.store.Committed()
	defer view.Release()
	if err := c.mayRead(view, from, req.GroupID); err != nil {
		return nil, err
	}
	list, err := c.memberList(view, req.GroupID)
	return &group.GetGroupMemberUserIDsResp{UserIDs: userIDs(list)}, err
}

// GetIncrementalGroupMember answers what changed in one group's members.
func (c *Core) GetIncrementalGroupMember(from Caller, req *group.GetIncrementalGroupMemberReq) (*group.GetIncrementalGroupMemberResp, error) {
	view := c.store.Committed()
	defer view.Release()
	if err := c.mayRead(view, from, req.GroupID); err != nil {
		return nil, err
	}
	if from.Admin {
		return c.incrementalMembers(view, "", req)
	}
	return c.incrementalMembers(view, from.UserID, req)
}

// GetGroups pages through all groups for an administrator: by ID or part of the name.
func (c *Core) GetGroups(from Caller, req *group.GetGroupsReq) (*group.GetGroupsResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	var list []*group.CMSGroup
	err := scanProto(view, Range{Table: TableGroup}, func(_ Key, g *sdkws.GroupInfo) {
		if (req.GroupID == "" || g.GroupID == req.GroupID) && strings.Contains(strings.ToLower(g.GroupName), strings.ToLower(req.GroupName)) {
			list = append(list, &group.CMSGroup{GroupInfo: g, GroupOwnerUserID: g.OwnerUserID})
		}
	})
	if err != nil {
		return nil, err
	}
	resp := &group.GetGroupsResp{Total: uint32(len(list)), Groups: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber)}
	for _, g := range resp.Groups {
		u, err := c.user(view, g.GroupOwnerUserID)
		if err != nil {
			return nil, err
		}
		g.GroupOwnerUserName = u.GetNickname()
	}
	return resp, nil
}
