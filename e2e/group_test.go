package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/openimsdk/openim-sdk-core/v3/pkg/ccontext"
	"github.com/openimsdk/openim-sdk-core/v3/pkg/db/model_struct"
	"github.com/openimsdk/openim-sdk-core/v3/sdk_struct"
	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/sdkws"
)

// Roles in a group.
const (
	roleOrdinary = 20
	roleAdmin    = 60
	roleOwner    = 100
)

// Error codes of groups and friends.
const (
	codeNotFound  = 1004
	codeNotMember = 1203
	codeDismissed = 1204
	codeSelf      = 1301
	codeBlocked   = 1302
	codeNotFriend = 1303
	codeFriends   = 1304
	codeMuted     = 1402
	codeGroupMute = 1403
)

// groupChat returns the ID of a group's conversation.
func groupChat(group string) string { return "sg_" + group }

// ids returns the users of devices.
func ids(devices ...*device) []string {
	out := make([]string, len(devices))
	for i, d := range devices {
		out[i] = d.user
	}
	return out
}

// found a group with this user as its owner.
func (d *device) found(name string, members ...string) string {
	d.env.Helper()
	g, err := d.sdk.Group().CreateGroup(d.ctx(), &group.CreateGroupReq{MemberUserIDs: members,
		GroupInfo: &sdkws.GroupInfo{GroupName: name, GroupType: 2}})
	if err != nil {
		d.env.Fatalf("CreateGroup: %v", err)
	}
	return g.GroupID
}

// do fails the test when a call of the SDK failed.
func (d *device) do(what string, err error) {
	d.env.Helper()
	if err != nil {
		d.env.Fatalf("%s by %s: %v", what, d.user, err)
	}
}

// block puts user into the black list. The SDK reads the list after its call and
// again when it is told of the change, by two goroutines without a lock: when both
// insert the new row, the call reports the second one's failure, though the user is
// blocked, at the server and in the client's database.
func (d *device) block(user string) {
	d.env.Helper()
	err := d.sdk.Relation().AddBlack(d.ctx(), user, "")
	if err != nil && strings.Contains(err.Error(), "UNIQUE constraint failed: local_blacks.") {
		d.env.Logf("block by %s: the SDK wrote the row twice", d.user)
		err = nil
	}
	d.do("block", err)
}

// postGroup sends m to a group and returns the server's errCode.
func (d *device) postGroup(m *sdk_struct.MsgStruct, group string) int {
	ctx := ccontext.WithSendMessageCallback(d.ctx(), noProgress{})
	_, err := d.sdk.Conversation().SendMessage(ctx, m, "", group, nil, false)
	return errCode(err)
}

// sendGroup sends a text to a group, which has to succeed.
func (d *device) sendGroup(group, text string) *sdk_struct.MsgStruct {
	d.env.Helper()
	m := d.newText(text)
	if code := d.postGroup(m, group); code != 0 {
		d.env.Fatalf("send %s → group %s: %d", d.user, group, code)
	}
	return m
}

// told counts the callbacks of a name whose argument holds all the parts.
func (d *device) told(name string, parts ...string) int {
	n := 0
next:
	for _, ev := range d.all(name) {
		for _, part := range parts {
			if !strings.Contains(ev.arg, part) {
				continue next
			}
		}
		n++
	}
	return n
}

// field is a JSON member as a callback's argument holds it.
func field(name string, value any) string {
	if s, ok := value.(string); ok {
		return fmt.Sprintf("%q:%q", name, s)
	}
	return fmt.Sprintf("%q:%v", name, value)
}

// hears waits until each device was told once more than before since.
func (e *env) hears(name string, parts []string, devices ...*device) {
	e.Helper()
	for _, d := range devices {
		e.eventually(fmt.Sprintf("%s on %d told %s %v", d.user, d.platform, name, parts), func() bool { return d.told(name, parts...) > 0 })
	}
}

// group returns the device's row of a joined group, nil if it has none.
func (d *device) group(id string) *model_struct.LocalGroup {
	list, err := d.sdk.Group().GetJoinedGroupList(d.ctx())
	if err != nil {
		return nil
	}
	for _, g := range list {
		if g.GroupID == id {
			return g
		}
	}
	return nil
}

// members returns a group's members as the device lists them: ID, role, name,
// face and whether muted, in the order of the app's list.
func (d *device) members(groupID string) []string {
	var out []string
	for {
		list, err := d.sdk.Group().GetGroupMemberList(d.ctx(), groupID, 0, int32(len(out)), 100)
		if err != nil {
			return []string{err.Error()}
		}
		for _, m := range list {
			out = append(out, memberText(m.UserID, m.RoleLevel, m.Nickname, m.FaceURL, m.MuteEndTime))
		}
		if len(list) < 100 {
			return out
		}
	}
}

func memberText(user string, role int32, nickname, face string, muteEnd int64) string {
	return fmt.Sprintf("%s %d %q %q %d", user, role, nickname, face, muteEnd)
}

// serverMembers returns what members has to return, by the API.
func (e *env) serverMembers(groupID string) []string {
	e.Helper()
	var out []string
	for page := 1; ; page++ {
		var data struct{ Members []*sdkws.GroupMemberFullInfo }
		e.must("/group/get_group_member_list", e.admin, obj{"groupID": groupID, "pagination": obj{"pageNumber": page, "showNumber": 100}}, &data)
		for _, m := range data.Members {
			out = append(out, memberText(m.UserID, m.RoleLevel, m.Nickname, m.FaceURL, m.MuteEndTime))
		}
		if len(data.Members) < 100 {
			return out
		}
	}
}

// serverGroup returns a group as the API gives it.
func (e *env) serverGroup(groupID string) *sdkws.GroupInfo {
	e.Helper()
	var data struct{ GroupInfos []*sdkws.GroupInfo }
	e.must("/group/get_groups_info", e.admin, obj{"groupIDs": []string{groupID}}, &data)
	if len(data.GroupInfos) != 1 {
		e.Fatalf("get_groups_info: %d groups", len(data.GroupInfos))
	}
	return data.GroupInfos[0]
}

// sameGroup waits until each device has the group and its members as the server.
func (e *env) sameGroup(groupID string, devices ...*device) {
	e.Helper()
	want, info := e.serverMembers(groupID), e.serverGroup(groupID)
	if int(info.MemberCount) != len(want) {
		e.Errorf("memberCount %d, %d members", info.MemberCount, len(want))
	}
	for _, d := range devices {
		var got []string
		var row *model_struct.LocalGroup
		e.tryEventually(func() bool {
			got, row = d.members(groupID), d.group(groupID)
			return slices.Equal(got, want) && row != nil && row.GroupName == info.GroupName && row.OwnerUserID == info.OwnerUserID &&
				int(row.MemberCount) == len(want) && row.Notification == info.Notification && row.Status == info.Status
		}, func() {
			e.Fatalf("%s on %d: group %+v, members\n%s\nthe server's: %v\n%s", d.user, d.platform, row, strings.Join(got, "\n"), info, strings.Join(want, "\n"))
		})
	}
}

// notMember waits until none of the devices has the group.
func (e *env) notMember(groupID string, devices ...*device) {
	e.Helper()
	for _, d := range devices {
		e.eventually(fmt.Sprintf("%s on %d has left the group", d.user, d.platform), func() bool {
			joined, err := d.sdk.Group().IsJoinGroup(d.ctx(), groupID)
			return err == nil && !joined && d.group(groupID) == nil
		})
	}
}

// Acceptance 12: what happens to a group is told to all its members, and their
// lists stay the server's, whoever is online at the time.
func TestGroupLife(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b, c, d := e.device(e.user("a"), android), e.device(e.user("b"), android), e.device(e.user("c"), android), e.device(e.user("d"), iOS)
	c2, away, stranger := e.device(c.user, windows), e.device(e.user("away"), web), e.device(e.user("stranger"), web)
	for _, x := range []*device{a, b, c, d, c2, away, stranger} {
		x.login()
	}
	away.quit()
	id := a.found("founded", b.user, c.user, away.user)
	of := field("groupID", id)
	e.hears("OnJoinedGroupAdded", []string{of, field("groupName", "founded")}, a, b, c, c2)
	e.sameGroup(id, a, b, c, c2)
	if g := e.serverGroup(id); g.OwnerUserID != a.user || g.MemberCount != 4 || g.GroupType != 2 || g.CreatorUserID != a.user {
		t.Errorf("founded: %v", g)
	}
	for _, x := range []*device{b, c, c2} {
		e.eventually(x.user+" shown the founding", func() bool { return x.told(onMessage, of, field("contentType", 1501)) == 1 })
		e.eventually(x.user+" has it unread", func() bool { return x.unread(groupChat(id)) == 1 })
	}

	a.do("invite", a.sdk.Group().InviteUserToGroup(a.ctx(), id, "come", []string{d.user}))
	e.hears("OnJoinedGroupAdded", []string{of}, d)
	e.hears("OnGroupMemberAdded", []string{of, field("userID", d.user)}, a, b, c, c2)
	e.sameGroup(id, a, b, c, c2, d)

	b.do("quit", b.sdk.Group().QuitGroup(b.ctx(), id))
	e.hears("OnJoinedGroupDeleted", []string{of}, b)
	e.hears("OnGroupMemberDeleted", []string{of, field("userID", b.user)}, a, c, c2, d)
	e.notMember(id, b)
	e.sameGroup(id, a, c, c2, d)

	a.do("mute", a.sdk.Group().ChangeGroupMemberMute(a.ctx(), id, c.user, 3600))
	e.hears("OnGroupMemberInfoChanged", []string{of, field("userID", c.user)}, a, c, c2, d)
	e.sameGroup(id, a, c, c2, d)
	a.do("unmute", a.sdk.Group().ChangeGroupMemberMute(a.ctx(), id, c.user, 0))
	e.sameGroup(id, a, c, c2, d)
	a.do("mute all", a.sdk.Group().ChangeGroupMute(a.ctx(), id, true))
	e.hears("OnGroupInfoChanged", []string{of, field("status", 3)}, a, c, c2, d)
	e.sameGroup(id, a, c, c2, d)
	a.do("unmute all", a.sdk.Group().ChangeGroupMute(a.ctx(), id, false))
	e.sameGroup(id, a, c, c2, d)

	// d joined last, but an administrator comes before the ordinary members.
	a.do("promote", a.sdk.Group().SetGroupMemberInfo(a.ctx(), &group.SetGroupMemberInfo{GroupID: id, UserID: d.user, RoleLevel: wrappedInt(roleAdmin)}))
	e.hears("OnGroupMemberInfoChanged", []string{of, field("userID", d.user), field("roleLevel", roleAdmin)}, a, c, c2, d)
	e.sameGroup(id, a, c, c2, d)
	a.do("demote", a.sdk.Group().SetGroupMemberInfo(a.ctx(), &group.SetGroupMemberInfo{GroupID: id, UserID: d.user, RoleLevel: wrappedInt(roleOrdinary)}))
	e.sameGroup(id, a, c, c2, d)
	d.do("rename oneself", d.sdk.Group().SetGroupMemberInfo(d.ctx(), &group.SetGroupMemberInfo{GroupID: id, UserID: d.user, Nickname: wrapped("dee")}))
	e.hears("OnGroupMemberInfoChanged", []string{of, field("nickname", "dee")}, a, c, c2, d)
	e.sameGroup(id, a, c, c2, d)

	a.do("transfer", a.sdk.Group().TransferGroupOwner(a.ctx(), id, c.user))
	e.hears("OnGroupMemberInfoChanged", []string{of, field("userID", c.user), field("roleLevel", roleOwner)}, a, c, c2, d)
	e.hears("OnGroupMemberInfoChanged", []string{of, field("userID", a.user), field("roleLevel", roleOrdinary)}, a, c, c2, d)
	e.sameGroup(id, a, c, c2, d)

	c.do("rename", c.sdk.Group().SetGroupInfo(c.ctx(), &group.SetGroupInfoExReq{GroupID: id, GroupName: wrapped("renamed")}))
	e.hears("OnGroupInfoChanged", []string{of, field("groupName", "renamed")}, a, c, c2, d)
	c.do("announce", c.sdk.Group().SetGroupInfo(c.ctx(), &group.SetGroupInfoExReq{GroupID: id, Notification: wrapped("hear, hear")}))
	e.hears("OnGroupInfoChanged", []string{of, field("notification", "hear, hear")}, a, c, c2, d)
	c.do("introduce", c.sdk.Group().SetGroupInfo(c.ctx(), &group.SetGroupInfoExReq{GroupID: id, Introduction: wrapped("we")}))
	e.hears("OnGroupInfoChanged", []string{of, field("introduction", "we")}, a, c, c2, d)
	e.sameGroup(id, a, c, c2, d)
	for _, x := range []*device{a, c2, d} {
		e.eventually(x.user+" shown the new name", func() bool { r := x.conversation(groupChat(id)); return r != nil && r.ShowName == "renamed" })
		e.eventually(x.user+" marked for the announcement", func() bool { r := x.conversation(groupChat(id)); return r.GroupAtType == 4 })
	}

	// A member without a name of its own in the group has the user's.
	a.do("own name", a.sdk.User().SetSelfInfo(a.ctx(), &sdkws.UserInfoWithEx{Nickname: wrapped("changed")}))
	e.hears("OnGroupMemberInfoChanged", []string{of, field("userID", a.user), field("nickname", "changed")}, c, c2, d)
	e.sameGroup(id, a, c, c2, d)
	a.do("no face", a.sdk.User().SetSelfInfo(a.ctx(), &sdkws.UserInfoWithEx{FaceURL: wrapped("")}))
	e.sameGroup(id, a, c, c2, d)

	c.do("kick", c.sdk.Group().KickGroupMember(c.ctx(), id, "out", []string{d.user}))
	e.hears("OnJoinedGroupDeleted", []string{of}, d)
	e.hears("OnGroupMemberDeleted", []string{of, field("userID", d.user)}, a, c, c2)
	e.notMember(id, d)
	e.sameGroup(id, a, c, c2)

	away.login()
	e.sameGroup(id, away)

	c.do("dissolve", c.sdk.Group().DismissGroup(c.ctx(), id))
	e.hears("OnGroupDismissed", []string{of}, a, c, c2, away)
	if n := stranger.told("OnJoinedGroupAdded", of) + stranger.told(onMessage, of); n != 0 {
		t.Errorf("a stranger was told %d times", n)
	}
	if g := e.serverGroup(id); g.Status != 2 {
		t.Errorf("dissolved: %v", g)
	}
	if code := a.postGroup(a.newText("anybody?"), id); code != codeDismissed {
		t.Errorf("send to a dissolved group: %d", code)
	}
	for _, x := range []*device{a, b, c, c2, d, away, stranger} {
		if n := x.count(onKicked, onTokenInvalid, onTokenExpired); n != 0 {
			t.Errorf("%s was logged out", x.user)
		}
	}
}

// Acceptance 12, the part about applications: who asks, who answers, what both
// are told.
func TestGroupApplications(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, m, x, y := e.device(e.user("owner"), android).login(), e.device(e.user("member"), android).login(), e.device(e.user("x"), android).login(), e.device(e.user("y"), android).login()
	id := a.found("closed", m.user)
	of := field("groupID", id)
	join := func(d *device) {
		t.Helper()
		d.do("join", d.sdk.Group().JoinGroup(d.ctx(), id, "let me in", 3, ""))
	}
	join(x)
	e.hears("OnGroupApplicationAdded", []string{of, field("userID", x.user), field("reqMsg", "let me in")}, a, x)
	join(y)
	e.hears("OnGroupApplicationAdded", []string{of, field("userID", y.user)}, a, y)
	if n := m.told("OnGroupApplicationAdded"); n != 0 {
		t.Errorf("an ordinary member was told of %d applications", n)
	}
	if got := a.received1(e, "/group/get_recv_group_applicationList", obj{"fromUserID": a.user}); got != 2 {
		t.Errorf("owner has %d applications", got)
	}
	if got := x.received1(e, "/group/get_user_req_group_applicationList", obj{"userID": x.user}); got != 1 {
		t.Errorf("applicant has %d applications", got)
	}
	a.do("accept", a.sdk.Group().AcceptGroupApplication(a.ctx(), id, x.user, "welcome"))
	e.hears("OnGroupApplicationAccepted", []string{of, field("userID", x.user), field("handledMsg", "welcome")}, a, x)
	e.hears("OnJoinedGroupAdded", []string{of}, x)
	e.hears("OnGroupMemberAdded", []string{of, field("userID", x.user)}, a, m)
	e.sameGroup(id, a, m, x)
	a.do("refuse", a.sdk.Group().RefuseGroupApplication(a.ctx(), id, y.user, "no"))
	e.hears("OnGroupApplicationRejected", []string{of, field("userID", y.user), field("handledMsg", "no")}, a, y)
	if code := errCode(a.sdk.Group().AcceptGroupApplication(a.ctx(), id, y.user, "after all")); code != 1206 {
		t.Errorf("accepting what was refused: %d", code)
	}
	if code := errCode(m.sdk.Group().AcceptGroupApplication(m.ctx(), id, y.user, "")); code != codeNoPermission {
		t.Errorf("accepting by an ordinary member: %d", code)
	}
	e.notMember(id, y)

	a.do("open", a.sdk.Group().SetGroupInfo(a.ctx(), &group.SetGroupInfoExReq{GroupID: id, NeedVerification: wrappedInt(2)}))
	join(y)
	e.hears("OnJoinedGroupAdded", []string{of}, y)
	e.hears("OnGroupMemberAdded", []string{of, field("userID", y.user)}, a, m, x)
	e.sameGroup(id, a, m, x, y)
}

// received1 counts the rows of a list of group applications.
func (d *device) received1(e *env, path string, body obj) int {
	e.Helper()
	var data struct{ GroupRequests []*sdkws.GroupRequest }
	e.must(path, d.token, with(body, "pagination", obj{"pageNumber": 1, "showNumber": 50}), &data)
	for _, r := range data.GroupRequests {
		if r.GroupInfo == nil || r.UserInfo == nil {
			e.Errorf("%s: a row without group or user: %v", path, r)
		}
	}
	return len(data.GroupRequests)
}

// Acceptance 13: who was kicked reads what was said before, not what comes after.
func TestKickedMember(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b := e.device(e.user("a"), android).login(), e.device(e.user("b"), android).login()
	id := a.found("g", b.user)
	for _, text := range []string{"one", "two"} {
		m := a.sendGroup(id, text)
		e.eventually(text+" received", func() bool { return b.received(m.ClientMsgID) == 1 })
	}
	a.do("kick", a.sdk.Group().KickGroupMember(a.ctx(), id, "", []string{b.user}))
	e.hears("OnJoinedGroupDeleted", []string{field("groupID", id)}, b)
	for _, text := range []string{"three", "four"} {
		a.sendGroup(id, text)
	}
	refused := b.newText("still here?")
	if code := b.postGroup(refused, id); code == 0 || code == codeNoPermission {
		t.Errorf("send by SDK after the kick: %d", code)
	}
	r := e.raw(b.user, web, envelopes[0])
	if code, err := r.do(reqSend, r.text(groupChat(id), "still here?"), nil); code != codeNotMember || err != nil {
		t.Errorf("send after the kick: %d %v", code, err)
	}
	want := []string{"type 1501", "one", "two", "type 1508"}
	for name, d := range map[string]*device{"known": b, "new": e.device(b.user, windows).login()} {
		e.tryEventually(func() bool { return slices.Equal(texts(accepted(d.scroll(groupChat(id), 20))), want) }, func() {
			t.Errorf("%s device: history %q", name, texts(d.scroll(groupChat(id), 20)))
		})
		if d.told(onMessage, "three")+d.told(onMessage, "four") != 0 {
			t.Errorf("%s device: told what came after", name)
		}
	}

	a.do("invite", a.sdk.Group().InviteUserToGroup(a.ctx(), id, "", []string{b.user}))
	e.eventually("back", func() bool { return b.group(id) != nil })
	e.sameGroup(id, a, b)
	back := b.sendGroup(id, "back again")
	e.eventually("heard again", func() bool { return a.received(back.ClientMsgID) == 1 })
	want = append(want, "three", "four", "type 1509", "back again")
	e.tryEventually(func() bool { return slices.Equal(texts(accepted(b.scroll(groupChat(id), 20))), want) }, func() {
		t.Errorf("history after the return %q", texts(b.scroll(groupChat(id), 20)))
	})
}

// accepted leaves out the messages that could not be sent, which only their sender has.
func accepted(messages []*sdk_struct.MsgStruct) []*sdk_struct.MsgStruct {
	return slices.DeleteFunc(messages, func(m *sdk_struct.MsgStruct) bool { return m.Status == 3 })
}

// Acceptance 16: refused messages are marked as failed, with the reason's code.
func TestRefusals(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b, c := e.device(e.user("a"), android).login(), e.device(e.user("b"), android).login(), e.device(e.user("c"), android).login()
	refused := func(what string, d *device, conversation string, code int, post func(*sdk_struct.MsgStruct) int) {
		t.Helper()
		m := d.newText(what)
		if got := post(m); got != code {
			t.Errorf("%s: %d, want %d", what, got, code)
		}
		e.eventually(what+": marked as failed", func() bool { return d.local(conversation, m.ClientMsgID).Status == 3 })
	}
	b.block(a.user)
	refused("blocked", a, single(a.user, b.user), codeBlocked, func(m *sdk_struct.MsgStruct) int { return a.post(m, b.user) })
	b.send(a.user, "the other way") // blocking does not stop the blocker
	b.do("unblock", b.sdk.Relation().RemoveBlack(b.ctx(), a.user))
	a.send(b.user, "at last")

	id := a.found("g", b.user, c.user)
	e.eventually("joined", func() bool { return b.group(id) != nil && c.group(id) != nil })
	toGroup := func(d *device) func(*sdk_struct.MsgStruct) int {
		return func(m *sdk_struct.MsgStruct) int { return d.postGroup(m, id) }
	}
	a.do("mute", a.sdk.Group().ChangeGroupMemberMute(a.ctx(), id, b.user, 600))
	refused("muted", b, groupChat(id), codeMuted, toGroup(b))
	c.sendGroup(id, "others speak")
	a.do("unmute", a.sdk.Group().ChangeGroupMemberMute(a.ctx(), id, b.user, 0))
	b.sendGroup(id, "free")
	a.do("promote", a.sdk.Group().SetGroupMemberInfo(a.ctx(), &group.SetGroupMemberInfo{GroupID: id, UserID: c.user, RoleLevel: wrappedInt(roleAdmin)}))
	a.do("mute all", a.sdk.Group().ChangeGroupMute(a.ctx(), id, true))
	refused("all muted", b, groupChat(id), codeGroupMute, toGroup(b))
	c.sendGroup(id, "administrators speak")
	a.sendGroup(id, "owners speak")
	a.do("unmute all", a.sdk.Group().ChangeGroupMute(a.ctx(), id, false))
	b.sendGroup(id, "free again")
	a.do("dissolve", a.sdk.Group().DismissGroup(a.ctx(), id))
	e.hears("OnGroupDismissed", []string{field("groupID", id)}, b)
	refused("dissolved", b, groupChat(id), codeDismissed, toGroup(b))
	for _, d := range []*device{a, b, c} {
		if n := d.count(onKicked, onTokenInvalid, onTokenExpired); n != 0 {
			t.Errorf("%s was logged out", d.user)
		}
	}
}

// Acceptance 16 under friend-verify: only who is in the receiver's list may write.
func TestFriendVerify(t *testing.T) {
	t.Parallel()
	e := alone(t, "--config", friendVerifyConfig(t))
	a, b := e.device(e.user("a"), android).login(), e.device(e.user("b"), android).login()
	m := a.newText("stranger")
	if code := a.post(m, b.user); code != codeNotFriend {
		t.Errorf("by a stranger: %d", code)
	}
	e.eventually("marked as failed", func() bool { return a.local(single(a.user, b.user), m.ClientMsgID).Status == 3 })
	e.must("/friend/import_friend", e.admin, obj{"ownerUserID": a.user, "friendUserIDs": []string{b.user}}, nil)
	sent := a.send(b.user, "friend")
	e.eventually("received", func() bool { return b.received(sent.ClientMsgID) == 1 })
	b.do("delete", b.sdk.Relation().DeleteFriend(b.ctx(), a.user))
	if code := a.post(a.newText("no more"), b.user); code != codeNotFriend {
		t.Errorf("after the receiver ended it: %d", code)
	}
	b.send(a.user, "one-sided") // a still has b in the list
}

// Issue of the administrator's calls: a connected client sees what they cause.
func TestGroupByAppServer(t *testing.T) {
	t.Parallel()
	e := shared(t)
	a, b, c := e.device(e.user("a"), android).login(), e.device(e.user("b"), android).login(), e.device(e.user("c"), android).login()
	var data struct{ GroupInfo *sdkws.GroupInfo }
	e.must("/group/create_group", e.admin, obj{"ownerUserID": a.user, "adminUserIDs": []string{b.user}, "memberUserIDs": []string{},
		"groupInfo": obj{"groupType": 2, "groupName": "by HTTP", "groupID": e.prefix + "grp"}}, &data)
	id := data.GroupInfo.GroupID
	of := field("groupID", id)
	if id != e.prefix+"grp" || data.GroupInfo.MemberCount != 2 {
		t.Errorf("created %v", data.GroupInfo)
	}
	e.hears("OnJoinedGroupAdded", []string{of}, a, b)
	e.sameGroup(id, a, b)
	e.must("/group/invite_user_to_group", e.admin, obj{"groupID": id, "invitedUserIDs": []string{c.user}, "reason": "r"}, nil)
	e.hears("OnJoinedGroupAdded", []string{of}, c)
	e.hears("OnGroupMemberAdded", []string{of, field("userID", c.user)}, a, b)
	e.sameGroup(id, a, b, c)
	e.must("/msg/send_msg", e.admin, obj{"sendID": a.user, "recvID": "-", "groupID": id, "senderNickname": "A", "senderPlatformID": android,
		"content": obj{"content": "to all"}, "contentType": 101, "sessionType": 3}, nil)
	for _, d := range []*device{a, b, c} {
		e.eventually("message by HTTP at "+d.user, func() bool { return d.told(onMessage, "to all") == 1 })
	}
	e.must("/group/kick_group", e.admin, obj{"groupID": id, "kickedUserIDs": []string{b.user}, "reason": "r"}, nil)
	e.hears("OnJoinedGroupDeleted", []string{of}, b)
	e.hears("OnGroupMemberDeleted", []string{of, field("userID", b.user)}, a, c)
	e.sameGroup(id, a, c)

	e.must("/user/update_user_info_ex", e.admin, obj{"userInfo": obj{"userID": c.user, "nickname": "see"}}, nil)
	e.hears(onSelfInfo, []string{field("nickname", "see")}, c)
	e.hears("OnGroupMemberInfoChanged", []string{of, field("nickname", "see")}, a)
	e.must("/friend/import_friend", e.admin, obj{"ownerUserID": a.user, "friendUserIDs": []string{c.user}}, nil)
	e.hears("OnFriendAdded", []string{field("userID", c.user)}, a)
	e.hears("OnFriendAdded", []string{field("userID", a.user)}, c)
	e.must("/friend/add_black", e.admin, obj{"ownerUserID": a.user, "blackUserID": c.user}, nil)
	e.hears("OnBlackAdded", []string{field("userID", c.user)}, a)
	e.must("/friend/remove_black", e.admin, obj{"ownerUserID": a.user, "blackUserID": c.user}, nil)
	e.hears("OnBlackDeleted", []string{field("userID", c.user)}, a)
	if got := sorted(c.friends()); !slices.Equal(got, []string{a.user}) {
		t.Errorf("friends %v", got)
	}
}

func sorted[T cmp.Ordered](list []T) []T {
	slices.Sort(list)
	return list
}
