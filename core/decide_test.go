package core

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/wrapperspb"

	"gannet/internal/im"
)

// A decision that uses two conversations of one full shard must not drop the
// state of the first while it loads the second: the seqs given by the lost state
// would be given again.
func TestStatesStayWhileDecided(t *testing.T) {
	c, store, _ := newRig(t, Options{HotStates: 1}) // 8 per shard
	register(t, c, "a")
	peer := ""
	for i := 0; peer == ""; i++ {
		if p := fmt.Sprint("p", i); shardIndex(im.SingleID("a", p)) == shardIndex(im.NotifyPairID("a", p)) {
			peer = p
		}
	}
	register(t, c, peer)
	shard := shardIndex(im.SingleID("a", peer))
	cold := 0
	fill := func() { // make both conversations cold and the shard full of others
		sh := &c.shards.all[shard]
		for n := 0; n < 64; cold++ {
			if id := fmt.Sprint("si_cold_", cold); shardIndex(id) == shard {
				n++
				if err := c.peek(id, func(*convState) error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
		}
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if len(sh.states) > 8 {
			t.Fatal("the shard holds more than its bound")
		}
	}
	const rounds = 80
	store.mu.Lock()
	store.hold = true // committed messages would let a second state find the right seq
	store.mu.Unlock()
	for range rounds {
		drained(c)
		fill()
		done := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := c.SendBusinessNotification(root, BusinessNotification{
					Key: "k", SendUserID: "a", RecvUserID: peer, SendMsg: true, Reliability: 2})
				done <- err
			}()
		}
		for finished := 0; finished < 2; {
			store.release()
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				finished++
			default:
			}
		}
	}
	drained(c)
	for _, conv := range []string{im.SingleID("a", peer), im.NotifyPairID("a", peer)} {
		n := int64(0)
		err := store.Committed().Scan(Range{Table: TableMessage, Fixed: 1, A: conv}, func(k Key, _ []byte) bool {
			if n++; int64(k.N) != n {
				t.Errorf("%s: seq %d stands where %d should", conv, k.N, n)
			}
			return true
		})
		if err != nil || n != 2*rounds {
			t.Errorf("%s: %d messages of %d: %v", conv, n, 2*rounds, err)
		}
	}
}

// A store that fails must not leave anybody waiting for room.
func TestFailingStoreFreesTheGate(t *testing.T) {
	c, store, _ := newRig(t, Options{InFlightBytes: 1})
	register(t, c, "a", "b")
	drained(c)
	store.mu.Lock()
	store.hold = true
	store.mu.Unlock()
	if err := sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "1"}); err != nil {
		t.Fatal(err)
	}
	if err := sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "2"}); !errors.Is(err, im.ErrBusy) {
		t.Fatal("the gate should be full:", err)
	}
	done := make(chan error)
	go func() {
		_, err := c.AddBlack(as("a"), &relation.AddBlackReq{OwnerUserID: "a", BlackUserID: "b"})
		done <- err
	}()
	store.fail()
	if err := <-done; err == nil {
		t.Error("a change succeeded on a failed store")
	}
}

// What the rules say by the time of a resend does not change that the first
// message was taken.
func TestResendAfterTheRulesChanged(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "a", "b")
	makeGroup(t, c, "g", "b", "a")
	first := func() *sdkws.MsgData { return &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "1"} }
	inGroup := func() *sdkws.MsgData {
		return &sdkws.MsgData{SendID: "a", GroupID: "g", ClientMsgID: "1", SessionType: im.GroupChat}
	}
	if err := errors.Join(sendAs(c, first()), sendAs(c, inGroup())); err != nil {
		t.Fatal(err)
	}
	drained(c)
	if _, err := c.AddBlack(as("b"), &relation.AddBlackReq{OwnerUserID: "b", BlackUserID: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.KickGroupMember(as("b"), &group.KickGroupMemberReq{GroupID: "g", KickedUserIDs: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if err := sendAs(c, first()); err != nil {
		t.Error("resend to a user who blocks meanwhile:", err)
	}
	if err := sendAs(c, inGroup()); err != nil {
		t.Error("resend to a group left meanwhile:", err)
	}
	if err := sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "2"}); !errors.Is(err, im.ErrBlockedByPeer) {
		t.Error("a new message must be refused:", err)
	}
}

// {a, b_c} and {a_b, c} would share the ID si_a_b_c. Neither a row of the list,
// made before the conversation, nor an online-only message gives one pair the
// other's messages or rules.
func TestPairsOfOneID(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "a", "b_c", "a_b", "c")
	_, err := c.SetConversations(as("a"), &conversation.SetConversationsReq{UserIDs: []string{"a"}, Conversation: &conversation.ConversationReq{
		ConversationID: "si_a_b_c", ConversationType: im.SingleChat, UserID: "b_c", IsPinned: wrapperspb.Bool(true)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := sendAs(c, &sdkws.MsgData{SendID: "a_b", RecvID: "c", ClientMsgID: "1"}); err != nil {
		t.Fatal(err)
	}
	drained(c)
	r, err := c.PullMessageBySeqs(as("a"), &sdkws.PullMessageBySeqsReq{UserID: "a", SeqRanges: []*sdkws.SeqRange{{ConversationID: "si_a_b_c", Begin: 1, End: 9, Num: 9}}})
	if err != nil || len(r.Msgs) != 0 {
		t.Errorf("a reads what a_b wrote to c: %v %v", r, err)
	}
	typing := &sdkws.MsgData{SendID: "a", RecvID: "b_c", ClientMsgID: "2", ContentType: im.ContentTyping}
	if err := sendAs(c, typing); !errors.Is(err, im.ErrArgs) {
		t.Error("an online-only message of another pair went through:", err)
	}
	if _, err := c.CreateGroup(as("a"), &group.CreateGroupReq{OwnerUserID: "a", GroupInfo: &sdkws.GroupInfo{GroupID: "a_c", GroupType: groupTypeWork}}); !errors.Is(err, im.ErrArgs) {
		t.Error("a user took the notification conversation of a and c:", err)
	}
}

// A name that is registered again starts without the old conversations, by
// whatever way the row comes back.
func TestNewUserOfAnOldName(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "a", "b")
	if err := sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "1"}); err != nil {
		t.Fatal(err)
	}
	drained(c)
	if failed, err := c.DeleteUsers(root, []string{"a"}); err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
	}
	if err := sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "2"}); !errors.Is(err, im.ErrUserIDNotFound) {
		t.Error("a deleted user writes:", err)
	}
	register(t, c, "a")
	_, err := c.SetConversations(as("a"), &conversation.SetConversationsReq{UserIDs: []string{"a"}, Conversation: &conversation.ConversationReq{
		ConversationID: "si_a_b", ConversationType: im.SingleChat, UserID: "b", IsPinned: wrapperspb.Bool(true)}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.GetLastMessage(as("a"), &msg.GetLastMessageReq{UserID: "a", ConversationIDs: []string{"si_a_b"}})
	if err != nil || len(r.Msgs) != 0 {
		t.Errorf("the new a reads the old one's messages: %v %v", r, err)
	}
}

// Who was removed from a group in which nobody had written sees nothing of what
// is written later.
func TestLeftBeforeTheFirstMessage(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "a", "b")
	silent := false
	_, err := c.CreateGroup(root, &group.CreateGroupReq{GroupInfo: &sdkws.GroupInfo{GroupID: "g", GroupType: groupTypeWork},
		OwnerUserID: "a", MemberUserIDs: []string{"b"}, SendMessage: &silent})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.KickGroupMember(as("a"), &group.KickGroupMemberReq{GroupID: "g", KickedUserIDs: []string{"b"}, SendMessage: &silent}); err != nil {
		t.Fatal(err)
	}
	if err := sendAs(c, &sdkws.MsgData{SendID: "a", GroupID: "g", ClientMsgID: "1", SessionType: im.GroupChat}); err != nil {
		t.Fatal(err)
	}
	drained(c)
	r, err := c.GetLastMessage(as("b"), &msg.GetLastMessageReq{UserID: "b", ConversationIDs: []string{"sg_g"}})
	if err != nil || len(r.Msgs) != 0 {
		t.Errorf("b reads what was written after he left: %v %v", r, err)
	}
	m, err := c.GetMaxSeq(as("b"), &sdkws.GetMaxSeqReq{UserID: "b"})
	if err != nil || m.MaxSeqs["sg_g"] != 0 {
		t.Errorf("%v %v", m, err)
	}
}

// A message is revoked once: the second request waits for the first's commit.
func TestRevokeTwiceAtOnce(t *testing.T) {
	c, store, _ := newRig(t, Options{})
	register(t, c, "a", "b")
	if err := sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "1"}); err != nil {
		t.Fatal(err)
	}
	drained(c)
	store.mu.Lock()
	store.hold = true
	store.mu.Unlock()
	const callers = 4
	done := make(chan error, callers)
	for range callers {
		go func() {
			_, err := c.RevokeMsg(as("a"), &msg.RevokeMsgReq{UserID: "a", ConversationID: "si_a_b", Seq: 1})
			done <- err
		}()
	}
	revoked := 0
	for n := 0; n < callers; {
		select {
		case err := <-done:
			if n++; err == nil {
				revoked++
			} else if !errors.Is(err, im.ErrMsgAlreadyRevoke) {
				t.Error(err)
			}
		default:
			store.release()
		}
	}
	if revoked != 1 {
		t.Errorf("%d of %d revoked the message", revoked, callers)
	}
}

// In a group the owner revokes what anybody wrote, a role admin what ordinary
// members wrote, and who has left what he himself wrote.
func TestRevokeInGroup(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "owner", "boss", "a", "b")
	_, err := c.CreateGroup(root, &group.CreateGroupReq{GroupInfo: &sdkws.GroupInfo{GroupID: "g", GroupType: groupTypeWork},
		OwnerUserID: "owner", AdminUserIDs: []string{"boss"}, MemberUserIDs: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	drained(c) // seq 1 says that the group was made
	seq := int64(1)
	for i, step := range []struct {
		sender, revoker string
		want            error
	}{
		{"a", "b", im.ErrNoPermission}, {"a", "a", nil}, {"a", "boss", nil}, {"owner", "boss", im.ErrNoPermission},
		{"boss", "owner", nil}, {"a", "owner", nil}, {"boss", "a", im.ErrNoPermission},
	} {
		if err := sendAs(c, &sdkws.MsgData{SendID: step.sender, GroupID: "g", ClientMsgID: fmt.Sprint(i), SessionType: im.GroupChat}); err != nil {
			t.Fatal(err)
		}
		drained(c)
		seq++
		_, err := c.RevokeMsg(as(step.revoker), &msg.RevokeMsgReq{UserID: step.revoker, ConversationID: "sg_g", Seq: seq})
		if !errors.Is(err, step.want) {
			t.Errorf("%s revokes what %s wrote: %v", step.revoker, step.sender, err)
		}
	}
}

// Without a key nobody can sign, so nobody is believed.
func TestNoKeyNoToken(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	forged, err := jwt.NewWithClaims(jwt.SigningMethodHS256, &claims{UID: "admin", Platform: "IOS", Expires: epoch}).SignedString([]byte(""))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := c.VerifyToken(forged); !errors.Is(err, im.ErrTokenUnknown) {
		t.Errorf("a token signed with nothing makes %+v (%v)", id, err)
	}
}

// A kick that comes late does not end the token that replaced the kicker's.
func TestLateKickSparesTheNewerToken(t *testing.T) {
	c, _, sink := newRig(t, Options{})
	register(t, c, "a")
	issue := func() SessionRef {
		text, _, err := c.IssueToken("a", im.PlatformIOS, DialectV3, true)
		if err != nil {
			t.Fatal(err)
		}
		return SessionRef{Platform: uint8(im.PlatformIOS), Token: tokenID(text)}
	}
	old, by := issue(), issue()
	newest := issue() // ends by's token before the kick of old gets its turn
	old.ID, by.ID, newest.ID = 1, 2, 3
	sink.names[1] = "old"
	c.kickDisplaced("a", by, []SessionRef{old})
	if e, ok := c.tokens.get(newest.Token); !ok || e.state != tokenNormal {
		t.Error("the newest token was ended")
	}
	if len(sink.lines) != 1 || sink.lines[0] != "old <- closed (last frame 1)" {
		t.Errorf("%q", sink.lines)
	}
}

// A token that was verified before is not verified again, but its time and its
// state count each time, and so does each byte of it.
func TestProvenToken(t *testing.T) {
	c, _, _ := newRig(t, Options{TokenLife: time.Hour})
	register(t, c, "u")
	token, expires, err := c.IssueToken("u", im.PlatformIOS, DialectV3, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.proven.parts { // as after a restart
		clear(c.proven.parts[i].ids[:])
	}
	for range 2 {
		if id, err := c.VerifyToken(token); err != nil || id.UserID != "u" || id.Platform != im.PlatformIOS || id.Expires != expires {
			t.Fatalf("%+v, %v", id, err)
		}
	}
	if !c.proven.has(tokenID(token)) {
		t.Error("a verified token is not remembered")
	}
	last := len(token) - 2
	forged := token[:last] + string(token[last]^1) + token[last+1:]
	if id, err := c.VerifyToken(forged); err == nil {
		t.Errorf("forged: %+v", id)
	}
	if c.proven.has(tokenID(forged)) {
		t.Error("a forged token is remembered")
	}
	c.opt.Clock.(*fakeClock).advance(time.Hour)
	if _, err := c.VerifyToken(token); !errors.Is(err, im.ErrTokenExpired) {
		t.Errorf("expired: %v", err)
	}
}
