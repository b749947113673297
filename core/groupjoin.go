package core

import (
	"cmp"
	"errors"
	"slices"

	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// JoinGroup lets a user in (needVerification 2) or files an application.
func (c *Core) JoinGroup(from Caller, req *group.JoinGroupReq) (*group.JoinGroupResp, error) {
	applicant := cmp.Or(req.InviterUserID, from.UserID)
	if err := firstError(from.self(applicant), checkTexts(exMax, req.ReqMessage)); err != nil {
		return nil, err
	}
	if _, err := c.mustUser(c.store.Latest(), applicant); err != nil {
		return nil, err
	}
	err := c.changeGroup(from, req.GroupID, []string{applicant}, false, func(g *groupTx) error {
		old, err := g.member(applicant)
		if err != nil {
			return err
		}
		if old != nil {
			return im.ErrArgs.With("user %s is in group %s already", applicant, req.GroupID)
		}
		if g.info.NeedVerification != verifyNone {
			return g.apply([]string{applicant}, req.ReqMessage, req.JoinSource, "")
		}
		m := g.newMember(applicant, roleOrdinary, req.JoinSource)
		m.InviterUserID = ""
		if err := g.add([]*sdkws.GroupMemberFullInfo{m}); err != nil {
			return err
		}
		return g.tellEntered(m)
	})
	if err != nil {
		return nil, err
	}
	return &group.JoinGroupResp{}, nil
}

// QuitGroup lets a member go; the owner must transfer the group first.
func (c *Core) QuitGroup(from Caller, req *group.QuitGroupReq) (*group.QuitGroupResp, error) {
	user := cmp.Or(req.UserID, from.UserID)
	if err := from.self(user); err != nil {
		return nil, err
	}
	err := c.changeGroup(from, req.GroupID, []string{user}, true, func(g *groupTx) error {
		m, err := g.member(user)
		if err != nil {
			return err
		}
		if m == nil {
			return im.ErrRecordNotFound.With("user %s is not in group %s", user, req.GroupID)
		}
		if m.RoleLevel == roleOwner {
			return im.ErrNoPermission.With("the owner cannot quit")
		}
		if err := c.fillMember(c.store.Latest(), m); err != nil {
			return err
		}
		return g.leave([]string{user}, func() error { return g.tellQuit(m) })
	})
	if err != nil {
		return nil, err
	}
	return &group.QuitGroupResp{}, nil
}

// groupMembers lists the IDs of a group's members.
func groupMembers(r Reader, groupID string) (ids []string, err error) {
	err = r.Scan(Range{Table: TableMember, Fixed: 1, A: groupID}, func(k Key, _ []byte) bool {
		ids = append(ids, k.B)
		return true
	})
	return ids, err
}

// errChanged tells that what was read before the stripes were taken is not true
// any more; the change starts again. It never leaves core.
var errChanged = errors.New("core: changed meanwhile")

// retryMax is how often a change starts again before its caller is told to.
const retryMax = 16

// again runs change until it does not fail with errChanged.
func again(change func() error) error {
	for range retryMax {
		if err := change(); !errors.Is(err, errChanged) {
			return err
		}
	}
	return im.ErrBusy.With("it changes too fast; try again")
}

// within reports whether every element of list is in the sorted list of.
func within(list, of []string) bool {
	return !slices.ContainsFunc(list, func(id string) bool {
		_, found := slices.BinarySearch(of, id)
		return !found
	})
}

// DismissGroup ends a group; its owner or an administrator may. Members stay on
// record unless deleteMember.
func (c *Core) DismissGroup(from Caller, req *group.DismissGroupReq) (*group.DismissGroupResp, error) {
	if err := again(func() error { return c.dismiss(from, req) }); err != nil {
		return nil, err
	}
	return &group.DismissGroupResp{}, nil
}

func (c *Core) dismiss(from Caller, req *group.DismissGroupReq) error {
	var locked []string
	if r := c.store.Latest(); req.DeleteMember && c.mayManage(r, from, req.GroupID) == nil {
		var err error
		if locked, err = groupMembers(r, req.GroupID); err != nil {
			return err
		}
	}
	return c.changeGroup(from, req.GroupID, locked, req.DeleteMember, func(g *groupTx) error {
		role, err := g.role(from.UserID)
		if err != nil {
			return err
		}
		if role < roleOwner {
			return im.ErrNoPermission.With("only the owner dismisses group %s", req.GroupID)
		}
		g.info.Status = groupDismissed
		g.statusChanged()
		if req.DeleteMember {
			members, err := groupMembers(c.store.Latest(), req.GroupID)
			if err != nil {
				return err
			}
			if !within(members, locked) {
				return errChanged
			}
			return g.remove(members)
		}
		if _, err := g.bump(membersOf(req.GroupID), change{changeInfo, ""}); err != nil {
			return err
		}
		if err := g.saveInfo(); err != nil {
			return err
		}
		return g.tellDismissed(req.SendMessage)
	})
}
