package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openimsdk/openim-sdk-core/v3/pkg/sdk_params_callback"
	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/wrapperspb"
)

func wrappedInt(n int32) *wrapperspb.Int32Value { return &wrapperspb.Int32Value{Value: n} }

// friendVerifyConfig writes a configuration under which only friends may write.
func friendVerifyConfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("friend-verify: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// tryEventually waits until ok; failed says what is wrong if it does not come
// about.
func (e *env) tryEventually(ok func() bool, failed func()) {
	e.Helper()
	if !waited(within, ok) {
		failed()
	}
}

// friends returns the IDs of the device's friends in the order of its list.
func (d *device) friends() []string {
	var out []string
	for {
		list, err := d.sdk.Relation().GetFriendListPage(d.ctx(), int32(len(out)), 100, false)
		if err != nil {
			return []string{err.Error()}
		}
		for _, f := range list {
			out = append(out, f.FriendUserID)
		}
		if len(list) < 100 {
			return out
		}
	}
}

// serverFriends returns what friends has to return, by the API.
func (e *env) serverFriends(user string) []string {
	e.Helper()
	var out []string
	for page := 1; ; page++ {
		var data struct {
			FriendsInfo []struct {
				FriendUser struct{ UserID string }
			}
		}
		e.must("/friend/get_friend_list", e.admin, obj{"userID": user, "pagination": obj{"pageNumber": page, "showNumber": 100}}, &data)
		for _, f := range data.FriendsInfo {
			out = append(out, f.FriendUser.UserID)
		}
		if len(data.FriendsInfo) < 100 {
			return out
		}
	}
}

// sameFriends waits until each device lists the friends the server has.
func (e *env) sameFriends(devices ...*device) {
	e.Helper()
	for _, d := range devices {
		want := e.serverFriends(d.user)
		e.tryEventually(func() bool { return slices.Equal(d.friends(), want) }, func() {
			e.Fatalf("%s on %d: friends %v, the server's %v", d.user, d.platform, d.friends(), want)
		})
		list, err := d.sdk.Relation().GetFriendList(d.ctx(), false)
		if err != nil || len(list) != len(want) {
			e.Errorf("%s on %d: %d friends stored of %d (%v)", d.user, d.platform, len(list), len(want), err)
		}
	}
}

func (e *env) makeFriends(owner string, friends ...string) {
	e.Helper()
	e.must("/friend/import_friend", e.admin, obj{"ownerUserID": owner, "friendUserIDs": friends}, nil)
}

// users registers n users at once.
func (e *env) users(name string, n int) []string {
	e.Helper()
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%s%04d", e.prefix, name, i)
	}
	for rest := out; len(rest) > 0; rest = rest[min(len(rest), 500):] {
		e.register(rest[:min(len(rest), 500)]...)
	}
	return out
}

// Applications between users, and what both sides and their other devices see.
func TestFriendLife(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b, c := e.device(e.user("a"), android).login(), e.device(e.user("b"), android).login(), e.device(e.user("c"), android).login()
	a2 := e.device(a.user, windows).login()
	apply := func(from *device, to string) int {
		return errCode(from.sdk.Relation().AddFriend(from.ctx(), &relation.ApplyToAddFriendReq{FromUserID: from.user, ToUserID: to, ReqMsg: "friends?"}))
	}
	if code := apply(a, a.user); code != codeSelf {
		t.Errorf("with oneself: %d", code)
	}
	if code := apply(a, e.prefix+"nobody"); code != codeNotFound {
		t.Errorf("with nobody: %d", code)
	}
	for _, x := range []*device{b, c} {
		if code := apply(a, x.user); code != 0 {
			t.Fatalf("application: %d", code)
		}
		e.hears("OnFriendApplicationAdded", []string{field("fromUserID", a.user), field("toUserID", x.user), field("reqMsg", "friends?")}, x, a, a2)
	}
	list, err := b.sdk.Relation().GetFriendApplicationListAsRecipient(b.ctx(), &sdk_params_callback.GetFriendApplicationListAsRecipientReq{Offset: 0, Count: 20})
	if err != nil || len(list) != 1 || list[0].FromUserID != a.user || list[0].HandleResult != 0 || list[0].FromNickname != "nick "+a.user {
		t.Errorf("applications at the recipient: %v %v", list, err)
	}
	list, err = a.sdk.Relation().GetFriendApplicationListAsApplicant(a.ctx(), &sdk_params_callback.GetFriendApplicationListAsApplicantReq{Offset: 0, Count: 20})
	if err != nil || len(list) != 2 {
		t.Errorf("applications at the applicant: %v %v", list, err)
	}
	answer := &sdk_params_callback.ProcessFriendApplicationParams{ToUserID: a.user, HandleMsg: "gladly"}
	b.do("accept", b.sdk.Relation().AcceptFriendApplication(b.ctx(), answer))
	e.hears("OnFriendApplicationAccepted", []string{field("fromUserID", a.user), field("toUserID", b.user), field("handleMsg", "gladly")}, a, a2, b)
	e.hears("OnFriendAdded", []string{field("userID", b.user)}, a, a2)
	e.hears("OnFriendAdded", []string{field("userID", a.user)}, b)
	if code := errCode(b.sdk.Relation().AcceptFriendApplication(b.ctx(), answer)); code != codeArgs && code != 1305 {
		t.Errorf("accepting again: %d", code)
	}
	if code := apply(a, b.user); code != codeFriends {
		t.Errorf("with a friend: %d", code)
	}
	// It opens their conversation.
	for _, x := range []*device{a, a2} {
		e.eventually("told in the conversation", func() bool { return x.told(onMessage, field("contentType", 1201), field("sendID", b.user)) == 1 })
	}
	c.do("refuse", c.sdk.Relation().RefuseFriendApplication(c.ctx(), &sdk_params_callback.ProcessFriendApplicationParams{ToUserID: a.user, HandleMsg: "no"}))
	e.hears("OnFriendApplicationRejected", []string{field("toUserID", c.user), field("handleMsg", "no")}, a, a2, c)
	e.sameFriends(a, a2, b, c)

	e.makeFriends(a.user, c.user)
	e.hears("OnFriendAdded", []string{field("userID", c.user)}, a, a2)
	e.sameFriends(a, a2, c)
	update := func(what string, req *relation.UpdateFriendsReq, parts ...string) {
		t.Helper()
		req.FriendUserIDs = []string{c.user}
		a.do(what, a.sdk.Relation().UpdateFriends(a.ctx(), req))
		e.hears("OnFriendInfoChanged", append(parts, field("userID", c.user)), a, a2)
		e.sameFriends(a, a2)
	}
	update("remark", &relation.UpdateFriendsReq{Remark: wrapped("see")}, field("remark", "see"))
	update("ex", &relation.UpdateFriendsReq{Ex: wrapped("more")}, field("ex", "more"))
	update("pin", &relation.UpdateFriendsReq{IsPinned: &wrapperspb.BoolValue{Value: true}}, field("isPinned", true))
	if got := a2.friends(); len(got) != 2 || got[0] != c.user {
		t.Errorf("friends %v, want the pinned one first", got)
	}
	if n := c.told("OnFriendInfoChanged"); n != 0 {
		t.Errorf("the friend was told of the remark")
	}

	// A changed profile reaches those who have the user in their list.
	b.do("new name", b.sdk.User().SetSelfInfo(b.ctx(), nameOf("bee")))
	e.hears("OnFriendInfoChanged", []string{field("userID", b.user), field("nickname", "bee")}, a, a2)

	a.block(b.user)
	e.hears("OnBlackAdded", []string{field("userID", b.user)}, a, a2)
	a.do("unblock", a.sdk.Relation().RemoveBlack(a.ctx(), b.user))
	e.hears("OnBlackDeleted", []string{field("userID", b.user)}, a, a2)
	if n := b.told("OnBlackAdded") + b.told("OnBlackDeleted"); n != 0 {
		t.Errorf("the blocked one's list changed")
	}

	a.do("end it", a.sdk.Relation().DeleteFriend(a.ctx(), b.user))
	e.hears("OnFriendDeleted", []string{field("userID", b.user)}, a, a2)
	e.sameFriends(a, a2, b)
	if got := b.friends(); !slices.Equal(got, []string{a.user}) {
		t.Errorf("one side ended it, the other has %v", got)
	}
	if n := b.told("OnFriendDeleted"); n != 0 {
		t.Errorf("the other side was told")
	}
	for name, x := range map[string]*device{"applicant": a, "other device": a2} {
		if n := x.told("OnFriendAdded", field("userID", b.user)); n != 1 {
			t.Errorf("%s: told of the friend %d times", name, n)
		}
	}
}

// REST acceptance A2: a friend added while the user was away.
func TestFriendAddedOffline(t *testing.T) {
	t.Parallel()
	e := shared(t)
	early, late := e.user("early"), e.user("late")
	d := e.device(e.user("a"), android)
	e.makeFriends(d.user, early)
	d.login()
	e.sameFriends(d)
	d.logout()
	e.makeFriends(d.user, late)
	d.login()
	e.hears("OnFriendAdded", []string{field("userID", late)}, d)
	e.sameFriends(d)
	settled(quiet, func() int { return d.count("OnFriendAdded") })
	if n := d.count("OnFriendAdded"); n != 1 {
		t.Errorf("told of %d friends", n)
	}
}

// REST acceptance A3: more changes than one answer of the official server holds,
// in every order, while the user was away.
func TestManyFriendChangesOffline(t *testing.T) {
	t.Parallel()
	e := shared(t)
	all := e.users("f", 260)
	d := e.device(e.user("a"), android)
	e.makeFriends(d.user, all[:50]...)
	d.login()
	e.sameFriends(d)
	d.logout()
	e.makeFriends(d.user, all[50:]...)
	for i, f := range all {
		change := obj{"ownerUserID": d.user, "friendUserID": f}
		if i%3 == 0 {
			e.must("/friend/delete_friend", e.admin, change, nil)
		}
		if i%6 == 0 {
			e.makeFriends(d.user, f)
		}
		if i%3 == 1 {
			e.must("/friend/set_friend_remark", e.admin, with(change, "remark", "remark of "+f), nil)
		}
	}
	d.login()
	e.sameFriends(d)
	list, err := d.sdk.Relation().GetFriendList(d.ctx(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		i := slices.Index(all, f.FriendUserID)
		if (i%3 == 1) != strings.HasPrefix(f.Remark, "remark of ") {
			t.Errorf("friend %d has remark %q", i, f.Remark)
		}
	}
}

// REST acceptance A4: an insert and an update before the client asks is an insert.
func TestFriendAddedAndChanged(t *testing.T) {
	t.Parallel()
	e := shared(t)
	d := e.device(e.user("a"), android)
	early, late := e.user("early"), e.user("late")
	e.makeFriends(d.user, early)
	d.login()
	d.logout()
	e.makeFriends(d.user, late)
	e.must("/friend/set_friend_remark", e.admin, obj{"ownerUserID": d.user, "friendUserID": late, "remark": "new"}, nil)
	d.login()
	e.sameFriends(d)
	if got := d.friends(); !slices.Equal(got, []string{early, late}) {
		t.Errorf("friends by page: %v", got)
	}
}

func nameOf(name string) *sdkws.UserInfoWithEx {
	return &sdkws.UserInfoWithEx{Nickname: wrapped(name)}
}
