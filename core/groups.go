package core

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// Group states (GroupInfo.status).
const (
	groupNormal    = 0
	groupBanned    = 1
	groupDismissed = 2
	groupMuted     = 3
)

// Who may enter without approval (GroupInfo.needVerification).
const (
	verifyApplicants = 0 // applicants need approval, the invited enter
	verifyAll        = 1
	verifyNone       = 2
)

// membersBatchMax bounds the groups of one members batch; the SDK asks for 500.
const membersBatchMax = 1000

// membersDiffMax is how many changed members make a members batch full.
const membersDiffMax = 2 * versionDiffMax

func (c *Core) group(r Reader, id string) (*sdkws.GroupInfo, error) {
	g := new(sdkws.GroupInfo)
	ok, err := getProto(r, Key{Table: TableGroup, A: id}, g)
	if err != nil || !ok {
		return nil, err
	}
	return g, nil
}

// groupsByID reads the given groups; unknown ones are left out.
func (c *Core) groupsByID(r Reader, ids []string) ([]*sdkws.GroupInfo, error) {
	list := []*sdkws.GroupInfo{}
	for _, id := range ids {
		g, err := c.group(r, id)
		if err != nil {
			return nil, err
		}
		if g != nil {
			list = append(list, g)
		}
	}
	return list, nil
}

// joined reads the groups user is in, dismissed ones left out, by name, then age.
func (c *Core) joined(r Reader, user string) ([]*sdkws.GroupInfo, error) {
	var ids []string
	err := r.Scan(Range{Table: TableJoined, Fixed: 1, A: user}, func(k Key, _ []byte) bool {
		ids = append(ids, k.B)
		return true
	})
	if err != nil {
		return nil, err
	}
	list, err := c.groupsByID(r, ids)
	list = slices.DeleteFunc(list, func(g *sdkws.GroupInfo) bool { return g.Status == groupDismissed })
	slices.SortStableFunc(list, func(a, b *sdkws.GroupInfo) int {
		return cmp.Or(strings.Compare(a.GroupName, b.GroupName), cmp.Compare(a.CreateTime, b.CreateTime))
	})
	return list, err
}

// GetGroupsInfo answers the groups asked for that exist.
func (c *Core) GetGroupsInfo(_ Caller, req *group.GetGroupsInfoReq) (*group.GetGroupsInfoResp, error) {
	if err := checkList(len(req.GroupIDs), "groups"); err != nil {
		return nil, err
	}
	if len(req.GroupIDs) == 0 {
		return nil, im.ErrArgs.With("groupIDs is empty")
	}
	view := c.store.Committed()
	defer view.Release()
	list, err := c.groupsByID(view, req.GroupIDs)
	return &group.GetGroupsInfoResp{GroupInfos: list}, err
}

// GetJoinedGroupList pages through the groups of a user.
func (c *Core) GetJoinedGroupList(from Caller, req *group.GetJoinedGroupListReq) (*group.GetJoinedGroupListResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.FromUserID, func(v View) ([]*sdkws.GroupInfo, error) { return c.joined(v, req.FromUserID) })
	return &group.GetJoinedGroupListResp{
		Total: uint32(len(list)), Groups: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber),
	}, err
}

// GetFullJoinGroupIDs answers the IDs of a user's groups in list order.
func (c *Core) GetFullJoinGroupIDs(from Caller, req *group.GetFullJoinGroupIDsReq) (*group.GetFullJoinGroupIDsResp, error) {
	return ownRows(c, from, req.UserID, func(v View) (*group.GetFullJoinGroupIDsResp, error) {
		h, err := c.readHead(v, joinedOf(req.UserID))
		if err != nil {
			return nil, err
		}
		list, err := c.joined(v, req.UserID)
		resp := &group.GetFullJoinGroupIDsResp{Version: h.version, VersionID: c.versionID(joinedOf(req.UserID)), GroupIDs: []string{}}
		for _, g := range list {
			resp.GroupIDs = append(resp.GroupIDs, g.GroupID)
		}
		return resp, err
	})
}

// GetIncrementalJoinGroup answers what changed in a user's groups since a version.
func (c *Core) GetIncrementalJoinGroup(from Caller, req *group.GetIncrementalJoinGroupReq) (*group.GetIncrementalJoinGroupResp, error) {
	return ownRows(c, from, req.UserID, func(v View) (*group.GetIncrementalJoinGroupResp, error) {
		d, err := c.diff(v, joinedOf(req.UserID), req.VersionID, req.Version)
		if err != nil {
			return nil, err
		}
		resp := &group.GetIncrementalJoinGroupResp{
			Version: d.version, VersionID: d.versionID, Full: d.full, Delete: d.delete, SortVersion: d.order,
		}
		if resp.Insert, err = c.groupsByID(v, d.insert); err != nil {
			return nil, err
		}
		resp.Update, err = c.groupsByID(v, d.update)
		return resp, err
	})
}

// members reads the given members of a group; others are left out. Blank names
// and faces come from the profile.
func (c *Core) members(r Reader, groupID string, ids []string) ([]*sdkws.GroupMemberFullInfo, error) {
	list := []*sdkws.GroupMemberFullInfo{}
	for _, id := range ids {
		m := new(sdkws.GroupMemberFullInfo)
		ok, err := getProto(r, Key{Table: TableMember, A: groupID, B: id}, m)
		if err == nil && ok {
			err = c.fillMember(r, m)
			list = append(list, m)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (c *Core) fillMember(r Reader, m *sdkws.GroupMemberFullInfo) error {
	u, err := c.user(r, m.UserID)
	m.Nickname = cmp.Or(m.Nickname, u.GetNickname())
	m.FaceURL = cmp.Or(m.FaceURL, u.GetFaceURL())
	m.AppMangerLevel = u.GetAppMangerLevel()
	return err
}

// BatchGetIncrementalGroupMember answers what changed in the members of several
// groups. Every asked group has an entry, because the SDK asks again for ever
// for those that have none (REST contract §3.7): a group the user is not in, or
// that is gone, answers the asked version and no change. Groups are left out only
// after membersDiffMax changes; then the SDK's next question gets on.
func (c *Core) BatchGetIncrementalGroupMember(from Caller, req *group.BatchGetIncrementalGroupMemberReq) (*group.BatchGetIncrementalGroupMemberResp, error) {
	if len(req.ReqList) > membersBatchMax {
		return nil, im.ErrArgs.With("more than %d groups", membersBatchMax)
	}
	return ownRows(c, from, req.UserID, func(v View) (*group.BatchGetIncrementalGroupMemberResp, error) {
		resp := &group.BatchGetIncrementalGroupMemberResp{RespList: make(map[string]*group.GetIncrementalGroupMemberResp)}
		changes := 0
		for _, q := range req.ReqList {
			if q == nil || resp.RespList[q.GroupID] != nil {
				continue
			}
			if changes > membersDiffMax {
				break
			}
			one, err := c.incrementalMembers(v, req.UserID, q)
			if err != nil {
				return nil, err
			}
			resp.RespList[q.GroupID] = one
			changes += len(one.Insert) + len(one.Update) + len(one.Delete)
		}
		return resp, nil
	})
}

// incrementalMembers answers for user, or with "" for an administrator, who sees
// every group.
func (c *Core) incrementalMembers(v View, user string, q *group.GetIncrementalGroupMemberReq) (*group.GetIncrementalGroupMemberResp, error) {
	set := membersOf(q.GroupID)
	same := &group.GetIncrementalGroupMemberResp{Version: max(1, q.Version), VersionID: cmp.Or(q.VersionID, c.versionID(set))}
	g, err := c.group(v, q.GroupID)
	if err != nil || g == nil {
		return same, err
	}
	if g.Status == groupDismissed {
		same.Group = g
		return same, nil
	}
	if user != "" {
		in, err := v.Get(Key{Table: TableMember, A: q.GroupID, B: user})
		if err != nil || in == nil {
			return same, err
		}
	}
	d, err := c.diff(v, set, q.VersionID, q.Version)
	if err != nil {
		return nil, err
	}
	resp := &group.GetIncrementalGroupMemberResp{
		Version: d.version, VersionID: d.versionID, Full: d.full, Delete: d.delete, SortVersion: d.order,
	}
	if d.full || d.info || len(d.insert)+len(d.update)+len(d.delete) > 0 {
		resp.Group = g
	}
	if resp.Insert, err = c.members(v, q.GroupID, d.insert); err != nil {
		return nil, err
	}
	resp.Update, err = c.members(v, q.GroupID, d.update)
	return resp, err
}

// applications reads applications to join; keep filters, fill completes.
func (c *Core) applications(r Reader, keys []Key, groupIDs []string, results []int32) ([]*sdkws.GroupRequest, error) {
	list := []*sdkws.GroupRequest{}
	for _, k := range keys {
		if len(groupIDs) > 0 && !slices.Contains(groupIDs, k.A) {
			continue
		}
		q := new(sdkws.GroupRequest)
		ok, err := getProto(r, k, q)
		if err != nil {
			return nil, err
		}
		if !ok || (len(results) > 0 && !slices.Contains(results, q.HandleResult)) {
			continue
		}
		g, err := c.group(r, k.A)
		if err != nil {
			return nil, err
		}
		u, err := c.user(r, k.B)
		if err != nil {
			return nil, err
		}
		if q.GroupInfo = g; g == nil {
			q.GroupInfo = &sdkws.GroupInfo{GroupID: k.A, Status: groupDismissed}
		}
		q.UserInfo = &sdkws.PublicUserInfo{UserID: k.B, Nickname: u.GetNickname(), FaceURL: u.GetFaceURL(), Ex: u.GetEx()}
		list = append(list, q)
	}
	slices.SortStableFunc(list, func(a, b *sdkws.GroupRequest) int { return cmp.Compare(b.ReqTime, a.ReqTime) })
	return list, nil
}

// GetUserReqApplicationList pages through the applications a user sent.
func (c *Core) GetUserReqApplicationList(from Caller, req *group.GetUserReqApplicationListReq) (*group.GetUserReqApplicationListResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.UserID, func(v View) ([]*sdkws.GroupRequest, error) {
		var keys []Key
		err := v.Scan(Range{Table: TableGroupAsked, Fixed: 1, A: req.UserID}, func(k Key, _ []byte) bool {
			keys = append(keys, Key{Table: TableGroupRequest, A: k.B, B: req.UserID})
			return true
		})
		if err != nil {
			return nil, err
		}
		return c.applications(v, keys, req.GroupIDs, req.HandleResults)
	})
	return &group.GetUserReqApplicationListResp{
		Total: uint32(len(list)), GroupRequests: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber),
	}, err
}

// GetGroupApplicationList pages through the applications to the groups that a
// user owns or administers.
func (c *Core) GetGroupApplicationList(from Caller, req *group.GetGroupApplicationListReq) (*group.GetGroupApplicationListResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.FromUserID, func(v View) ([]*sdkws.GroupRequest, error) {
		return c.managedApplications(v, req.FromUserID, req.GroupIDs, req.HandleResults)
	})
	return &group.GetGroupApplicationListResp{
		Total: uint32(len(list)), GroupRequests: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber),
	}, err
}

// managedApplications reads the applications to the groups that user manages.
func (c *Core) managedApplications(r Reader, user string, groupIDs []string, results []int32) ([]*sdkws.GroupRequest, error) {
	groups, err := c.joined(r, user)
	if err != nil {
		return nil, err
	}
	var keys []Key
	for _, g := range groups {
		if err := c.mayManage(r, Caller{UserID: user}, g.GroupID); err != nil {
			if errors.Is(err, im.ErrNoPermission) {
				continue
			}
			return nil, err
		}
		applicants, err := second(r, TableGroupRequest, g.GroupID)
		if err != nil {
			return nil, err
		}
		for _, id := range applicants {
			keys = append(keys, Key{Table: TableGroupRequest, A: g.GroupID, B: id})
		}
	}
	return c.applications(r, keys, groupIDs, results)
}

// Group roles (GroupMemberFullInfo.roleLevel).
const (
	roleOrdinary = 20
	roleAdmin    = 60
	roleOwner    = 100
)
