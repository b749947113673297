package core

import (
	"hash/fnv"
	"slices"

	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// GetSpecifiedFriendsInfo answers, for known users, what owner has of each:
// profile, friend row and black-list row.
func (c *Core) GetSpecifiedFriendsInfo(from Caller, req *relation.GetSpecifiedFriendsInfoReq) (*relation.GetSpecifiedFriendsInfoResp, error) {
	if len(req.UserIDList) == 0 || len(req.UserIDList) > friendsMax {
		return nil, im.ErrArgs.With("userIDList must hold 1 to %d users", friendsMax)
	}
	if err := uniqueIDs(req.UserIDList, "userID"); err != nil {
		return nil, err
	}
	return ownRows(c, from, req.OwnerUserID, func(v View) (*relation.GetSpecifiedFriendsInfoResp, error) {
		resp := &relation.GetSpecifiedFriendsInfoResp{Infos: []*relation.GetSpecifiedFriendsInfoInfo{}}
		for _, id := range req.UserIDList {
			u, err := c.user(v, id)
			if err != nil {
				return nil, err
			}
			if u == nil {
				continue
			}
			row := &relation.GetSpecifiedFriendsInfoInfo{UserInfo: u}
			friends, err := c.friendsByID(v, req.OwnerUserID, []string{id})
			if err != nil {
				return nil, err
			}
			if len(friends) > 0 {
				row.FriendInfo = friends[0]
			}
			blacks, err := c.blacksByID(v, req.OwnerUserID, []string{id})
			if err != nil {
				return nil, err
			}
			if len(blacks) > 0 {
				row.BlackInfo = blacks[0]
			}
			resp.Infos = append(resp.Infos, row)
		}
		return resp, nil
	})
}

// blacksByID reads the given entries of owner's black list; others are left out.
func (c *Core) blacksByID(r Reader, owner string, ids []string) ([]*sdkws.BlackInfo, error) {
	list := []*sdkws.BlackInfo{}
	for _, id := range ids {
		b := new(sdkws.BlackInfo)
		ok, err := getProto(r, Key{Table: TableBlack, A: owner, B: id}, b)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		u, err := c.user(r, id)
		if err != nil {
			return nil, err
		}
		b.BlackUserInfo = publicInfo(id, u)
		list = append(list, b)
	}
	return list, nil
}

// publicInfo is what strangers see of a user; u may be nil.
func publicInfo(id string, u *sdkws.UserInfo) *sdkws.PublicUserInfo {
	return &sdkws.PublicUserInfo{UserID: id, Nickname: u.GetNickname(), FaceURL: u.GetFaceURL(), Ex: u.GetEx()}
}

// GetSpecifiedBlacks answers the black-list entries asked for.
func (c *Core) GetSpecifiedBlacks(from Caller, req *relation.GetSpecifiedBlacksReq) (*relation.GetSpecifiedBlacksResp, error) {
	if len(req.UserIDList) == 0 || len(req.UserIDList) > friendsMax {
		return nil, im.ErrArgs.With("userIDList must hold 1 to %d users", friendsMax)
	}
	if err := uniqueIDs(req.UserIDList, "userID"); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.OwnerUserID, func(v View) ([]*sdkws.BlackInfo, error) {
		return c.blacksByID(v, req.OwnerUserID, req.UserIDList)
	})
	return &relation.GetSpecifiedBlacksResp{Blacks: list, Total: int32(len(list))}, err
}

// GetSelfUnhandledApplyCount counts the friend requests a user has not answered,
// since a time in ms.
func (c *Core) GetSelfUnhandledApplyCount(from Caller, req *relation.GetSelfUnhandledApplyCountReq) (*relation.GetSelfUnhandledApplyCountResp, error) {
	list, err := ownRows(c, from, req.UserID, func(v View) ([]*sdkws.FriendRequest, error) {
		return c.friendRequests(v, TableFriendRequest, req.UserID, []int32{resultPending})
	})
	list = slices.DeleteFunc(list, func(q *sdkws.FriendRequest) bool { return q.CreateTime < req.Time })
	return &relation.GetSelfUnhandledApplyCountResp{Count: int64(len(list))}, err
}

// GetGroupApplicationUnhandledCount counts the pending applications to the groups
// a user manages, since a time in ms.
func (c *Core) GetGroupApplicationUnhandledCount(from Caller, req *group.GetGroupApplicationUnhandledCountReq) (*group.GetGroupApplicationUnhandledCountResp, error) {
	list, err := ownRows(c, from, req.UserID, func(v View) ([]*sdkws.GroupRequest, error) {
		return c.managedApplications(v, req.UserID, nil, []int32{resultPending})
	})
	list = slices.DeleteFunc(list, func(q *sdkws.GroupRequest) bool { return q.ReqTime < req.Time })
	return &group.GetGroupApplicationUnhandledCountResp{Count: int64(len(list))}, err
}

// GetGroupUsersReqApplicationList answers the applications of given users to a
// group; its managers and administrators may ask.
func (c *Core) GetGroupUsersReqApplicationList(from Caller, req *group.GetGroupUsersReqApplicationListReq) (*group.GetGroupUsersReqApplicationListResp, error) {
	if err := checkList(len(req.UserIDs), "users"); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	if err := c.mayManage(view, from, req.GroupID); err != nil {
		return nil, err
	}
	list, err := c.applicationsOf(view, req.GroupID, req.UserIDs)
	return &group.GetGroupUsersReqApplicationListResp{Total: int64(len(list)), GroupRequests: list}, err
}

// GetSpecifiedUserGroupRequestInfo answers one user's application to a group, for
// himself and for those who manage the group.
func (c *Core) GetSpecifiedUserGroupRequestInfo(from Caller, req *group.GetSpecifiedUserGroupRequestInfoReq) (*group.GetSpecifiedUserGroupRequestInfoResp, error) {
	view := c.store.Committed()
	defer view.Release()
	if from.self(req.UserID) != nil {
		if err := c.mayManage(view, from, req.GroupID); err != nil {
			return nil, err
		}
	}
	list, err := c.applicationsOf(view, req.GroupID, []string{req.UserID})
	return &group.GetSpecifiedUserGroupRequestInfoResp{Total: uint32(len(list)), GroupRequests: list}, err
}

func (c *Core) applicationsOf(r Reader, groupID string, users []string) ([]*sdkws.GroupRequest, error) {
	var keys []Key
	for _, id := range users {
		keys = append(keys, Key{Table: TableGroupRequest, A: groupID, B: id})
	}
	return c.applications(r, keys, nil, nil)
}

// mayManage fails unless the caller is owner or role admin of the group, or an
// administrator.
func (c *Core) mayManage(r Reader, from Caller, groupID string) error {
	if from.Admin {
		return nil
	}
	own, err := c.members(r, groupID, []string{from.UserID})
	if err == nil && (len(own) == 0 || own[0].RoleLevel < roleAdmin) {
		err = im.ErrNoPermission.With("user %s does not manage group %s", from.UserID, groupID)
	}
	return err
}

// GetGroupAbstractInfo answers size and a hash of the member list of groups that
// the caller is in. The hash changes with the list; it has no other meaning.
func (c *Core) GetGroupAbstractInfo(from Caller, req *group.GetGroupAbstractInfoReq) (*group.GetGroupAbstractInfoResp, error) {
	if len(req.GroupIDs) == 0 || len(req.GroupIDs) > membersBatchMax {
		return nil, im.ErrArgs.With("groupIDs must hold 1 to %d groups", membersBatchMax)
	}
	if err := uniqueIDs(req.GroupIDs, "groupID"); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	resp := &group.GetGroupAbstractInfoResp{}
	for _, id := range req.GroupIDs {
		g, err := c.group(view, id)
		if err != nil {
			return nil, err
		}
		if g == nil {
			return nil, im.ErrGroupIDNotFound.With("group %s not found", id)
		}
		if err := c.mayRead(view, from, id); err != nil {
			return nil, err
		}
		members, err := second(view, TableMember, id)
		if err != nil {
			return nil, err
		}
		h := fnv.New64a()
		for _, m := range members {
			h.Write([]byte(m))
			h.Write([]byte{0})
		}
		resp.GroupAbstractInfos = append(resp.GroupAbstractInfos, &group.GroupAbstractInfo{
			GroupID: id, GroupMemberNumber: uint32(len(members)), GroupMemberListHash: h.Sum64(),
		})
	}
	return resp, nil
}
