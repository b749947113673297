package core

import (
	"slices"

	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
)

// How two users became friends (FriendInfo.addSource).
const (
	addedByImport  = 1
	addedByRequest = 2
)

const friendsMax = 1000 // users per call

// befriend makes friend a friend of owner, one direction; true when he was not.
func (t *tx) befriend(owner, friend, operator string, source int32) (bool, error) {
	k := Key{Table: TableFriend, A: owner, B: friend}
	old, err := t.c.store.Latest().Get(k)
	if err != nil || old != nil {
		return false, err
	}
	row := &sdkws.FriendInfo{OwnerUserID: owner, CreateTime: t.c.nowMS() / 1000, AddSource: source, OperatorUserID: operator}
	if err := t.putProto(k, row); err != nil {
		return false, err
	}
	t.put(Key{Table: TableFriendOf, A: friend, B: owner}, []byte{})
	t.touch(owner)
	_, err = t.bump(friendsOf(owner), change{changeInsert, friend})
	return true, err
}

// unfriend takes friend off owner's list, where he must be.
func (t *tx) unfriend(owner, friend string) error {
	t.del(Key{Table: TableFriend, A: owner, B: friend})
	t.del(Key{Table: TableFriendOf, A: friend, B: owner})
	t.touch(owner)
	_, err := t.bump(friendsOf(owner), change{changeDelete, friend})
	return err
}

// befriendBoth makes a and b friends of each other; true when either was not.
func (t *tx) befriendBoth(a, b, operator string, source int32) (bool, error) {
	one, err := t.befriend(a, b, operator, source)
	if err != nil {
		return false, err
	}
	other, err := t.befriend(b, a, operator, source)
	return one || other, err
}

func (t *tx) isFriend(owner, friend string) (bool, error) {
	b, err := t.c.store.Latest().Get(Key{Table: TableFriend, A: owner, B: friend})
	return b != nil, err
}

func fromTo(from, to string) *sdkws.FromToUserID {
	return &sdkws.FromToUserID{FromUserID: from, ToUserID: to}
}

// ApplyToAddFriend files a request to become friends, or renews one, and tells
// both users (1203).
func (c *Core) ApplyToAddFriend(from Caller, req *relation.ApplyToAddFriendReq) (*relation.ApplyToAddFriendResp, error) {
	if err := from.self(req.FromUserID); err != nil {
		return nil, err
	}
	if req.FromUserID == req.ToUserID {
		return nil, im.ErrCanNotAddYourself
	}
	if err := checkTexts(exMax, req.ReqMsg, req.Ex); err != nil {
		return nil, err
	}
	err := c.update([]string{userName(req.FromUserID), userName(req.ToUserID)}, func(t *tx) error {
		for _, id := range []string{req.FromUserID, req.ToUserID} {
			if _, err := c.mustUser(c.store.Latest(), id); err != nil {
				return err
			}
		}
		one, err := t.isFriend(req.FromUserID, req.ToUserID)
		if err != nil {
			return err
		}
		other, err := t.isFriend(req.ToUserID, req.FromUserID)
		if err != nil {
			return err
		}
		if one && other {
			return im.ErrRelationshipAlready
		}
		q := &sdkws.FriendRequest{
			FromUserID: req.FromUserID, ToUserID: req.ToUserID, ReqMsg: req.ReqMsg, Ex: req.Ex, CreateTime: c.nowMS(),
		}
		if err := t.saveFriendRequest(q); err != nil {
			return err
		}
		full, err := t.filledRequest(q)
		if err != nil {
			return err
		}
		return t.notify(notice{
			kind: im.NotifyFriendApplied, from: req.FromUserID, to: req.ToUserID, trace: from.OperationID,
			detail: &sdkws.FriendApplicationTips{FromToUserID: fromTo(req.FromUserID, req.ToUserID), Request: full},
		})
	})
	if err != nil {
		return nil, err
	}
	return &relation.ApplyToAddFriendResp{}, nil
}

func (t *tx) saveFriendRequest(q *sdkws.FriendRequest) error {
	t.put(Key{Table: TableFriendAsked, A: q.FromUserID, B: q.ToUserID}, []byte{})
	return t.putProto(Key{Table: TableFriendRequest, A: q.ToUserID, B: q.FromUserID}, q)
}

// filledRequest is a copy of q with both users' names.
func (t *tx) filledRequest(q *sdkws.FriendRequest) (*sdkws.FriendRequest, error) {
	full := proto.Clone(q).(*sdkws.FriendRequest)
	return full, t.c.fillRequest(t.c.store.Latest(), full)
}

// RespondFriendApply accepts or refuses a request. fromUserID is who asked,
// toUserID who answers.
func (c *Core) RespondFriendApply(from Caller, req *relation.RespondFriendApplyReq) (*relation.RespondFriendApplyResp, error) {
	if err := from.self(req.ToUserID); err != nil {
		return nil, err
	}
	if req.HandleResult != resultAgree && req.HandleResult != resultRefuse {
		return nil, im.ErrArgs.With("handleResult must be 1 or -1")
	}
	if err := checkTexts(exMax, req.HandleMsg); err != nil {
		return nil, err
	}
	err := c.update([]string{userName(req.FromUserID), userName(req.ToUserID)}, func(t *tx) error {
		q := new(sdkws.FriendRequest)
		ok, err := getProto(c.store.Latest(), Key{Table: TableFriendRequest, A: req.ToUserID, B: req.FromUserID}, q)
		if err != nil {
			return err
		}
		switch {
		case !ok:
			return im.ErrRecordNotFound.With("no request of user %s", req.FromUserID)
		case q.HandleResult != resultPending && req.HandleResult == resultAgree:
			return im.ErrArgs.With("the request is answered already")
		case q.HandleResult != resultPending:
			return im.ErrFriendRequestHandled
		}
		q.HandleResult, q.HandleMsg, q.HandlerUserID, q.HandleTime = req.HandleResult, req.HandleMsg, req.ToUserID, c.nowMS()
		if err := t.saveFriendRequest(q); err != nil {
			return err
		}
		full, err := t.filledRequest(q)
		if err != nil {
			return err
		}
		if req.HandleResult == resultRefuse {
			return t.notify(notice{
				kind: im.NotifyFriendRejected, from: req.ToUserID, to: req.FromUserID, trace: from.OperationID,
				detail: &sdkws.FriendApplicationRejectedTips{
					FromToUserID: fromTo(req.FromUserID, req.ToUserID), HandleMsg: req.HandleMsg, Request: full,
				},
			})
		}
		return t.agree(from, req, full)
	})
	if err != nil {
		return nil, err
	}
	return &relation.RespondFriendApplyResp{}, nil
}

// agree makes the two friends; a request the other way round is answered with it.
func (t *tx) agree(from Caller, req *relation.RespondFriendApplyReq, full *sdkws.FriendRequest) error {
	if _, err := t.c.mustUser(t.c.store.Latest(), req.FromUserID); err != nil {
		return err
	}
	if _, err := t.befriendBoth(req.FromUserID, req.ToUserID, from.UserID, addedByRequest); err != nil {
		return err
	}
	back := new(sdkws.FriendRequest)
	ok, err := getProto(t.c.store.Latest(), Key{Table: TableFriendRequest, A: req.FromUserID, B: req.ToUserID}, back)
	if err != nil {
		return err
	}
	if ok && back.HandleResult == resultPending {
		back.HandleResult, back.HandlerUserID, back.HandleTime = resultAgree, req.FromUserID, t.c.nowMS()
		if err := t.saveFriendRequest(back); err != nil {
			return err
		}
	}
	return t.notify(notice{
		kind: im.NotifyFriendApproved, from: req.ToUserID, to: req.FromUserID, trace: from.OperationID,
		detail: &sdkws.FriendApplicationApprovedTips{
			FromToUserID: fromTo(req.FromUserID, req.ToUserID), HandleMsg: req.HandleMsg, Request: full,
		},
	})
}

// ImportFriend makes friends without asking them (v3); all or none.
func (c *Core) ImportFriend(from Caller, req *relation.ImportFriendReq) (*relation.ImportFriendResp, error) {
	if len(req.FriendUserIDs) > friendsMax {
		return nil, im.ErrArgs.With("more than %d friends", friendsMax)
	}
	if slices.Contains(req.FriendUserIDs, req.OwnerUserID) {
		return nil, im.ErrCanNotAddYourself
	}
	if err := uniqueIDs(req.FriendUserIDs, "friendUserID"); err != nil {
		return nil, err
	}
	if _, err := c.importFriends(from, req.OwnerUserID, req.FriendUserIDs, false); err != nil {
		return nil, err
	}
	return &relation.ImportFriendResp{}, nil
}

// ImportFriendsLenient is ImportFriend as the v2 dialect wants it: it returns who
// is a friend now; unknown users and the owner himself are left out.
func (c *Core) ImportFriendsLenient(from Caller, owner string, friends []string) ([]string, error) {
	return c.importFriends(from, owner, friends, true)
}

func (c *Core) importFriends(from Caller, owner string, friends []string, lenient bool) (done []string, err error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if len(friends) > lenientUsersMax {
		return nil, im.ErrArgs.With("more than %d users", lenientUsersMax)
	}
	names := []string{userName(owner)}
	for _, id := range friends {
		names = append(names, userName(id))
	}
	err = c.update(names, func(t *tx) error {
		if _, err := c.mustUser(c.store.Latest(), owner); err != nil {
			return err
		}
		for _, id := range friends {
			if slices.Contains(done, id) || id == owner {
				continue
			}
			u, err := c.user(c.store.Latest(), id)
			if err != nil {
				return err
			}
			if u == nil {
				if lenient {
					continue
				}
				return im.ErrRecordNotFound.With("userID not found: %s", id)
			}
			done = append(done, id)
			fresh, err := t.befriendBoth(owner, id, from.UserID, addedByImport)
			if err != nil {
				return err
			}
			if !fresh {
				continue
			}
			if err := t.tellImported(from, owner, id); err != nil {
				return err
			}
		}
		return nil
	})
	return done, err
}

// tellImported tells of a friendship that nobody asked for as if it had been
// (1201). Clients read the request in it, so it has one, which is not stored.
func (t *tx) tellImported(from Caller, owner, friend string) error {
	now := t.c.nowMS()
	full, err := t.filledRequest(&sdkws.FriendRequest{
		FromUserID: owner, ToUserID: friend, HandleResult: resultAgree, HandlerUserID: from.UserID, CreateTime: now, HandleTime: now,
	})
	if err != nil {
		return err
	}
	return t.notify(notice{
		kind: im.NotifyFriendApproved, from: friend, to: owner, trace: from.OperationID,
		detail: &sdkws.FriendApplicationApprovedTips{FromToUserID: fromTo(owner, friend), Request: full},
	})
}

// DeleteFriend takes a friend off owner's list only.
func (c *Core) DeleteFriend(from Caller, req *relation.DeleteFriendReq) (*relation.DeleteFriendResp, error) {
	if err := from.self(req.OwnerUserID); err != nil {
		return nil, err
	}
	err := c.update([]string{userName(req.OwnerUserID)}, func(t *tx) error {
		had, err := t.isFriend(req.OwnerUserID, req.FriendUserID)
		if err != nil || !had {
			return err
		}
		if err := t.unfriend(req.OwnerUserID, req.FriendUserID); err != nil {
			return err
		}
		return t.notify(notice{
			kind: im.NotifyFriendDeleted, from: req.OwnerUserID, to: req.FriendUserID, trace: from.OperationID,
			detail: &sdkws.FriendDeletedTips{FromToUserID: fromTo(req.OwnerUserID, req.FriendUserID)},
		})
	})
	if err != nil {
		return nil, err
	}
	return &relation.DeleteFriendResp{}, nil
}

// UpdateFriends sets remark, pin and ex of friends; others in the list are left out.
func (c *Core) UpdateFriends(from Caller, req *relation.UpdateFriendsReq) (*relation.UpdateFriendsResp, error) {
	if len(req.FriendUserIDs) == 0 || len(req.FriendUserIDs) > friendsMax {
		return nil, im.ErrArgs.With("friendUserIDs must hold 1 to %d users", friendsMax)
	}
	if err := uniqueIDs(req.FriendUserIDs, "friendUserID"); err != nil {
		return nil, err
	}
	_, err := c.editFriends(from, req.OwnerUserID, req.FriendUserIDs, req.IsPinned != nil, func(f *sdkws.FriendInfo) {
		if req.IsPinned != nil {
			f.IsPinned = req.IsPinned.Value
		}
		if req.Remark != nil {
			f.Remark = req.Remark.Value
		}
		if req.Ex != nil {
			f.Ex = req.Ex.Value
		}
	}, func(t *tx, changed []string) error {
		return t.notify(notice{
			kind: im.NotifyFriendsUpdated, from: req.OwnerUserID, to: req.OwnerUserID, trace: from.OperationID,
			detail: &sdkws.FriendsInfoUpdateTips{FromToUserID: fromTo(from.UserID, req.OwnerUserID), FriendIDs: changed},
		})
	})
	if err != nil {
		return nil, err
	}
	return &relation.UpdateFriendsResp{}, nil
}

// SetFriendRemark names a friend.
func (c *Core) SetFriendRemark(from Caller, req *relation.SetFriendRemarkReq) (*relation.SetFriendRemarkResp, error) {
	changed, err := c.editFriends(from, req.OwnerUserID, []string{req.FriendUserID}, false,
		func(f *sdkws.FriendInfo) { f.Remark = req.Remark },
		func(t *tx, _ []string) error {
			return t.notify(notice{
				kind: im.NotifyFriendRemark, from: req.OwnerUserID, to: req.OwnerUserID, trace: from.OperationID,
				detail: &sdkws.FriendInfoChangedTips{FromToUserID: fromTo(req.OwnerUserID, req.FriendUserID)},
			})
		})
	if err == nil && len(changed) == 0 {
		err = im.ErrRecordNotFound.With("user %s is no friend", req.FriendUserID)
	}
	if err != nil {
		return nil, err
	}
	return &relation.SetFriendRemarkResp{}, nil
}

// editFriends edits rows of owner's list and tells him if any changed.
func (c *Core) editFriends(from Caller, owner string, friends []string, order bool,
	edit func(*sdkws.FriendInfo), tell func(*tx, []string) error,
) (changed []string, err error) {
	if err := from.self(owner); err != nil {
		return nil, err
	}
	err = c.update([]string{userName(owner)}, func(t *tx) error {
		for _, id := range friends {
			k := Key{Table: TableFriend, A: owner, B: id}
			f := new(sdkws.FriendInfo)
			ok, err := getProto(c.store.Latest(), k, f)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			edit(f)
			if len(f.Remark) > nicknameMax || len(f.Ex) > exMax {
				return im.ErrArgs.With("a text is too long")
			}
			if err := t.putProto(k, f); err != nil {
				return err
			}
			if _, err := t.bump(friendsOf(owner), change{changeUpdate, id}); err != nil {
				return err
			}
			changed = append(changed, id)
		}
		if len(changed) == 0 {
			return nil
		}
		if order {
			if _, err := t.bump(friendsOf(owner), change{changeOrder, ""}); err != nil {
				return err
			}
		}
		return tell(t, changed)
	})
	return changed, err
}

// AddBlack puts a user on owner's black list: his messages to owner are refused
// from now on. Repeating changes nothing.
func (c *Core) AddBlack(from Caller, req *relation.AddBlackReq) (*relation.AddBlackResp, error) {
	if _, err := c.Block(from, req.OwnerUserID, req.BlackUserID, req.Ex); err != nil {
		return nil, err
	}
	return &relation.AddBlackResp{}, nil
}

// Block is AddBlack; it tells whether the user was not on the list.
func (c *Core) Block(from Caller, owner, blocked, ex string) (fresh bool, err error) {
	if err := from.self(owner); err != nil {
		return false, err
	}
	if owner == blocked {
		return false, im.ErrCanNotAddYourself
	}
	if err := checkTexts(exMax, ex); err != nil {
		return false, err
	}
	err = c.update([]string{userName(owner)}, func(t *tx) error {
		for _, id := range []string{owner, blocked} {
			if _, err := c.mustUser(c.store.Latest(), id); err != nil {
				return err
			}
		}
		k := Key{Table: TableBlack, A: owner, B: blocked}
		old, err := c.store.Latest().Get(k)
		if err != nil || old != nil {
			return err
		}
		fresh = true
		row := &sdkws.BlackInfo{OwnerUserID: owner, CreateTime: c.nowMS() / 1000, OperatorUserID: from.UserID, Ex: ex}
		if err := t.putProto(k, row); err != nil {
			return err
		}
		t.touch(owner)
		return t.notify(notice{
			kind: im.NotifyBlackAdded, from: owner, to: blocked, trace: from.OperationID,
			detail: &sdkws.BlackAddedTips{FromToUserID: fromTo(owner, blocked)},
		})
	})
	return fresh, err
}

// RemoveBlack takes a user off owner's black list; one who is not on it is no error.
func (c *Core) RemoveBlack(from Caller, req *relation.RemoveBlackReq) (*relation.RemoveBlackResp, error) {
	if err := from.self(req.OwnerUserID); err != nil {
		return nil, err
	}
	err := c.update([]string{userName(req.OwnerUserID)}, func(t *tx) error {
		k := Key{Table: TableBlack, A: req.OwnerUserID, B: req.BlackUserID}
		old, err := c.store.Latest().Get(k)
		if err != nil || old == nil {
			return err
		}
		t.del(k)
		t.touch(req.OwnerUserID)
		return t.notify(notice{
			kind: im.NotifyBlackDeleted, from: req.OwnerUserID, to: req.BlackUserID, trace: from.OperationID,
			detail: &sdkws.BlackDeletedTips{FromToUserID: fromTo(req.OwnerUserID, req.BlackUserID)},
		})
	})
	if err != nil {
		return nil, err
	}
	return &relation.RemoveBlackResp{}, nil
}

// GetDesignatedFriends answers the friends asked for; others are left out.
func (c *Core) GetDesignatedFriends(from Caller, req *relation.GetDesignatedFriendsReq) (*relation.GetDesignatedFriendsResp, error) {
	if err := checkList(len(req.FriendUserIDs), "users"); err != nil {
		return nil, err
	}
	if err := uniqueIDs(req.FriendUserIDs, "friendUserID"); err != nil {
		return nil, err
	}
	list, err := ownRows(c, from, req.OwnerUserID, func(v View) ([]*sdkws.FriendInfo, error) {
		return c.friendsByID(v, req.OwnerUserID, req.FriendUserIDs)
	})
	return &relation.GetDesignatedFriendsResp{FriendsInfo: list}, err
}

// GetFriendIDs answers the IDs of a user's friends in list order.
func (c *Core) GetFriendIDs(from Caller, req *relation.GetFriendIDsReq) (*relation.GetFriendIDsResp, error) {
	list, err := ownRows(c, from, req.UserID, func(v View) ([]*sdkws.FriendInfo, error) { return c.friends(v, req.UserID) })
	resp := &relation.GetFriendIDsResp{FriendIDs: []string{}}
	for _, f := range list {
		resp.FriendIDs = append(resp.FriendIDs, f.FriendUser.UserID)
	}
	return resp, err
}

// IsFriend answers who has whom in the list.
func (c *Core) IsFriend(_ Caller, req *relation.IsFriendReq) (*relation.IsFriendResp, error) {
	view := c.store.Committed()
	defer view.Release()
	a, err := view.Get(Key{Table: TableFriend, A: req.UserID1, B: req.UserID2})
	if err != nil {
		return nil, err
	}
	b, err := view.Get(Key{Table: TableFriend, A: req.UserID2, B: req.UserID1})
	return &relation.IsFriendResp{InUser1Friends: a != nil, InUser2Friends: b != nil}, err
}

// GetDesignatedFriendsApply answers the requests between two users, either way.
func (c *Core) GetDesignatedFriendsApply(from Caller, req *relation.GetDesignatedFriendsApplyReq) (*relation.GetDesignatedFriendsApplyResp, error) {
	if from.self(req.FromUserID) != nil && from.self(req.ToUserID) != nil {
		return nil, im.ErrNoPermission.With("user %s is neither of the two", from.UserID)
	}
	view := c.store.Committed()
	defer view.Release()
	resp := &relation.GetDesignatedFriendsApplyResp{FriendRequests: []*sdkws.FriendRequest{}}
	for _, pair := range [][2]string{{req.ToUserID, req.FromUserID}, {req.FromUserID, req.ToUserID}} {
		q := new(sdkws.FriendRequest)
		ok, err := getProto(view, Key{Table: TableFriendRequest, A: pair[0], B: pair[1]}, q)
		if err == nil && ok {
			err = c.fillRequest(view, q)
			resp.FriendRequests = append(resp.FriendRequests, q)
		}
		if err != nil {
			return nil, err
		}
	}
	return resp, nil
}
