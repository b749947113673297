package core

import (
	"maps"
	"slices"
	"sync"

	"github.com/openimsdk/protocol/push"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
	"gannet/internal/wire"
)

const presenceParts = 64

// subscribeMax bounds the users one session may watch.
const subscribeMax = 10_000

var errWatching = im.ErrArgs.With("a session may watch %d users at most", subscribeMax)

// presence knows which sessions every user has and who watches whom. Its locks
// are leaves held for a few map operations, so event loops may take them.
type presence struct {
	parts [presenceParts]presencePart
}

// presencePart holds the users and the watching sessions that hash to it.
type presencePart struct {
	mu sync.RWMutex
	// Guarded by mu.
	online   sessionTable
	watchers map[string][]SessionRef        // user → the sessions told of changes
	watched  map[uint64]map[string]struct{} // session → the users it watches
}

func (p *presence) init() {
	for i := range p.parts {
		p.parts[i].watchers = make(map[string][]SessionRef)
		p.parts[i].watched = make(map[uint64]map[string]struct{})
	}
}

func (p *presence) of(user string) *presencePart { return &p.parts[hashOf(user)%presenceParts] }

// appendSessions appends the live sessions of user to dst.
func (p *presence) appendSessions(dst []SessionRef, user string) []SessionRef {
	part := p.of(user)
	part.mu.RLock()
	dst = part.online.appendTo(dst, user)
	part.mu.RUnlock()
	return dst
}

// platforms returns the distinct platforms user is online on, ascending.
func (p *presence) platforms(user string) []int32 {
	part := p.of(user)
	part.mu.RLock()
	defer part.mu.RUnlock()
	return platformsOf(part.online.appendTo(nil, user))
}

func platformsOf(refs []SessionRef) []int32 {
	ids := make([]int32, 0, len(refs))
	for _, r := range refs {
		ids = append(ids, int32(r.Platform))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// change edits the sessions of user and returns the sessions before, and whom to
// tell when the set of platforms changed.
func (p *presence) change(user string, edit func([]SessionRef) []SessionRef) (before, tell []SessionRef, now []int32) {
	part := p.of(user)
	part.mu.Lock()
	defer part.mu.Unlock()
	before = part.online.appendTo(nil, user)
	refs := edit(slices.Clone(before))
	part.online.set(user, refs)
	was, now := platformsOf(before), platformsOf(refs)
	if !slices.Equal(was, now) {
		tell = slices.Clone(part.watchers[user])
	}
	return before, tell, now
}

// Connect registers a session that passed the handshake and ends the older ones
// that the login policy forbids: their tokens become kicked, then they get 2002
// and are closed. It may be called on an event loop; the kicks run elsewhere. If
// too many logins wait for that, the new session is closed again (counted); its
// client comes back.
func (c *Core) Connect(userID string, ref SessionRef) {
	before, tell, now := c.presence.change(userID, func(refs []SessionRef) []SessionRef { return append(refs, ref) })
	c.presenceChanged(userID)
	c.tellWatchers(userID, tell, now)
	if e, ok := c.tokens.get(ref.Token); ok && e.state == tokenKicked {
		// Kicked between the handshake's check and now: whoever did it may have
		// looked for sessions before this one was listed.
		c.sink.Close([]SessionRef{ref}, LastKicked)
		return
	}
	if old := c.displaced(before, ref); len(old) > 0 {
		job := func() { c.kickDisplaced(userID, ref, old) }
		if !c.jobs.add(job) {
			c.stats.kickOverflow.Add(1)
			c.sink.Close([]SessionRef{ref}, LastNone)
		}
	}
}

// Disconnect removes a session; ref.ID decides which. It may be called on an
// event loop. A session that was never connected is ignored.
func (c *Core) Disconnect(userID string, ref SessionRef) {
	_, tell, now := c.presence.change(userID, func(refs []SessionRef) []SessionRef {
		return slices.DeleteFunc(refs, func(r SessionRef) bool { return r.ID == ref.ID })
	})
	c.presenceChanged(userID)
	c.tellWatchers(userID, tell, now)
	c.unwatchAll(ref)
}

// displaced lists the sessions that the login of ref ends (contract §4.2).
func (c *Core) displaced(before []SessionRef, ref SessionRef) []SessionRef {
	var out []SessionRef
	for _, r := range before {
		if r.Token != ref.Token && c.opt.Policy.excludes(r.PlatformID(), ref.PlatformID()) {
			out = append(out, r)
		}
	}
	return out
}

// excludes reports whether a new login on platform ends an older one on old.
func (p LoginPolicy) excludes(old, platform im.Platform) bool {
	switch p {
	case PolicySamePlatform:
		return old == platform
	case PolicySameClass:
		return old.Class() == platform.Class()
	case PolicyPCAndOneOther:
		return platform.Class() != "PC" && old.Class() != "PC"
	}
	return false
}

// kickDisplaced ends old, which the login by displaced, and all other tokens that
// the policy excludes beside by's. If by's own token was ended meanwhile, a newer
// one took its place and stays.
func (c *Core) kickDisplaced(userID string, by SessionRef, old []SessionRef) {
	err := c.revokeTokens(userID, func(p im.Platform, id TokenID) bool {
		if id == by.Token || !c.opt.Policy.excludes(p, by.PlatformID()) {
			return false
		}
		e, known := c.tokens.get(by.Token)
		return !known || e.state == tokenNormal || slices.ContainsFunc(old, func(r SessionRef) bool { return r.Token == id })
	})
	if err != nil {
		c.log.Error("kick: tokens not revoked", "user", userID, "error", err)
		return
	}
	c.stats.kicked.Add(uint64(len(old)))
	c.sink.Close(old, LastKicked)
}

// SetBackground notes that the app behind a session went to the back or to the
// front (2004).
func (c *Core) SetBackground(from Caller, ref SessionRef, req *sdkws.SetAppBackgroundStatusReq) error {
	if req.UserID != from.UserID {
		return im.ErrNoPermission.With("userID is not the session's user")
	}
	c.presence.change(from.UserID, func(refs []SessionRef) []SessionRef {
		for i := range refs {
			if refs[i].ID == ref.ID {
				refs[i].Background = req.IsBackground
			}
		}
		return refs
	})
	c.presenceChanged(from.UserID)
	return nil
}

// Logout drops what the user's device registered (2003). The gateway answers and
// closes the session. The token stays valid, as with OpenIM.
func (c *Core) Logout(from Caller, _ SessionRef, req *push.DelUserPushTokenReq) error {
	if req.UserID != from.UserID {
		return im.ErrNoPermission.With("userID is not the session's user")
	}
	return nil
}

// Subscribe makes a session watch users, or stop watching them (2005), and
// answers the present state of each newly watched one, offline ones too.
func (c *Core) Subscribe(from Caller, ref SessionRef, req *sdkws.SubUserOnlineStatus) (*sdkws.SubUserOnlineStatusTips, error) {
	if len(req.SubscribeUserID) > subscribeMax || len(req.UnsubscribeUserID) > subscribeMax {
		return nil, errWatching
	}
	for _, id := range req.SubscribeUserID {
		if len(id) > userIDMax {
			return nil, im.ErrArgs.With("a userID has more than %d bytes", userIDMax)
		}
	}
	c.unwatch(ref, req.UnsubscribeUserID)
	tips := &sdkws.SubUserOnlineStatusTips{}
	if len(req.SubscribeUserID) == 0 {
		return tips, nil
	}
	if !c.watch(ref, req.SubscribeUserID) {
		return nil, errWatching
	}
	// The session may have ended while this ran; its watches must not stay. Those
	// of this request are dropped by name: whoever ended the session may have
	// emptied its list before they were all made.
	if !slices.ContainsFunc(c.presence.appendSessions(nil, from.UserID), func(r SessionRef) bool { return r.ID == ref.ID }) {
		c.unwatchAll(ref)
		c.dropWatcher(ref, req.SubscribeUserID)
	}
	for _, id := range req.SubscribeUserID {
		tips.Subscribers = append(tips.Subscribers, &sdkws.SubUserOnlineStatusElem{UserID: id, OnlinePlatformIDs: c.presence.platforms(id)})
	}
	return tips, nil
}

func (c *Core) sessionPart(ref SessionRef) *presencePart {
	return &c.presence.parts[ref.ID%presenceParts]
}

func (c *Core) watch(ref SessionRef, users []string) bool {
	own := c.sessionPart(ref)
	own.mu.Lock()
	set := own.watched[ref.ID]
	fits := len(set)+len(users) <= subscribeMax
	if fits {
		if set == nil {
			set = make(map[string]struct{}, len(users))
			own.watched[ref.ID] = set
		}
		for _, u := range users {
			set[u] = struct{}{}
		}
	}
	own.mu.Unlock()
	if !fits {
		return false
	}
	for _, u := range users {
		part := c.presence.of(u)
		part.mu.Lock()
		if !slices.ContainsFunc(part.watchers[u], func(r SessionRef) bool { return r.ID == ref.ID }) {
			part.watchers[u] = append(part.watchers[u], ref)
		}
		part.mu.Unlock()
	}
	return true
}

func (c *Core) unwatch(ref SessionRef, users []string) {
	if len(users) == 0 {
		return
	}
	own := c.sessionPart(ref)
	own.mu.Lock()
	set := own.watched[ref.ID]
	for _, u := range users {
		delete(set, u)
	}
	if len(set) == 0 {
		delete(own.watched, ref.ID)
	}
	own.mu.Unlock()
	c.dropWatcher(ref, users)
}

func (c *Core) unwatchAll(ref SessionRef) {
	own := c.sessionPart(ref)
	own.mu.Lock()
	set := own.watched[ref.ID]
	delete(own.watched, ref.ID)
	own.mu.Unlock()
	if len(set) > 0 {
		c.dropWatcher(ref, slices.Collect(maps.Keys(set)))
	}
}

func (c *Core) dropWatcher(ref SessionRef, users []string) {
	for _, u := range users {
		part := c.presence.of(u)
		part.mu.Lock()
		left := slices.DeleteFunc(part.watchers[u], func(r SessionRef) bool { return r.ID == ref.ID })
		if len(left) == 0 {
			delete(part.watchers, u)
		} else {
			part.watchers[u] = left
		}
		part.mu.Unlock()
	}
}

// tellWatchers pushes user's new list of platforms (2005). It only encodes and
// hands over, so an event loop may call it.
func (c *Core) tellWatchers(user string, to []SessionRef, platforms []int32) {
	if len(to) == 0 {
		return
	}
	data, err := proto.Marshal(&sdkws.SubUserOnlineStatusTips{
		Subscribers: []*sdkws.SubUserOnlineStatusElem{{UserID: user, OnlinePlatformIDs: platforms}},
	})
	if err != nil {
		c.log.Error("presence: encode", "user", user, "error", err)
		return
	}
	var byVariant [wire.Variants][]SessionRef
	for _, r := range to {
		byVariant[r.Variant] = append(byVariant[r.Variant], r)
	}
	var round []Delivery
	for v, refs := range byVariant {
		if len(refs) > 0 {
			frame := wire.AppendResponse(nil, wire.Variant(v), &wire.Response{ReqIdentifier: wire.ReqSubscribe, Data: data})
			round = append(round, Delivery{Frame: frame, To: refs})
		}
	}
	c.sink.Deliver(round)
}
