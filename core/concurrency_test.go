package core_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/msg"

	"gannet/internal/im"
)

func yield() { runtime.Gosched() }

// Many sessions and an administrator write to few conversations at once, and send
// again what they are not sure of: every message has one place, every answer
// tells the truth, and who only reads gets each conversation in order.
func TestManySendersFewConversations(t *testing.T) {
	const senders, readers, each = 6, 2, 60
	s := open(t, vfs.NewMem())
	defer s.close()
	users := userIDs(senders + readers)
	s.register(users...)
	for i, id := range users {
		s.Connect(id, session(i))
	}
	s.createGroup("g", users[0], users[1:]...)
	var answers sync.Map // clientMsgID with sender → serverMsgID
	var sends atomic.Int64
	agree := func(sender, clientID, serverID string) {
		if was, _ := answers.LoadOrStore(sender+" "+clientID, serverID); was != serverID || serverID == "" {
			t.Errorf("%s of %s is %s and %s", clientID, sender, was, serverID)
		}
	}
	var all sync.WaitGroup
	for n := range senders {
		for twin := range 2 { // both send the same messages
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(n), uint64(twin)))
				for i := range each {
					to, inGroup := "g", true
					if i%3 == 0 {
						to, inGroup = users[senders], false // the first reader
					}
					d := text(users[n], to, inGroup, fmt.Sprint(i))
					if r.IntN(4) == 0 {
						resp, err := s.SendMsg(admin, &msg.SendMsgReq{MsgData: d})
						if err != nil {
							t.Error(err)
							return
						}
						agree(d.SendID, d.ClientMsgID, resp.ServerMsgID)
						continue
					}
					incr := fmt.Sprint(sends.Add(1))
					if err := s.send(session(n), d, incr); err != nil {
						t.Error(err)
						return
					}
					if r.IntN(3) == 0 { // not every client waits
						a := s.answer(incr)
						agree(d.SendID, d.ClientMsgID, a.ServerMsgID)
					}
				}
			})
		}
	}
	all.Wait()
	for i := range sends.Load() {
		s.answer(fmt.Sprint(i + 1))
	}
	s.settled()
	reader := users[senders]
	total := 0
	for _, conv := range append([]string{"sg_g"}, pairs(users[:senders], reader)...) {
		list := s.history(reader, conv)
		s.gapless(conv, list)
		for _, m := range list {
			if m.ContentType == im.ContentText {
				total++
				agree(m.SendID, m.ClientMsgID, m.ServerMsgID)
			}
		}
	}
	if total != senders*each {
		t.Errorf("%d messages are stored, %d were sent", total, senders*each)
	}
	for i := senders; i < senders+readers; i++ {
		last := make(map[string]int64)
		for _, m := range s.pushed[session(i).ID] {
			conv := m.GroupID
			if conv == "" {
				conv = m.SendID
			}
			if m.Seq != last[conv]+1 {
				t.Fatalf("session %d: seq %d of %s after %d", i, m.Seq, conv, last[conv])
			}
			last[conv] = m.Seq
		}
		if want := int64(len(s.history(users[i], "sg_g"))); last["g"] != want {
			t.Errorf("session %d got %d of %d messages of the group", i, last["g"], want)
		}
	}
}

func pairs(users []string, with string) (convs []string) {
	for _, u := range users {
		convs = append(convs, im.SingleID(u, with))
	}
	return convs
}

// Invitations, kicks, farewells and messages of one group at once, and in the end
// its dismissal: the records agree with each other and with the memory, and who
// is out gets nothing that was written after he went.
func TestGroupChangesAtOnce(t *testing.T) {
	const members, rounds = 8, 40
	s := open(t, vfs.NewMem())
	defer s.close()
	users := userIDs(members)
	s.register(users...)
	s.createGroup("g", users[0])
	for i, id := range users {
		s.Connect(id, session(i))
	}
	expected := func(err error) {
		var refused *im.Error
		if err != nil && !errors.As(err, &refused) {
			t.Error(err)
		}
	}
	var all sync.WaitGroup
	for n := 1; n < members; n++ {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 7))
			for i := range rounds {
				other := []string{users[1+r.IntN(members-1)]}
				var err error
				switch r.IntN(4) {
				case 0:
					_, err = s.InviteUserToGroup(caller(users[0]), &group.InviteUserToGroupReq{GroupID: "g", InvitedUserIDs: other})
				case 1:
					_, err = s.KickGroupMember(caller(users[0]), &group.KickGroupMemberReq{GroupID: "g", KickedUserIDs: other})
				case 2:
					_, err = s.QuitGroup(caller(users[n]), &group.QuitGroupReq{GroupID: "g", UserID: users[n]})
				case 3:
					err = s.send(session(n), text(users[n], "g", true, fmt.Sprint(i)), fmt.Sprint(n, "/", i))
				}
				expected(err)
			}
		})
	}
	all.Wait()
	s.settled()
	in := s.checkGroup("g")
	for i, id := range users {
		row, err := s.GetConversation(caller(id), &conversation.GetConversationReq{OwnerUserID: id, ConversationID: "sg_g"})
		if err != nil {
			continue // never was in
		}
		if slices.Contains(in, id) {
			if row.Conversation.MaxSeq != 0 {
				t.Errorf("%s is in the group and sees it up to %d", id, row.Conversation.MaxSeq)
			}
			continue
		}
		for _, m := range s.pushed[session(i).ID] {
			if m.GroupID == "g" && m.Seq > row.Conversation.MaxSeq {
				t.Errorf("%s, out since %d, got %d", id, row.Conversation.MaxSeq, m.Seq)
			}
		}
	}

	// The dismissal against joins: whoever got in before it is out after it.
	all.Go(func() {
		_, err := s.DismissGroup(caller(users[0]), &group.DismissGroupReq{GroupID: "g", DeleteMember: true})
		if err != nil {
			t.Error(err)
		}
	})
	for n := 1; n < members; n++ {
		all.Go(func() {
			_, err := s.InviteUserToGroup(caller(users[0]), &group.InviteUserToGroupReq{GroupID: "g", InvitedUserIDs: users[n : n+1]})
			expected(err)
		})
	}
	all.Wait()
	if in := s.checkGroup("g"); len(in) > 0 {
		t.Errorf("still in the dismissed group: %v", in)
	}
}

// checkGroup compares all that is known of a group's members and returns them.
func (s *server) checkGroup(id string) (members []string) {
	s.t.Helper()
	ids, err := s.GetGroupMemberUserIDs(admin, &group.GetGroupMemberUserIDsReq{GroupID: id})
	if err != nil {
		s.t.Fatal(err)
	}
	members = slices.Sorted(slices.Values(ids.UserIDs))
	info, err := s.GetGroupsInfo(admin, &group.GetGroupsInfoReq{GroupIDs: []string{id}})
	if err != nil || len(info.GroupInfos) != 1 {
		s.t.Fatal(info, err)
	}
	if n := info.GroupInfos[0].MemberCount; int(n) != len(members) {
		s.t.Errorf("memberCount %d, members %v", n, members)
	}
	if cached, status, loaded := s.GroupInMemory(id); loaded && (!slices.Equal(cached, members) || status != info.GroupInfos[0].Status) {
		s.t.Errorf("in memory %v (status %d), stored %v (status %d)", cached, status, members, info.GroupInfos[0].Status)
	}
	for _, u := range members {
		joined, err := s.GetFullJoinGroupIDs(caller(u), &group.GetFullJoinGroupIDsReq{UserID: u})
		if err != nil || (info.GroupInfos[0].Status != 2 && !slices.Contains(joined.GroupIDs, id)) {
			s.t.Errorf("%s is a member but not in his list: %v %v", u, joined, err)
		}
		if _, err := s.GetConversation(caller(u), &conversation.GetConversationReq{OwnerUserID: u, ConversationID: "sg_" + id}); err != nil {
			s.t.Errorf("member %s has no conversation: %v", u, err)
		}
	}
	return members
}

// The power goes again and again while messages are sent and a group changes:
// what was acknowledged is there afterwards, in its place, and no change is half.
func TestPowerCutsKeepPromises(t *testing.T) {
	const users, cuts = 5, 6
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	ids := userIDs(users)
	s.register(ids...)
	s.createGroup("g", ids[0], ids[1])
	type promise struct{ conv, clientID, serverID string }
	var mu sync.Mutex
	var promised []promise
	var stop atomic.Bool
	var all sync.WaitGroup
	for n := 1; n < users; n++ {
		all.Go(func() {
			for i := 0; !stop.Load(); i++ {
				d := text(ids[n], ids[0], false, fmt.Sprint(n, "/", i))
				incr := d.ClientMsgID
				if err := s.send(session(n), d, incr); err != nil {
					t.Error(err)
					return
				}
				a := s.answer(incr)
				mu.Lock()
				promised = append(promised, promise{im.SingleID(ids[n], ids[0]), a.ClientMsgID, a.ServerMsgID})
				mu.Unlock()
				if i%4 == n%4 && n > 1 {
					_, err := s.InviteUserToGroup(admin, &group.InviteUserToGroupReq{GroupID: "g", InvitedUserIDs: ids[n : n+1]})
					if err == nil {
						_, err = s.KickGroupMember(admin, &group.KickGroupMemberReq{GroupID: "g", KickedUserIDs: ids[n : n+1]})
					}
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for cut := range cuts {
		enough := func() bool { mu.Lock(); defer mu.Unlock(); return len(promised) >= (cut+1)*40 }
		for !enough() {
			yield()
		}
		mu.Lock()
		sofar := slices.Clone(promised)
		mu.Unlock()
		after := open(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(3) * 50, RNG: rng}))
		stored := make(map[promise]bool)
		for _, conv := range pairs(ids[1:], ids[0]) {
			list := after.history(ids[0], conv)
			after.gapless(conv, list)
			for _, m := range list {
				stored[promise{conv, m.ClientMsgID, m.ServerMsgID}] = true
			}
		}
		for _, p := range sofar {
			if !stored[p] {
				t.Errorf("cut %d lost %v", cut, p)
			}
		}
		after.checkGroup("g")
		// A resend after the restart is still the same message.
		if p := sofar[len(sofar)-1]; len(sofar) > 0 {
			resp, err := after.SendMsg(admin, &msg.SendMsgReq{MsgData: text(peerOf(p.conv, ids), ids[0], false, p.clientID)})
			if err != nil || resp.ServerMsgID != p.serverID {
				t.Errorf("resend of %v: %v %v", p, resp, err)
			}
		}
		after.close()
	}
	stop.Store(true)
	all.Wait()
	s.close()
}

func peerOf(conv string, ids []string) string {
	for _, id := range ids[1:] {
		if im.SingleID(id, ids[0]) == conv {
			return id
		}
	}
	return ""
}
