package core

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"github.com/openimsdk/protocol/wrapperspb"

	"gannet/internal/im"
)

// operations yields every method of the one shape that routes and commands call.
func operations(c *Core, fn func(name string, call reflect.Value, req reflect.Type)) {
	v := reflect.ValueOf(c)
	for i := range v.NumMethod() {
		m := v.Method(i)
		mt := m.Type()
		if mt.NumIn() == 2 && mt.NumOut() == 2 && mt.In(0) == reflect.TypeFor[Caller]() && mt.In(1).Kind() == reflect.Pointer &&
			mt.Out(0).Kind() == reflect.Pointer && mt.Out(1) == reflect.TypeFor[error]() {
			fn(v.Type().Method(i).Name, m, mt.In(1).Elem())
		}
	}
}

// fill sets the exported fields of v to what a hostile client may send: null
// elements, empty messages, numbers at the borders, names that exist or not.
func fill(r *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(r, v.Field(i), depth)
			}
		}
	case reflect.Pointer:
		if depth > 0 && r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem(), depth-1)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("{}"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			fill(r, v.Index(i), depth)
		}
	case reflect.String:
		known := []string{"", "a", "b", "g", "si_a_b", "n_a_b", "sg_g", "sn_a_b", "nobody", "n_", "_", "\x00"}
		v.SetString(known[r.IntN(len(known))])
	case reflect.Int32, reflect.Int64, reflect.Int:
		edges := []int64{0, 1, 2, 3, -1, 20, 60, 100, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}
		v.SetInt(edges[r.IntN(len(edges))])
	case reflect.Uint32, reflect.Uint64:
		v.SetUint([]uint64{0, 1, math.MaxUint64}[r.IntN(3)])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	}
}

// Whatever a request holds, each operation answers or refuses: no panic, no nil
// answer, and no error that adapters would have to call internal.
func TestHostileRequests(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	r := rand.New(rand.NewPCG(1, 2))
	one := func(name string, call reflect.Value, from Caller, req reflect.Value) {
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("%s(%v) as %s: panic: %v", name, req, from.UserID, p)
			}
		}()
		out := call.Call([]reflect.Value{reflect.ValueOf(from), req})
		err, _ := out[1].Interface().(error)
		var refused *im.Error
		switch {
		case err == nil && out[0].IsNil():
			t.Errorf("%s(%v): neither an answer nor an error", name, req)
		case err != nil && !errors.As(err, &refused):
			t.Errorf("%s(%v): %v is no request error", name, req, err)
		}
	}
	methods := 0
	for round := range 40 {
		// Requests may delete what later ones need.
		_, _ = c.RegisterUsers(root, &user.UserRegisterReq{Users: []*sdkws.UserInfo{{UserID: "a"}}})
		_, _ = c.RegisterUsers(root, &user.UserRegisterReq{Users: []*sdkws.UserInfo{{UserID: "b"}}})
		_, _ = c.CreateGroup(root, &group.CreateGroupReq{OwnerUserID: "a", MemberUserIDs: []string{"b"},
			GroupInfo: &sdkws.GroupInfo{GroupID: "g", GroupType: groupTypeWork}})
		_ = sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: fmt.Sprint(round)})
		operations(c, func(name string, call reflect.Value, req reflect.Type) {
			methods++
			for _, from := range []Caller{as("a"), root, {}} {
				q := reflect.New(req)
				if round > 0 {
					fill(r, q.Elem(), 3)
				}
				one(name, call, from, q)
			}
		})
	}
	if methods < 40*80 {
		t.Errorf("only %d operations found", methods/40)
	}
}

// A list that costs more than a request may is refused, by whatever operation.
func TestLongListsAreRefused(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "a")
	makeGroup(t, c, "g", "a")
	ids := names("x", listMax+1)
	ranges := make([]*sdkws.SeqRange, listMax+1)
	for name, err := range map[string]error{
		"1002": second2(c.PullMessageBySeqs(as("a"), &sdkws.PullMessageBySeqsReq{UserID: "a", SeqRanges: ranges})),
		"1005": second2(c.GetSeqMessage(as("a"), &msg.GetSeqMessageReq{UserID: "a", Conversations: []*msg.ConversationSeqs{
			{ConversationID: "si_a_b", Seqs: make([]int64, listMax)}}})),
		"1006":   second2(c.GetConversationsHasReadAndMaxSeq(as("a"), &msg.GetConversationsHasReadAndMaxSeqReq{UserID: "a", ConversationIDs: ids})),
		"1007":   second2(c.GetLastMessage(as("a"), &msg.GetLastMessageReq{UserID: "a", ConversationIDs: ids})),
		"2005":   second2(c.Subscribe(as("a"), SessionRef{ID: 1}, &sdkws.SubUserOnlineStatus{SubscribeUserID: ids})),
		"2005 -": second2(c.Subscribe(as("a"), SessionRef{ID: 1}, &sdkws.SubUserOnlineStatus{UnsubscribeUserID: ids})),
		"status": second2(c.GetUserStatus(as("a"), &user.GetUserStatusReq{UserIDs: ids})),
		"users":  second2(c.GetDesignateUsers(as("a"), &user.GetDesignateUsersReq{UserIDs: ids})),
		"groups": second2(c.GetGroupsInfo(as("a"), &group.GetGroupsInfoReq{GroupIDs: ids})),
		"rows":   second2(c.GetConversations(as("a"), &conversation.GetConversationsReq{OwnerUserID: "a", ConversationIDs: ids})),
		"invite": second2(c.InviteLenient(as("a"), "g", ids, "")),
		"kick":   second2(c.KickLenient(as("a"), "g", ids)),
	} {
		if !errors.Is(err, im.ErrArgs) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second2[T any](_ T, err error) error { return err }

// Texts that go to others fit into a frame, and a message into an answer.
func TestLongTextsAreRefused(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "a", "b")
	makeGroup(t, c, "g", "b")
	long := strings.Repeat("x", 1<<20)
	for name, err := range map[string]error{
		"message":     sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "1", Content: []byte(long)}),
		"apply":       second2(c.ApplyToAddFriend(as("a"), &relation.ApplyToAddFriendReq{FromUserID: "a", ToUserID: "b", ReqMsg: long})),
		"black":       second2(c.AddBlack(as("a"), &relation.AddBlackReq{OwnerUserID: "a", BlackUserID: "b", Ex: long})),
		"join":        second2(c.JoinGroup(as("a"), &group.JoinGroupReq{GroupID: "g", ReqMessage: long})),
		"invite":      second2(c.InviteUserToGroup(as("b"), &group.InviteUserToGroupReq{GroupID: "g", InvitedUserIDs: []string{"a"}, Reason: long})),
		"watch":       second2(c.Subscribe(as("a"), SessionRef{ID: 1}, &sdkws.SubUserOnlineStatus{SubscribeUserID: []string{long}})),
		"preferences": second2(c.SetConversations(as("a"), settings("a", "b", &conversation.ConversationReq{Ex: wrapperspb.String(long)}))),
		"business":    second2(c.SendBusinessNotification(root, BusinessNotification{Key: "k", Data: long, SendUserID: "a", RecvUserID: "b"})),
	} {
		if !errors.Is(err, im.ErrArgs) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func settings(owner, peer string, in *conversation.ConversationReq) *conversation.SetConversationsReq {
	in.ConversationID, in.ConversationType, in.UserID = im.SingleID(owner, peer), im.SingleChat, peer
	return &conversation.SetConversationsReq{UserIDs: []string{owner}, Conversation: in}
}

// A user's commands are bounded together: clients read them in one answer.
func TestCommandsAreBounded(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "a")
	value := wrapperspb.String(strings.Repeat("x", commandFieldMax))
	for i := 0; ; i++ {
		_, err := c.ProcessUserCommandAdd(as("a"), &user.ProcessUserCommandAddReq{UserID: "a", Type: 1, Uuid: fmt.Sprint(i), Value: value})
		if i*commandFieldMax > commandsMax {
			if !errors.Is(err, im.ErrArgs) {
				t.Error("no bound:", err)
			}
			return
		}
		if errors.Is(err, im.ErrArgs) && (i+2)*commandFieldMax > commandsMax {
			return
		}
		if err != nil {
			t.Fatal(i, err)
		}
	}
}

// Asking about conversations that are not the asker's leaves nothing in memory.
func TestStrangeConversationsLeaveNoState(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "a")
	before := c.Stats().HotStates
	ids := append(names("si_a_x", 500), names("n_a_x", 500)...)
	if _, err := c.GetLastMessage(as("a"), &msg.GetLastMessageReq{UserID: "a", ConversationIDs: ids}); err != nil {
		t.Fatal(err)
	}
	if n := c.Stats().HotStates; n != before {
		t.Errorf("%d states for conversations that do not exist", n-before)
	}
}

// The answer to 1007 counts what it holds, not what was read to find it.
func TestLastMessagesOfManyConversations(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	const conversations = 60
	peers := names("p", conversations)
	register(t, c, append(peers, "a")...)
	content := []byte(`{"content":"` + strings.Repeat("x", 4000) + `"}`)
	var ids []string
	for _, p := range peers {
		ids = append(ids, im.SingleID("a", p))
		for n := range 4 {
			if err := sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: p, ClientMsgID: fmt.Sprint(n), Content: content}); err != nil {
				t.Fatal(err)
			}
		}
	}
	drained(c)
	r, err := c.GetLastMessage(as("a"), &msg.GetLastMessageReq{UserID: "a", ConversationIDs: ids})
	if err != nil || len(r.Msgs) != conversations {
		t.Errorf("%d of %d conversations answered: %v", len(r.Msgs), conversations, err)
	}
}

// However a session's end and its subscriptions meet, no watch stays behind.
func TestWatchesEndWithTheSession(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	users := names("u", 50)
	for id := uint64(1); id <= 300; id++ {
		ref := SessionRef{ID: id, Platform: 1}
		c.Connect("a", ref)
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := c.Subscribe(as("a"), ref, &sdkws.SubUserOnlineStatus{SubscribeUserID: users}); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() { c.Disconnect("a", ref) })
		both.Wait()
	}
	for i := range c.presence.parts {
		p := &c.presence.parts[i]
		if len(p.watchers)+len(p.watched)+p.online.size > 0 {
			t.Fatalf("part %d: watchers %v, watched %v, online %v", i, p.watchers, p.watched, p.online.first)
		}
	}
}

// After Close none of core's goroutines is left.
func TestCloseEndsEveryGoroutine(t *testing.T) {
	running := func() (n int) {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		for _, g := range bytes.Split(buf, []byte("\n\n")) {
			if bytes.Contains(g, []byte("core.(*deliverer).run")) || bytes.Contains(g, []byte("core.newJobs")) {
				n++
			}
		}
		return n
	}
	// A goroutine that just started, or is done, takes a moment to show it.
	until := func(what string, reached func(n int) bool) {
		t.Helper()
		for n := 0; !reached(running()); n++ {
			if n == 100_000 {
				t.Fatalf("%s: %d goroutines", what, running())
			}
			runtime.Gosched()
		}
	}
	const deliverers = 5
	until("before New", func(n int) bool { return n == 0 })
	c, err := New(Options{Store: newFakeStore(), Deliverers: deliverers})
	if err != nil {
		t.Fatal(err)
	}
	c.Start(&recordingSink{})
	until("after New", func(n int) bool { return n == deliverers+jobWorkers+1 })
	c.Close()
	until("after Close", func(n int) bool { return n == 0 })
}
