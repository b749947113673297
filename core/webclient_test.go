package core

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/jssdk"
	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/wrapperspb"

	"gannet/internal/im"
)

func describeShown(rows []*jssdk.ConversationMsg) string {
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%s user=%s group=%s friend=%s last=%s %d/%d", r.Conversation.ConversationID,
			r.User.GetUserID(), r.Group.GetGroupID(), r.Friend.GetFriendUserID(), r.LastMsg.ClientMsgID, r.ReadSeq, r.MaxSeq))
	}
	return strings.Join(out, "\n")
}

// Web clients get a conversation with its last message, peer and counts: pinned
// first, then the newest, those without a message left out.
func TestShownConversations(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	clock := c.opt.Clock.(*fakeClock)
	register(t, c, "a", "b", "d", "e", "f")
	makeGroup(t, c, "g", "a", "b")
	if _, err := c.ImportFriend(root, &relation.ImportFriendReq{OwnerUserID: "a", FriendUserIDs: []string{"d"}}); err != nil {
		t.Fatal(err)
	}
	for i, d := range []*sdkws.MsgData{
		{SendID: "b", RecvID: "a"}, {SendID: "d", RecvID: "a"},
		{SendID: "b", GroupID: "g", SessionType: im.GroupChat}, {SendID: "e", RecvID: "a"}, {SendID: "a", RecvID: "e"},
	} {
		clock.advance(time.Second)
		d.ClientMsgID = fmt.Sprint("m", i)
		if err := sendAs(c, d); err != nil {
			t.Fatal(err)
		}
	}
	drained(c)
	for peer, pinned := range map[string]bool{"b": true, "f": false} { // f: a row without a message
		_, err := c.SetConversations(as("a"), &conversation.SetConversationsReq{UserIDs: []string{"a"}, Conversation: &conversation.ConversationReq{
			ConversationID: im.SingleID("a", peer), ConversationType: im.SingleChat, UserID: peer, IsPinned: wrapperspb.Bool(pinned)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	active, err := c.GetActiveConversations(as("a"), &jssdk.GetActiveConversationsReq{OwnerUserID: "b"})
	if err != nil {
		t.Fatal(err)
	}
	want := `si_a_b user=b group= friend= last=m0 0/1
si_a_e user=e group= friend= last=m4 1/2
sg_g user= group=g friend= last=m2 0/2
si_a_d user=d group= friend=d last=m1 0/2`
	if got := describeShown(active.Conversations); got != want || active.UnreadCount != 6 {
		t.Errorf("%d unread\n%s\nwant\n%s", active.UnreadCount, got, want)
	}
	two, err := c.GetActiveConversations(as("a"), &jssdk.GetActiveConversationsReq{Count: 2})
	if err != nil || len(two.Conversations) != 2 || two.UnreadCount != 6 {
		t.Errorf("two: %v %v", two, err)
	}
	some, err := c.GetConversationsShown(as("a"), &jssdk.GetConversationsReq{OwnerUserID: "b", ConversationIDs: []string{"sg_g", "si_a_f", "si_b_d", "si_a_e"}})
	if err != nil || describeShown(some.GetConversations()) != strings.Join([]string{strings.Split(want, "\n")[2], strings.Split(want, "\n")[1]}, "\n") || some.UnreadCount != 3 {
		t.Errorf("asked: %d unread\n%s\n%v", some.UnreadCount, describeShown(some.Conversations), err)
	}
	if _, err := c.GetActiveConversations(as("a"), &jssdk.GetActiveConversationsReq{Count: -1}); err == nil {
		t.Error("a negative count")
	}
}
