package core

import (
	"cmp"
	"slices"

	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// DeleteUsers removes accounts, for an administrator. It answers those that were
// not deleted: unknown ones, administrators, and repeated mentions. A deleted
// user's tokens end, his sessions are closed, and he leaves friend lists and
// groups without a notification; messages stay. His ID may be registered again
// and then starts without the old conversations.
func (c *Core) DeleteUsers(from Caller, ids []string) (failed []string, err error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	failed = []string{}
	seen := make(map[string]bool)
	for _, id := range ids {
		ok := false
		if !seen[id] && !c.admins[id] {
			err := again(func() (err error) {
				ok, err = c.deleteUser(from, id)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		if !ok {
			failed = append(failed, id)
		}
		seen[id] = true
	}
	return failed, nil
}

// deleteUser removes one account in one commit; false when there is none. It
// fails with errChanged when he came into another list meanwhile.
func (c *Core) deleteUser(from Caller, id string) (deleted bool, err error) {
	who, err := c.whoSees(id)
	if err != nil {
		return false, err
	}
	friends, err := second(c.store.Latest(), TableFriend, id)
	if err != nil {
		return false, err
	}
	names := who.names(id)
	for _, f := range friends {
		names = append(names, userName(f))
	}
	err = c.update(names, func(t *tx) error {
		u, err := c.user(c.store.Latest(), id)
		if err != nil || u == nil {
			return err
		}
		lists, err := c.whoSees(id)
		if err != nil {
			return err
		}
		own, err := second(c.store.Latest(), TableFriend, id)
		if err != nil {
			return err
		}
		if !within(lists.owners, who.owners) || !within(lists.groups, who.groups) || !within(own, friends) {
			return errChanged
		}
		deleted = true
		t.del(userKey(id))
		t.del(Key{Table: TableProfile, A: id})
		t.touch(id)
		if err := firstError(t.endTokens(id), t.leaveFriends(id, friends, who.owners), t.leaveLists(id)); err != nil {
			return err
		}
		for _, groupID := range who.groups {
			if err := t.leaveGroup(from, groupID, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && deleted {
		c.endSessions(id, func(SessionRef) bool { return true })
	}
	return deleted && err == nil, err
}

// endTokens removes all tokens of a user: they are unknown from then on (1507).
func (t *tx) endTokens(id string) error {
	list, err := tokensOf(t.c.store.Latest(), id)
	for _, rec := range list {
		rec.state = tokenGone
		t.writeToken(id, rec)
	}
	return err
}

func (t *tx) leaveFriends(id string, friends, owners []string) error {
	for _, f := range friends {
		if ok, err := t.isFriend(id, f); err != nil {
			return err
		} else if ok {
			if err := t.unfriend(id, f); err != nil {
				return err
			}
		}
	}
	for _, o := range owners {
		if ok, err := t.isFriend(o, id); err != nil {
			return err
		} else if ok {
			if err := t.unfriend(o, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaveLists empties what only the user himself sees.
func (t *tx) leaveLists(id string) error {
	r := t.c.store.Latest()
	for _, table := range []Table{TableBlack, TableCommand, TableFriendRequest, TableFriendAsked, TableReadSeq} {
		keys, err := second(r, table, id)
		if err != nil {
			return err
		}
		for _, k := range keys {
			t.del(Key{Table: table, A: id, B: k})
		}
	}
	convs, err := inbox(r, id)
	if err != nil {
		return err
	}
	for _, conv := range convs {
		t.del(Key{Table: TableInbox, A: id, B: conv})
		t.holds = append(t.holds, conv)
		t.then(func() {
			if st := t.c.shards.all[shardIndex(conv)].states[conv]; st != nil {
				delete(st.reads, id)
				st.facts = nil
			}
		})
		if _, err := t.bump(conversationsOf(id), change{changeDelete, conv}); err != nil {
			return err
		}
	}
	return nil
}

// leaveGroup takes a deleted user out of a group; a group he owned goes to the
// role admin or member who has been in it longest.
func (t *tx) leaveGroup(from Caller, groupID, id string) error {
	info, err := t.c.group(t.c.store.Latest(), groupID)
	if err != nil || info == nil {
		return err
	}
	g := &groupTx{tx: t, from: from, info: info, now: t.c.nowMS()}
	t.holds = append(t.holds, im.GroupID(groupID))
	m, err := g.member(id)
	if err != nil || m == nil {
		return err
	}
	if m.RoleLevel == roleOwner {
		if err := g.inherit(id); err != nil {
			return err
		}
	}
	g.del(Key{Table: TableMember, A: groupID, B: id})
	g.del(Key{Table: TableJoined, A: id, B: groupID})
	g.then(func() {
		if s := g.c.loadedGroup(groupID); s != nil {
			g.c.dropMember(s, id)
		}
	})
	if _, err := g.bump(membersOf(groupID), change{changeDelete, id}); err != nil {
		return err
	}
	if _, err := g.bump(joinedOf(id), change{changeDelete, groupID}); err != nil {
		return err
	}
	g.info.MemberCount -= min(g.info.MemberCount, 1)
	return g.saveInfo()
}

// inherit gives the group to the next in line after the owner who goes.
func (g *groupTx) inherit(owner string) error {
	list, err := g.c.memberList(g.c.store.Latest(), g.info.GroupID)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(m *sdkws.GroupMemberFullInfo) bool { return m.UserID == owner })
	if len(list) == 0 {
		g.info.OwnerUserID = ""
		return nil
	}
	heir := slices.MaxFunc(list, func(a, b *sdkws.GroupMemberFullInfo) int {
		return cmp.Or(cmp.Compare(a.RoleLevel, b.RoleLevel), cmp.Compare(b.JoinTime, a.JoinTime))
	})
	heir.RoleLevel, heir.MuteEndTime = roleOwner, 0
	g.info.OwnerUserID = heir.UserID
	if err := g.saveMember(heir); err != nil {
		return err
	}
	_, err = g.bump(membersOf(g.info.GroupID), change{changeUpdate, heir.UserID}, change{changeOrder, ""})
	return err
}
