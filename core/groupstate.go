package core

import (
	"sync"

	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// groupState is what sending to a group needs in memory: its state, its members,
// and the sessions of those who are online. It is loaded when a message for the
// group is decided or delivered, follows every change of members and presence
// from then on, and is dropped when too many members are in memory.
type groupState struct {
	id string // immutable

	mu sync.RWMutex
	// Guarded by mu.
	gone    bool // dropped; nothing changes it any more
	status  int32
	members map[string]memberFacts
	online  map[string][]SessionRef // members with sessions
	targets *groupTargets           // nil: online changed since it was made
}

// memberFacts are what the rules need of one member.
type memberFacts struct {
	role    int32
	muteEnd int64 // ms
}

// groupTargets are the sessions that get the group's pushes, by encoding. It is
// immutable and shared by all deliveries until presence changes.
type groupTargets struct {
	byVariant [wire.Variants][]SessionRef
}

// groupMembersHot bounds the members of all groups in memory together.
const groupMembersHot = 4 << 20

// groupStates holds the loaded groups, and for every user the loaded groups he
// is in, so that a login costs work for those only.
type groupStates struct {
	mu sync.RWMutex
	// Guarded by mu.
	byID    map[string]*groupState
	members int // of all groups in byID

	users [presenceParts]userGroups
}

type userGroups struct {
	mu sync.RWMutex
	// Guarded by mu.
	of map[string][]*groupState
}

func (s *groupStates) init() {
	s.byID = make(map[string]*groupState)
	for i := range s.users {
		s.users[i].of = make(map[string][]*groupState)
	}
}

func (s *groupStates) part(user string) *userGroups { return &s.users[hashOf(user)%presenceParts] }

func (s *groupStates) link(user string, g *groupState) {
	p := s.part(user)
	p.mu.Lock()
	p.of[user] = append(p.of[user], g)
	p.mu.Unlock()
}

func (s *groupStates) unlink(user string, g *groupState) {
	p := s.part(user)
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.of[user]
	for i, other := range list {
		if other == g {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(p.of, user)
	} else {
		p.of[user] = list
	}
}

// loaded returns the state of a group if it is in memory.
func (c *Core) loadedGroup(id string) *groupState {
	c.groups.mu.RLock()
	defer c.groups.mu.RUnlock()
	return c.groups.byID[id]
}

// groupState returns the state of a group, reading it when needed; nil when the
// group does not exist. The caller holds the group's stripe or the shard of its
// chat, so that no change of members is queued meanwhile.
func (c *Core) groupState(id string) (*groupState, error) {
	if g := c.loadedGroup(id); g != nil {
		return g, nil
	}
	r := c.store.Latest()
	info, err := c.group(r, id)
	if err != nil || info == nil {
		return nil, err
	}
	g := &groupState{id: id, status: info.Status, members: make(map[string]memberFacts), online: make(map[string][]SessionRef)}
	err = scanProto(r, Range{Table: TableMember, Fixed: 1, A: id}, func(k Key, m *sdkws.GroupMemberFullInfo) {
		g.members[k.B] = memberFacts{role: m.RoleLevel, muteEnd: m.MuteEndTime}
	})
	if err != nil {
		return nil, err
	}
	// Link first, then look at presence: a session that comes in between is found
	// by the one or the other. Show the state last: whoever finds it may deliver.
	for user := range g.members {
		c.groups.link(user, g)
	}
	g.mu.Lock()
	for user := range g.members {
		g.refreshLocked(c, user)
	}
	g.mu.Unlock()
	if other := c.groups.show(g); other != g {
		// Loaded twice: by a sender under the shard, by a deliverer under the stripe.
		for user := range g.members {
			c.groups.unlink(user, g)
		}
		return other, nil
	}
	c.evictGroups(g)
	return g, nil
}

// show makes g the state of its group, unless there is one; it returns which is.
func (s *groupStates) show(g *groupState) *groupState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.byID[g.id]; other != nil {
		return other
	}
	s.byID[g.id] = g
	s.members += len(g.members)
	return g
}

// deliveryGroup is groupState for a deliverer, which holds no lock yet.
func (c *Core) deliveryGroup(id string) (*groupState, error) {
	if g := c.loadedGroup(id); g != nil {
		return g, nil
	}
	defer c.stripes.lock(groupName(id))()
	return c.groupState(id)
}

// evictGroups drops groups other than keep while too many members are in memory.
func (c *Core) evictGroups(keep *groupState) {
	for {
		c.groups.mu.Lock()
		var victim *groupState
		if c.groups.members > groupMembersHot {
			for _, g := range c.groups.byID {
				if g != keep {
					victim = g
					break
				}
			}
		}
		if victim == nil {
			c.groups.mu.Unlock()
			return
		}
		delete(c.groups.byID, victim.id)
		c.groups.mu.Unlock()
		victim.mu.Lock()
		victim.gone = true
		users := victim.members
		victim.members = nil
		victim.mu.Unlock()
		c.groups.count(-len(users))
		for user := range users {
			c.groups.unlink(user, victim)
		}
	}
}

// refreshLocked takes over user's sessions from presence. The caller holds g.mu.
func (g *groupState) refreshLocked(c *Core, user string) {
	g.targets = nil
	if _, in := g.members[user]; in {
		if refs := c.presence.appendSessions(nil, user); len(refs) > 0 {
			g.online[user] = refs
			return
		}
	}
	delete(g.online, user)
}

// presenceChanged brings the loaded groups of user up to his sessions. It takes
// leaf locks only, so an event loop may call it; the work is one map operation
// per loaded group of the user.
func (c *Core) presenceChanged(user string) {
	p := c.groups.part(user)
	p.mu.RLock()
	groups := append([]*groupState(nil), p.of[user]...)
	p.mu.RUnlock()
	for _, g := range groups {
		g.mu.Lock()
		g.refreshLocked(c, user)
		g.mu.Unlock()
	}
}

// setMember adds a member or changes what is known of one. The caller holds the
// shard of the group's chat.
func (c *Core) setMember(g *groupState, user string, f memberFacts) {
	g.mu.RLock()
	_, had := g.members[user]
	g.mu.RUnlock()
	if !had {
		c.groups.link(user, g) // before looking at presence, see groupState
	}
	g.mu.Lock()
	added := !g.gone && !had
	if !g.gone {
		g.members[user] = f
		g.refreshLocked(c, user)
	}
	g.mu.Unlock()
	if !had && !added {
		c.groups.unlink(user, g)
	}
	if added {
		c.groups.count(1)
	}
}

func (c *Core) dropMember(g *groupState, user string) {
	g.mu.Lock()
	_, had := g.members[user]
	delete(g.members, user)
	g.refreshLocked(c, user)
	g.mu.Unlock()
	if had {
		c.groups.count(-1)
		c.groups.unlink(user, g)
	}
}

func (s *groupStates) count(n int) {
	s.mu.Lock()
	s.members += n
	s.mu.Unlock()
}

// sessions returns the sessions that get the group's pushes.
func (g *groupState) sessions() *groupTargets {
	g.mu.RLock()
	t := g.targets
	g.mu.RUnlock()
	if t != nil {
		return t
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.targets == nil {
		g.targets = new(groupTargets)
		for _, refs := range g.online {
			for _, r := range refs {
				if r.Background && r.PlatformID() == im.PlatformIOS {
					continue
				}
				g.targets.byVariant[r.Variant] = append(g.targets.byVariant[r.Variant], r)
			}
		}
	}
	return g.targets
}

// has reports whether user is a member.
func (g *groupState) has(user string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	_, in := g.members[user]
	return in
}

// mayWrite applies the rules for sending to a group (contract §6.1, rows 12–17).
func (g *groupState) mayWrite(user string, admin bool, now int64) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.status == groupDismissed {
		return im.ErrDismissedAlready.With("group %s", g.id)
	}
	if admin {
		return nil
	}
	m, in := g.members[user]
	switch {
	case !in:
		return im.ErrNotInGroup.With("user %s is not in group %s", user, g.id)
	case m.role != roleOwner && m.muteEnd >= now:
		return im.ErrMutedInGroup
	case g.status == groupMuted && m.role < roleAdmin:
		return im.ErrMutedGroup
	case g.status == groupBanned:
		return im.ErrMutedGroup.With("group %s is banned", g.id)
	}
	return nil
}

// submitGroup is submit for a group's chat.
func (c *Core) submitGroup(t *tx, m *message, admin bool) (outcome, error) {
	sh := &c.shards.all[shardIndex(m.conv)]
	if !sh.enter(t, m) {
		return queued, errWait
	}
	defer sh.mu.Unlock()
	g := c.loadedGroup(m.toGroup)
	if g == nil && t.now {
		return queued, errWait
	}
	var err error
	if g == nil {
		if g, err = c.groupState(m.toGroup); err != nil {
			return queued, err
		}
	}
	if g == nil {
		return queued, im.ErrGroupIDNotFound.With("no such group")
	}
	st, err := c.conversationLocked(sh, m.conv)
	if err != nil {
		return queued, err
	}
	if m.stored { // before the rules, see pairRulesLocked
		if out, err := c.repeatedLocked(t, st, m); err != nil || out != queued {
			return out, err
		}
	}
	if err := g.mayWrite(m.sender, admin, c.nowMS()); err != nil {
		return queued, err
	}
	if err := c.queueLocked(t, st, m); err != nil {
		return queued, err
	}
	if users, all := m.atMarks(); all || len(users) > 0 {
		group, sender, trace := m.toGroup, m.sender, m.operationID()
		marked := c.marks.add(func() {
			if err := c.markAt(group, sender, trace, users, all); err != nil {
				c.log.Error("at-mark not set", "operationID", trace, "group", group, "error", err)
			}
		})
		if !marked {
			c.stats.marksLost.Add(1)
		}
	}
	return queued, nil
}
