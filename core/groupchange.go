package core

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// Limits of groups.
const (
	groupIDMax      = 64
	groupNameMax    = 255
	groupTextMax    = 16 << 10           // notification, introduction, ex
	groupUsersMax   = 1000               // users per call
	lenientUsersMax = 10 * groupUsersMax // users per call of the v2 dialect, which names no limit
	groupTypeWork   = 2                  // the only type of v3
	tipsMembersMax  = 50                 // members named by one notification
)

// Ways into a group (GroupMemberFullInfo.joinSource).
const joinByInvitation = 2

// groupTx is a transaction about one group: its record and the acting user.
type groupTx struct {
	*tx
	from Caller
	info *sdkws.GroupInfo
	now  int64 // ms
	// renamed is the profile that this transaction changes, if it is about one: the
	// store still has the old one.
	renamed *sdkws.UserInfo
}

// changeGroup runs decide on a group under its stripe and those of users, who
// are the users whose lists change. It fails for unknown groups, and for
// dismissed ones unless dismissedToo.
func (c *Core) changeGroup(from Caller, groupID string, users []string, dismissedToo bool, decide func(*groupTx) error) error {
	names := []string{groupName(groupID)}
	for _, u := range users {
		names = append(names, userName(u))
	}
	return c.update(names, func(t *tx) error {
		info, err := c.group(c.store.Latest(), groupID)
		if err != nil {
			return err
		}
		if info == nil {
			return im.ErrGroupIDNotFound.With("group %s not found", groupID)
		}
		if info.Status == groupDismissed && !dismissedToo {
			return im.ErrDismissedAlready.With("group %s", groupID)
		}
		t.holds = append(t.holds, im.GroupID(groupID))
		return decide(&groupTx{tx: t, from: from, info: info, now: c.nowMS()})
	})
}

// member reads one member's record; nil when not in the group. Names are as
// stored, blank when the profile's count.
func (g *groupTx) member(user string) (*sdkws.GroupMemberFullInfo, error) {
	m := new(sdkws.GroupMemberFullInfo)
	ok, err := getProto(g.c.store.Latest(), Key{Table: TableMember, A: g.info.GroupID, B: user}, m)
	if err != nil || !ok {
		return nil, err
	}
	return m, nil
}

// role returns a member's role; an administrator who is no member counts as above all.
func (g *groupTx) role(user string) (int32, error) {
	if g.from.Admin && user == g.from.UserID {
		return roleOwner + 1, nil
	}
	m, err := g.member(user)
	return m.GetRoleLevel(), err
}

// mustManage fails unless the caller is owner, role admin or administrator; it
// returns the caller's role.
func (g *groupTx) mustManage() (int32, error) {
	role, err := g.role(g.from.UserID)
	if err == nil && role < roleAdmin {
		err = im.ErrNoPermission.With("user %s does not manage group %s", g.from.UserID, g.info.GroupID)
	}
	return role, err
}

// saveInfo writes the group's record.
func (g *groupTx) saveInfo() error {
	return g.putProto(Key{Table: TableGroup, A: g.info.GroupID}, g.info)
}

// saveMember writes a member's record and keeps the group in memory in step.
func (g *groupTx) saveMember(m *sdkws.GroupMemberFullInfo) error {
	g.then(func() {
		if s := g.c.loadedGroup(g.info.GroupID); s != nil {
			g.c.setMember(s, m.UserID, memberFacts{role: m.RoleLevel, muteEnd: m.MuteEndTime})
		}
	})
	return g.putProto(Key{Table: TableMember, A: g.info.GroupID, B: m.UserID}, m)
}

// statusChanged keeps the group in memory in step with the record.
func (g *groupTx) statusChanged() {
	status := g.info.Status
	g.then(func() {
		if s := g.c.loadedGroup(g.info.GroupID); s != nil {
			s.mu.Lock()
			s.status = status
			s.mu.Unlock()
		}
	})
}

// add puts users into the group: member, joined list, conversation, versions,
// and the read position so that old messages do not count as unread.
func (g *groupTx) add(members []*sdkws.GroupMemberFullInfo) error {
	conv := im.GroupID(g.info.GroupID)
	for _, m := range members {
		if err := g.saveMember(m); err != nil {
			return err
		}
		g.put(Key{Table: TableJoined, A: m.UserID, B: g.info.GroupID}, []byte{})
		if _, err := g.bump(membersOf(g.info.GroupID), change{changeInsert, m.UserID}); err != nil {
			return err
		}
		if _, err := g.bump(joinedOf(m.UserID), change{changeInsert, g.info.GroupID}); err != nil {
			return err
		}
		if err := g.openConversation(m.UserID); err != nil {
			return err
		}
		g.reads = append(g.reads, readMove{conv: conv, user: m.UserID, seq: math.MaxInt64})
	}
	g.info.MemberCount += uint32(len(members))
	return g.saveInfo()
}

// openConversation puts the group's chat into user's list, or opens it again for
// one who comes back.
func (g *groupTx) openConversation(user string) error {
	row := new(conversation.Conversation)
	conv := im.GroupID(g.info.GroupID)
	ok, err := getProto(g.c.store.Latest(), Key{Table: TableInbox, A: user, B: conv}, row)
	if err != nil {
		return err
	}
	if ok {
		row.MaxSeq = 0
		return g.putInbox(row)
	}
	return g.saveRow(&conversation.Conversation{
		OwnerUserID: user, ConversationID: conv, ConversationType: im.GroupChat, GroupID: g.info.GroupID,
	}, true)
}

// remove takes users out. What the chat holds when this transaction's messages
// have their place stays visible to them.
func (g *groupTx) remove(users []string) error {
	conv := im.GroupID(g.info.GroupID)
	for _, user := range users {
		g.del(Key{Table: TableMember, A: g.info.GroupID, B: user})
		g.del(Key{Table: TableJoined, A: user, B: g.info.GroupID})
		if _, err := g.bump(membersOf(g.info.GroupID), change{changeDelete, user}); err != nil {
			return err
		}
		if _, err := g.bump(joinedOf(user), change{changeDelete, g.info.GroupID}); err != nil {
			return err
		}
		if err := g.closeConversation(user, conv); err != nil {
			return err
		}
		g.then(func() {
			if s := g.c.loadedGroup(g.info.GroupID); s != nil {
				g.c.dropMember(s, user)
			}
		})
	}
	g.info.MemberCount -= min(g.info.MemberCount, uint32(len(users)))
	return g.saveInfo()
}

// closeConversation ends user's view of the chat at the last message.
func (g *groupTx) closeConversation(user, conv string) error {
	row := new(conversation.Conversation)
	key := Key{Table: TableInbox, A: user, B: conv}
	ok, err := getProto(g.c.store.Latest(), key, row)
	if err != nil || !ok {
		return err
	}
	if _, err := g.bump(conversationsOf(user), change{changeUpdate, conv}); err != nil {
		return err
	}
	g.late = append(g.late, lateOp{conv, func(maxSeq int64) error {
		if row.MaxSeq = maxSeq; maxSeq == 0 {
			row.MaxSeq = -1 // nothing to see: 0 would mean all there will be
		}
		return g.putProto(key, row)
	}})
	return nil
}

// groupPlan is what creating a group needs, from either dialect.
type groupPlan struct {
	info    *sdkws.GroupInfo
	owner   string
	admins  []string
	members []string
	lenient bool  // skip unknown and repeated users instead of failing
	message *bool // whether the notification is also a message; nil: as configured
}

// CreateGroup makes a group with its owner and members in one commit (v3).
func (c *Core) CreateGroup(from Caller, req *group.CreateGroupReq) (*group.CreateGroupResp, error) {
	if req.GroupInfo == nil || req.OwnerUserID == "" {
		return nil, im.ErrArgs.With("groupInfo or ownerUserID is empty")
	}
	if req.GroupInfo.GroupType != groupTypeWork {
		return nil, im.ErrArgs.With("groupType must be %d", groupTypeWork)
	}
	if err := uniqueIDs(slices.Concat([]string{req.OwnerUserID}, req.AdminUserIDs, req.MemberUserIDs), "userID"); err != nil {
		return nil, err
	}
	info, err := c.createGroup(from, groupPlan{
		info: req.GroupInfo, owner: req.OwnerUserID, admins: req.AdminUserIDs, members: req.MemberUserIDs, message: req.SendMessage,
	})
	if err != nil {
		return nil, err
	}
	return &group.CreateGroupResp{GroupInfo: info}, nil
}

// CreateGroupLenient is CreateGroup as the v2 dialect wants it: unknown and
// repeated users are left out.
func (c *Core) CreateGroupLenient(from Caller, info *sdkws.GroupInfo, owner string, admins, members []string) (*sdkws.GroupInfo, error) {
	return c.createGroup(from, groupPlan{info: info, owner: owner, admins: admins, members: members, lenient: true})
}

func checkGroupInfo(g *sdkws.GroupInfo) error {
	switch {
	case len(g.GroupID) > groupIDMax:
		return im.ErrArgs.With("groupID has more than %d bytes", groupIDMax)
	case len(g.GroupName) > groupNameMax:
		return im.ErrArgs.With("groupName has more than %d bytes", groupNameMax)
	case len(g.FaceURL) > faceURLMax:
		return im.ErrArgs.With("faceURL has more than %d bytes", faceURLMax)
	case len(g.Notification) > groupTextMax || len(g.Introduction) > groupTextMax || len(g.Ex) > groupTextMax:
		return im.ErrArgs.With("a text has more than %d bytes", groupTextMax)
	}
	if g.GroupID != "" {
		return checkUserID(g.GroupID)
	}
	return nil
}

func (c *Core) createGroup(from Caller, p groupPlan) (*sdkws.GroupInfo, error) {
	if err := from.self(p.owner); err != nil {
		return nil, err
	}
	if err := checkGroupInfo(p.info); err != nil {
		return nil, err
	}
	users := slices.Concat([]string{p.owner}, p.admins, p.members)
	if len(users) > lenientUsersMax {
		return nil, im.ErrArgs.With("more than %d users", lenientUsersMax)
	}
	if !from.Admin && strings.Contains(p.info.GroupID, "_") {
		// The notifications of group x_y and those of the users x and y would be one
		// conversation, and whoever came second could not use it.
		return nil, im.ErrArgs.With("a groupID with _ is for administrators")
	}
	id := p.info.GroupID
	for try := 0; ; try++ {
		if p.info.GroupID == "" {
			id = strconv.FormatUint(uint64(rand.Uint32()), 10)
		}
		info, taken, err := c.tryCreate(from, p, id, users)
		if taken && p.info.GroupID == "" && try < 16 {
			continue
		}
		return info, err
	}
}

// tryCreate creates the group with this ID; taken tells that the ID is in use.
func (c *Core) tryCreate(from Caller, p groupPlan, id string, users []string) (info *sdkws.GroupInfo, taken bool, err error) {
	names := []string{groupName(id)}
	for _, u := range users {
		names = append(names, userName(u))
	}
	err = c.update(names, func(t *tx) error {
		old, err := c.group(c.store.Latest(), id)
		if err != nil {
			return err
		}
		if old != nil {
			taken = true
			return im.ErrGroupIDExisted.With("group %s exists", id)
		}
		now := c.nowMS()
		info = &sdkws.GroupInfo{
			GroupID: id, GroupName: p.info.GroupName, Notification: p.info.Notification, Introduction: p.info.Introduction,
			FaceURL: p.info.FaceURL, OwnerUserID: p.owner, CreateTime: now, Ex: p.info.Ex, CreatorUserID: from.UserID,
			GroupType: groupTypeWork, NeedVerification: p.info.NeedVerification, LookMemberInfo: p.info.LookMemberInfo,
			ApplyMemberFriend: p.info.ApplyMemberFriend,
		}
		if info.Notification != "" {
			info.NotificationUpdateTime, info.NotificationUserID = now, from.UserID
		}
		g := &groupTx{tx: t, from: from, info: info, now: now}
		t.holds = append(t.holds, im.GroupID(id))
		members, err := g.founders(p)
		if err != nil {
			return err
		}
		if err := g.add(members); err != nil {
			return err
		}
		return g.tellCreated(members, p.message)
	})
	return info, taken, err
}

// founders lists the first members: known users, each once.
func (g *groupTx) founders(p groupPlan) ([]*sdkws.GroupMemberFullInfo, error) {
	var list []*sdkws.GroupMemberFullInfo
	seen := make(map[string]bool)
	add := func(role int32, ids ...string) error {
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			u, err := g.c.user(g.c.store.Latest(), id)
			if err != nil {
				return err
			}
			if u == nil {
				if p.lenient && role != roleOwner {
					continue
				}
				return im.ErrUserIDNotFound.With("userID not found: %s", id)
			}
			list = append(list, g.newMember(id, role, joinByInvitation))
		}
		return nil
	}
	err := firstError(add(roleOwner, p.owner), add(roleAdmin, p.admins...), add(roleOrdinary, p.members...))
	return list, err
}

func (g *groupTx) newMember(user string, role, source int32) *sdkws.GroupMemberFullInfo {
	return &sdkws.GroupMemberFullInfo{
		GroupID: g.info.GroupID, UserID: user, RoleLevel: role, JoinTime: g.now, JoinSource: source,
		OperatorUserID: g.from.UserID, InviterUserID: g.from.UserID,
	}
}

// InviteUserToGroup adds users (v3). Members of the group and administrators may;
// users already in are left out. If the group wants every entry approved, an
// ordinary member's invitation becomes an application per user.
func (c *Core) InviteUserToGroup(from Caller, req *group.InviteUserToGroupReq) (*group.InviteUserToGroupResp, error) {
	if len(req.InvitedUserIDs) == 0 || len(req.InvitedUserIDs) > groupUsersMax {
		return nil, im.ErrArgs.With("invitedUserIDs must hold 1 to %d users", groupUsersMax)
	}
	if err := uniqueIDs(req.InvitedUserIDs, "userID"); err != nil {
		return nil, err
	}
	_, err := c.invite(from, req.GroupID, req.InvitedUserIDs, false, req.SendMessage, req.Reason)
	if err != nil {
		return nil, err
	}
	return &group.InviteUserToGroupResp{}, nil
}

// InviteLenient is InviteUserToGroup as the v2 dialect wants it: it returns who
// joined; unknown users and members are left out.
func (c *Core) InviteLenient(from Caller, groupID string, users []string, reason string) (joined []string, err error) {
	return c.invite(from, groupID, users, true, nil, reason)
}

func (c *Core) invite(from Caller, groupID string, users []string, lenient bool, message *bool, reason string) (joined []string, err error) {
	if len(users) > lenientUsersMax {
		return nil, im.ErrArgs.With("more than %d users", lenientUsersMax)
	}
	if err := firstError(checkList(len(users), "users"), checkTexts(exMax, reason)); err != nil {
		return nil, err
	}
	err = c.changeGroup(from, groupID, users, false, func(g *groupTx) error {
		role, err := g.role(from.UserID)
		if err != nil {
			return err
		}
		switch {
		case role == 0 && lenient:
			return im.ErrNoPermission.With("user %s is not in group %s", from.UserID, groupID)
		case role == 0:
			return im.ErrRecordNotFound.With("user %s is not in group %s", from.UserID, groupID)
		}
		var members []*sdkws.GroupMemberFullInfo
		for _, id := range users {
			if slices.Contains(joined, id) {
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
			old, err := g.member(id)
			if err != nil {
				return err
			}
			if old == nil {
				joined = append(joined, id)
				members = append(members, g.newMember(id, roleOrdinary, joinByInvitation))
			}
		}
		if len(members) == 0 {
			return nil
		}
		if g.info.NeedVerification == verifyAll && role == roleOrdinary {
			defer func() { joined = nil }()
			return g.apply(joined, reason, joinByInvitation, from.UserID)
		}
		if err := g.add(members); err != nil {
			return err
		}
		return g.tellInvited(members, message)
	})
	return joined, err
}

// KickGroupMember removes members (v3): the owner anyone, a role admin ordinary
// members, an administrator anyone but the owner.
func (c *Core) KickGroupMember(from Caller, req *group.KickGroupMemberReq) (*group.KickGroupMemberResp, error) {
	if len(req.KickedUserIDs) == 0 || len(req.KickedUserIDs) > groupUsersMax {
		return nil, im.ErrArgs.With("kickedUserIDs must hold 1 to %d users", groupUsersMax)
	}
	if err := uniqueIDs(req.KickedUserIDs, "userID"); err != nil {
		return nil, err
	}
	if slices.Contains(req.KickedUserIDs, from.UserID) {
		return nil, im.ErrArgs.With("nobody kicks himself")
	}
	_, err := c.kick(from, req.GroupID, req.KickedUserIDs, false, req.SendMessage)
	if err != nil {
		return nil, err
	}
	return &group.KickGroupMemberResp{}, nil
}

// KickLenient is KickGroupMember as the v2 dialect wants it: it returns who was
// removed; others, and the owner, are left alone.
func (c *Core) KickLenient(from Caller, groupID string, users []string) (kicked []string, err error) {
	return c.kick(from, groupID, users, true, nil)
}

func (c *Core) kick(from Caller, groupID string, users []string, lenient bool, message *bool) (kicked []string, err error) {
	if len(users) > lenientUsersMax {
		return nil, im.ErrArgs.With("more than %d users", lenientUsersMax)
	}
	if err := checkList(len(users), "users"); err != nil {
		return nil, err
	}
	err = c.changeGroup(from, groupID, users, true, func(g *groupTx) error {
		role, err := g.mustManage()
		if err != nil {
			return err
		}
		var members []*sdkws.GroupMemberFullInfo
		for _, id := range users {
			if slices.Contains(kicked, id) {
				continue
			}
			m, err := g.member(id)
			if err != nil {
				return err
			}
			if refused := kickable(g, m, id, role); refused != nil {
				if lenient {
					continue
				}
				return refused
			}
			kicked = append(kicked, id)
			if err := c.fillMember(c.store.Latest(), m); err != nil {
				return err
			}
			members = append(members, m)
		}
		if len(members) == 0 {
			return nil
		}
		return g.leave(kicked, func() error { return g.tellKicked(members, message) })
	})
	return kicked, err
}

func kickable(g *groupTx, m *sdkws.GroupMemberFullInfo, id string, role int32) error {
	switch {
	case m == nil:
		return im.ErrUserIDNotFound.With("user %s is not in group %s", id, g.info.GroupID)
	case m.RoleLevel == roleOwner:
		return im.ErrArgs.With("the owner cannot be kicked")
	case m.RoleLevel >= role:
		return im.ErrNoPermission.With("role of user %s is too low", g.from.UserID)
	}
	return nil
}

// leave removes users and tells the group and them.
func (g *groupTx) leave(users []string, tell func() error) error {
	// The records first, so that the notification carries the new count and version.
	if err := g.remove(users); err != nil {
		return err
	}
	return tell()
}
