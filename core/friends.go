package core

import (
	"cmp"
	"slices"

	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

// A friend row is one direction of a friendship: what owner keeps about friend.
// FriendUser is left out of the record and filled from the profile when read, so
// that a changed name is true at once.

// scanProto decodes every record of r into a fresh message and calls keep.
func scanProto[M any, P interface {
	*M
	proto.Message
}](r Reader, in Range, keep func(Key, P)) error {
	var damaged error
	err := r.Scan(in, func(k Key, v []byte) bool {
		row := P(new(M))
		if damaged = proto.Unmarshal(v, row); damaged == nil {
			keep(k, row)
		}
		return damaged == nil
	})
	return firstError(err, damaged)
}

// fillFriend adds the friend's profile; a deleted user keeps the ID only.
func (c *Core) fillFriend(r Reader, id string, f *sdkws.FriendInfo) error {
	u, err := c.user(r, id)
	if u == nil {
		u = &sdkws.UserInfo{UserID: id}
	}
	f.FriendUser = u
	return err
}

// friends reads owner's list: pinned first, then in the order of becoming friends.
func (c *Core) friends(r Reader, owner string) ([]*sdkws.FriendInfo, error) {
	list := []*sdkws.FriendInfo{}
	var bad error
	err := scanProto(r, Range{Table: TableFriend, Fixed: 1, A: owner}, func(k Key, f *sdkws.FriendInfo) {
		bad = firstError(bad, c.fillFriend(r, k.B, f))
		list = append(list, f)
	})
	slices.SortStableFunc(list, func(a, b *sdkws.FriendInfo) int {
		if a.IsPinned != b.IsPinned {
			if a.IsPinned {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.CreateTime, b.CreateTime)
	})
	return list, firstError(err, bad)
}

// friendsByID reads the given friends of owner; others are left out.
func (c *Core) friendsByID(r Reader, owner string, ids []string) ([]*sdkws.FriendInfo, error) {
	list := []*sdkws.FriendInfo{}
	for _, id := range ids {
		f := new(sdkws.FriendInfo)
		ok, err := getProto(r, Key{Table: TableFriend, A: owner, B: id}, f)
		if err == nil && ok {
			err = c.fillFriend(r, id, f)
			list = append(list, f)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// GetPaginationFriends pages through a user's friends.
func (c *Core) GetPaginationFriends(from Caller, req *relation.GetPaginationFriendsReq) (*relation.GetPaginationFriendsResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.UserID, func(v View) ([]*sdkws.FriendInfo, error) { return c.friends(v, req.UserID) })
	return &relation.GetPaginationFriendsResp{
		FriendsInfo: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber), Total: int32(len(list)),
	}, err
}

// GetIncrementalFriends answers what changed in a user's friend list since a version.
func (c *Core) GetIncrementalFriends(from Caller, req *relation.GetIncrementalFriendsReq) (*relation.GetIncrementalFriendsResp, error) {
	return ownRows(c, from, req.UserID, func(v View) (*relation.GetIncrementalFriendsResp, error) {
		d, err := c.diff(v, friendsOf(req.UserID), req.VersionID, req.Version)
		if err != nil {
			return nil, err
		}
		resp := &relation.GetIncrementalFriendsResp{
			Version: d.version, VersionID: d.versionID, Full: d.full, Delete: d.delete, SortVersion: d.order,
		}
		if resp.Insert, err = c.friendsByID(v, req.UserID, d.insert); err != nil {
			return nil, err
		}
		resp.Update, err = c.friendsByID(v, req.UserID, d.update)
		return resp, err
	})
}

// GetFullFriendUserIDs answers all friend IDs in list order, with the version.
func (c *Core) GetFullFriendUserIDs(from Caller, req *relation.GetFullFriendUserIDsReq) (*relation.GetFullFriendUserIDsResp, error) {
	return ownRows(c, from, req.UserID, func(v View) (*relation.GetFullFriendUserIDsResp, error) {
		h, err := c.readHead(v, friendsOf(req.UserID))
		if err != nil {
			return nil, err
		}
		list, err := c.friends(v, req.UserID)
		resp := &relation.GetFullFriendUserIDsResp{Version: h.version, VersionID: c.versionID(friendsOf(req.UserID)), UserIDs: []string{}}
		for _, f := range list {
			resp.UserIDs = append(resp.UserIDs, f.FriendUser.UserID)
		}
		return resp, err
	})
}

// friendRequests reads requests in which user is the one asked (TableFriendRequest)
// or the one who asked (TableFriendAsked), newest first, filtered by result.
func (c *Core) friendRequests(r Reader, table Table, user string, results []int32) ([]*sdkws.FriendRequest, error) {
	list := []*sdkws.FriendRequest{}
	keep := func(_ Key, q *sdkws.FriendRequest) {
		if len(results) == 0 || slices.Contains(results, q.HandleResult) {
			list = append(list, q)
		}
	}
	var bad, err error
	if table == TableFriendRequest {
		err = scanProto(r, Range{Table: table, Fixed: 1, A: user}, keep)
	} else {
		err = r.Scan(Range{Table: table, Fixed: 1, A: user}, func(k Key, _ []byte) bool {
			q := new(sdkws.FriendRequest)
			var ok bool
			if ok, bad = getProto(r, Key{Table: TableFriendRequest, A: k.B, B: user}, q); ok && bad == nil {
				keep(k, q)
			}
			return bad == nil
		})
	}
	if err = firstError(err, bad); err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b *sdkws.FriendRequest) int { return cmp.Compare(b.CreateTime, a.CreateTime) })
	for _, q := range list {
		if err := c.fillRequest(r, q); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// fillRequest adds both users' present names and faces.
func (c *Core) fillRequest(r Reader, q *sdkws.FriendRequest) error {
	a, err := c.user(r, q.FromUserID)
	if err != nil {
		return err
	}
	b, err := c.user(r, q.ToUserID)
	q.FromNickname, q.FromFaceURL = a.GetNickname(), a.GetFaceURL()
	q.ToNickname, q.ToFaceURL = b.GetNickname(), b.GetFaceURL()
	return err
}

// GetPaginationFriendsApplyTo pages through the requests a user received.
func (c *Core) GetPaginationFriendsApplyTo(from Caller, req *relation.GetPaginationFriendsApplyToReq) (*relation.GetPaginationFriendsApplyToResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.UserID, func(v View) ([]*sdkws.FriendRequest, error) {
		return c.friendRequests(v, TableFriendRequest, req.UserID, req.HandleResults)
	})
	return &relation.GetPaginationFriendsApplyToResp{
		FriendRequests: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber), Total: int32(len(list)),
	}, err
}

// GetPaginationFriendsApplyFrom pages through the requests a user sent.
func (c *Core) GetPaginationFriendsApplyFrom(from Caller, req *relation.GetPaginationFriendsApplyFromReq) (*relation.GetPaginationFriendsApplyFromResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.UserID, func(v View) ([]*sdkws.FriendRequest, error) {
		return c.friendRequests(v, TableFriendAsked, req.UserID, req.HandleResults)
	})
	return &relation.GetPaginationFriendsApplyFromResp{
		FriendRequests: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber), Total: int32(len(list)),
	}, err
}

// GetPaginationBlacks pages through a user's black list, oldest entry first.
func (c *Core) GetPaginationBlacks(from Caller, req *relation.GetPaginationBlacksReq) (*relation.GetPaginationBlacksResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.UserID, func(v View) ([]*sdkws.BlackInfo, error) {
		list := []*sdkws.BlackInfo{}
		var bad error
		err := scanProto(v, Range{Table: TableBlack, Fixed: 1, A: req.UserID}, func(k Key, b *sdkws.BlackInfo) {
			u, err := c.user(v, k.B)
			bad = firstError(bad, err)
			b.BlackUserInfo = &sdkws.PublicUserInfo{UserID: k.B, Nickname: u.GetNickname(), FaceURL: u.GetFaceURL(), Ex: u.GetEx()}
			list = append(list, b)
		})
		slices.SortStableFunc(list, func(a, b *sdkws.BlackInfo) int { return cmp.Compare(a.CreateTime, b.CreateTime) })
		return list, firstError(err, bad)
	})
	return &relation.GetPaginationBlacksResp{
		Blacks: page(list, req.Pagination.PageNumber, req.Pagination.ShowNumber), Total: int32(len(list)),
	}, err
}
