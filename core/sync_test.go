package core_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"github.com/openimsdk/protocol/wrapperspb"
	"google.golang.org/protobuf/proto"

	"gannet/core"
)

// replica is a client's copy of one versioned set.
type replica struct {
	version   uint64
	versionID string
	rows      map[string]proto.Message
}

func (r *replica) clone() *replica {
	return &replica{r.version, r.versionID, maps.Clone(r.rows)}
}

// delta is the answer to an incremental question, whatever the set.
type delta struct {
	version                uint64
	versionID              string
	full                   bool
	delete                 []string
	insert, update, listed map[string]proto.Message // listed: all there is, by the paging route
}

func byID[M proto.Message](list []M, id func(M) string) map[string]proto.Message {
	rows := make(map[string]proto.Message)
	for _, m := range list {
		rows[id(m)] = m
	}
	return rows
}

// set is one of the server's versioned sets.
type set struct {
	name string
	// ask answers a client that has version of versionID, and what the list is now.
	ask func(versionID string, version uint64) (delta, error)
	// sameRows is false for joined groups: a group's own changes do not move them.
	sameRows bool
}

// apply brings r up to date as a client does, and checks that the answer is exact:
// it deletes and updates what the client has, and inserts what it has not.
func (x *set) apply(t *testing.T, r *replica) (full bool) {
	t.Helper()
	d, err := x.ask(r.versionID, r.version)
	if err != nil {
		t.Fatal(x.name, err)
	}
	if d.version == 0 || d.versionID == "" {
		t.Fatalf("%s: version %d %q", x.name, d.version, d.versionID)
	}
	if d.full {
		r.rows = d.listed
	}
	for _, id := range d.delete {
		if r.rows[id] == nil {
			t.Errorf("%s %d→%d deletes %s, which the client has not", x.name, r.version, d.version, id)
		}
		delete(r.rows, id)
	}
	for id, row := range d.insert {
		if r.rows[id] != nil {
			t.Errorf("%s %d→%d inserts %s, which the client has", x.name, r.version, d.version, id)
		}
		r.rows[id] = row
	}
	for id, row := range d.update {
		if r.rows[id] == nil {
			t.Errorf("%s %d→%d updates %s, which the client has not", x.name, r.version, d.version, id)
		}
		r.rows[id] = row
	}
	for id, row := range d.listed {
		if r.rows[id] == nil || (x.sameRows && !proto.Equal(r.rows[id], row)) {
			t.Errorf("%s %d→%d: the client has %v, the server %v", x.name, r.version, d.version, r.rows[id], row)
		}
	}
	if len(r.rows) != len(d.listed) {
		t.Errorf("%s %d→%d: the client has %d rows, the server %d", x.name, r.version, d.version, len(r.rows), len(d.listed))
	}
	r.version, r.versionID = d.version, d.versionID
	return d.full
}

var firstPage = &sdkws.RequestPagination{PageNumber: 1, ShowNumber: 1000}

// setsOf are the versioned sets that u sees, with the members of groups.
func (s *server) setsOf(u string, groups []string) []set {
	sets := []set{
		{"conversations of " + u, func(id string, v uint64) (d delta, err error) {
			key := func(m *conversation.Conversation) string { return m.ConversationID }
			r, err := s.GetIncrementalConversation(caller(u), &conversation.GetIncrementalConversationReq{UserID: u, VersionID: id, Version: v})
			if err != nil {
				return d, err
			}
			all, err := s.GetAllConversations(caller(u), &conversation.GetAllConversationsReq{OwnerUserID: u})
			return delta{r.Version, r.VersionID, r.Full, r.Delete, byID(r.Insert, key), byID(r.Update, key), byID(all.Conversations, key)}, err
		}, true},
		{"friends of " + u, func(id string, v uint64) (d delta, err error) {
			key := func(m *sdkws.FriendInfo) string { return m.FriendUser.UserID }
			r, err := s.GetIncrementalFriends(caller(u), &relation.GetIncrementalFriendsReq{UserID: u, VersionID: id, Version: v})
			if err != nil {
				return d, err
			}
			all, err := s.GetPaginationFriends(caller(u), &relation.GetPaginationFriendsReq{UserID: u, Pagination: firstPage})
			return delta{r.Version, r.VersionID, r.Full, r.Delete, byID(r.Insert, key), byID(r.Update, key), byID(all.FriendsInfo, key)}, err
		}, true},
		{"groups of " + u, func(id string, v uint64) (d delta, err error) {
			key := func(m *sdkws.GroupInfo) string { return m.GroupID }
			r, err := s.GetIncrementalJoinGroup(caller(u), &group.GetIncrementalJoinGroupReq{UserID: u, VersionID: id, Version: v})
			if err != nil {
				return d, err
			}
			all, err := s.GetJoinedGroupList(caller(u), &group.GetJoinedGroupListReq{FromUserID: u, Pagination: firstPage})
			return delta{r.Version, r.VersionID, r.Full, r.Delete, byID(r.Insert, key), byID(r.Update, key), byID(all.Groups, key)}, err
		}, false},
	}
	for _, g := range groups {
		sets = append(sets, set{"members of " + g, func(id string, v uint64) (d delta, err error) {
			key := func(m *sdkws.GroupMemberFullInfo) string { return m.UserID }
			b, err := s.BatchGetIncrementalGroupMember(caller(u), &group.BatchGetIncrementalGroupMemberReq{UserID: u,
				ReqList: []*group.GetIncrementalGroupMemberReq{{GroupID: g, VersionID: id, Version: v}}})
			if err != nil {
				return d, err
			}
			r := b.RespList[g]
			all, err := s.GetGroupMemberList(caller(u), &group.GetGroupMemberListReq{GroupID: g, Pagination: firstPage})
			if (r.Full || len(r.Insert)+len(r.Update)+len(r.Delete) > 0) && r.Group == nil {
				return d, fmt.Errorf("members of %s changed, but the group is not told", g)
			}
			return delta{r.Version, r.VersionID, r.Full, r.Delete, byID(r.Insert, key), byID(r.Update, key), byID(all.Members, key)}, err
		}, true})
	}
	return sets
}

// Random histories of every versioned set. A client that last looked at any
// earlier moment gets exactly what it lacks.
func TestIncrementalSyncIsExact(t *testing.T) {
	const people, steps = 6, 1000
	s := open(t, vfs.NewMem())
	defer s.close()
	ids := userIDs(people)
	s.register(append(ids, "me")...)
	groups := []string{"g0", "g1"}
	for _, g := range groups {
		s.createGroup(g, "me", ids[0])
	}
	sets := s.setsOf("me", groups)
	past := make([][]*replica, len(sets))
	for i := range sets {
		r := new(replica)
		if !sets[i].apply(t, r) {
			t.Errorf("%s: a client without a copy must fetch all", sets[i].name)
		}
		past[i] = []*replica{r}
	}
	r := rand.New(rand.NewPCG(11, 12))
	for step := range steps {
		s.randomChange(r, ids, groups, step)
		i := r.IntN(len(sets))
		old := past[i][r.IntN(len(past[i]))].clone()
		if sets[i].apply(t, old) {
			t.Errorf("%s: version %d was too old at step %d", sets[i].name, old.version, step)
		}
		past[i] = append(past[i], old)
		if t.Failed() {
			t.Fatal("step", step)
		}
	}
}

// randomChange does one thing that moves some of me's sets. What the rules refuse
// changes nothing, which is a case too.
func (s *server) randomChange(r *rand.Rand, ids, groups []string, step int) {
	who, g := ids[r.IntN(len(ids))], groups[r.IntN(len(groups))]
	me, one := caller("me"), []string{who}
	switch r.IntN(12) {
	case 0:
		_, _ = s.ImportFriend(admin, &relation.ImportFriendReq{OwnerUserID: "me", FriendUserIDs: one})
	case 1:
		_, _ = s.DeleteFriend(me, &relation.DeleteFriendReq{OwnerUserID: "me", FriendUserID: who})
	case 2:
		_, _ = s.UpdateFriends(me, &relation.UpdateFriendsReq{OwnerUserID: "me", FriendUserIDs: one,
			Remark: wrapperspb.String(fmt.Sprint(step)), IsPinned: wrapperspb.Bool(step%2 == 0)})
	case 3:
		_, _ = s.UpdateUserInfoEx(caller(who), &user.UpdateUserInfoExReq{UserInfo: &sdkws.UserInfoWithEx{
			UserID: who, Nickname: wrapperspb.String(fmt.Sprint("n", step))}})
	case 4, 5:
		_, _ = s.InviteUserToGroup(me, &group.InviteUserToGroupReq{GroupID: g, InvitedUserIDs: one})
	case 6:
		_, _ = s.KickGroupMember(me, &group.KickGroupMemberReq{GroupID: g, KickedUserIDs: one})
	case 7:
		_, _ = s.QuitGroup(caller(who), &group.QuitGroupReq{GroupID: g, UserID: who})
	case 8:
		_, _ = s.SetGroupMemberInfo(me, &group.SetGroupMemberInfoReq{Members: []*group.SetGroupMemberInfo{{GroupID: g, UserID: who,
			Nickname: wrapperspb.String(fmt.Sprint("m", step)), RoleLevel: wrapperspb.Int32([]int32{20, 60}[step%2])}}})
	case 9:
		other := fmt.Sprint("other", r.IntN(3))
		s.createOrLeave(other, ids[0])
	case 10:
		_ = s.send(session(0), text(who, "me", false, fmt.Sprint(step)), fmt.Sprint(step))
		s.settled()
	case 11:
		_, _ = s.SetConversations(me, &conversation.SetConversationsReq{UserIDs: []string{"me"}, Conversation: &conversation.ConversationReq{
			ConversationID: "sg_" + g, ConversationType: 3, GroupID: g, IsPinned: wrapperspb.Bool(step%2 == 0), Ex: wrapperspb.String(fmt.Sprint(step))}})
	}
}

// createOrLeave puts me into a group of owner's, made when needed, or out of it.
func (s *server) createOrLeave(id, owner string) {
	if _, err := s.QuitGroup(caller("me"), &group.QuitGroupReq{GroupID: id, UserID: "me"}); err == nil {
		return
	}
	_, err := s.CreateGroup(admin, &group.CreateGroupReq{OwnerUserID: owner, MemberUserIDs: []string{"me"},
		GroupInfo: &sdkws.GroupInfo{GroupID: id, GroupType: 2}})
	if err != nil {
		_, _ = s.InviteUserToGroup(caller(owner), &group.InviteUserToGroupReq{GroupID: id, InvitedUserIDs: []string{"me"}})
	}
}

// The log is cut when it has grown to twice what is promised. Inside the promise a
// client gets a difference, below the cut it must fetch all; both are exact.
func TestTrimmedLog(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer s.close()
	ids := userIDs(5)
	s.register(append(ids, "me")...)
	for _, id := range ids {
		if err := s.send(session(0), text(id, "me", false, "1"), id); err != nil {
			t.Fatal(err)
		}
	}
	s.settled()
	x := s.setsOf("me", nil)[0]
	now := new(replica)
	x.apply(t, now)
	past := []*replica{now.clone()}
	const changes = 2*core.VersionLogKeep + 100
	for i := range changes {
		id := ids[i%len(ids)]
		if i > 100 && i < changes-100 {
			id = ids[i%2] // the others change only at the ends
		}
		_, err := s.SetConversations(caller("me"), &conversation.SetConversationsReq{UserIDs: []string{"me"}, Conversation: &conversation.ConversationReq{
			ConversationID: "si_me_" + id, ConversationType: 1, UserID: id, Ex: wrapperspb.String(fmt.Sprint(i))}})
		if err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			if x.apply(t, now) {
				t.Fatal("a client that keeps up had to fetch all")
			}
			past = append(past, now.clone())
		}
	}
	x.apply(t, now)
	fulls := 0
	for _, old := range slices.Backward(past) {
		back := now.version - old.version
		full := x.apply(t, old)
		if full {
			fulls++
		}
		if (full && back <= core.VersionLogKeep) || (!full && back > 2*core.VersionLogKeep) || (!full && fulls > 0) {
			t.Errorf("%d versions back: full %t", back, full)
		}
	}
	if fulls == 0 {
		t.Error("the log was never cut")
	}
}
