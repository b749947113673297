package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/openimsdk/protocol/sdkws"
)

// REST acceptance A5: the SDK asks for the members of its groups until each has
// been answered. A user in more groups than it takes at once, of which one was
// dissolved and one left while he was away.
func TestManyGroups(t *testing.T) {
	t.Parallel()
	e := shared(t)
	owner, stranger := e.user("owner"), e.user("stranger")
	d := e.device(e.user("a"), android)
	const n = 1002
	groups := make([]string, n)
	for i := range groups {
		groups[i] = e.newGroup(owner, d.user)
	}
	others := e.newGroup(owner, stranger)
	counter := e.apiCounter()
	d.api = counter.addr
	login := func() {
		t.Helper()
		done := d.count(onSyncFinish)
		d.begin(e.token(d.user, d.platform))
		e.eventuallyIn(3*time.Minute, "synced", func() bool { return d.count(onSyncFinish) > done })
	}
	const batch = "/group/get_incremental_group_members_batch"
	login()
	e.eventually("groups stored", func() bool {
		list, err := d.sdk.Group().GetJoinedGroupList(d.ctx())
		return err == nil && len(list) >= 1000
	})
	if calls := counter.snapshot()[batch]; calls < 2 || calls > 3 {
		t.Errorf("first login: members asked for %d times, want 1000 groups by 500", calls)
	}
	d.quit()

	gone, left := groups[0], groups[1]
	e.must("/group/dismiss_group", e.admin, obj{"groupID": gone}, nil)
	e.must("/group/kick_group", e.admin, obj{"groupID": left, "kickedUserIDs": []string{d.user}}, nil)
	before := counter.snapshot()[batch]
	login()
	e.notMember(left, d)
	settled(2*time.Second, func() int { return counter.snapshot()[batch] })
	if calls := counter.snapshot()[batch] - before; calls < 2 || calls > 4 {
		t.Errorf("second login: members asked for %d times", calls)
	}

	asked := []string{gone, left, others, groups[2], "0", "no such group"}
	var reqs []obj
	for _, id := range asked {
		reqs = append(reqs, obj{"groupID": id, "versionID": "0123456789abcdef01234567", "version": 7})
	}
	var data struct {
		RespList map[string]*struct {
			Version   uint64
			VersionID string
			Full      bool
			Group     *sdkws.GroupInfo
		}
	}
	e.must(batch, d.token, obj{"userID": d.user, "reqList": reqs}, &data)
	for _, id := range asked {
		r := data.RespList[id]
		if r == nil || r.Version == 0 || r.VersionID == "" || r.Full != (id == groups[2]) {
			t.Errorf("%s answered %+v", id, r)
		}
	}
	if g := data.RespList[gone]; g != nil && g.Group.GetStatus() != 2 {
		t.Errorf("the dissolved one: %v", g.Group)
	}
}

// REST acceptance A11: a group larger than what the SDK fetches at once, paged
// through to its end.
func TestBigGroup(t *testing.T) {
	t.Parallel()
	e := shared(t)
	all := e.users("m", 1500)
	d := e.device(all[0], android)
	id := e.newGroup(all[0], all[1:1000]...)
	e.must("/group/invite_user_to_group", e.admin, obj{"groupID": id, "invitedUserIDs": all[1000:]}, nil)
	if g := e.serverGroup(id); g.MemberCount != 1500 {
		t.Fatalf("memberCount %d", g.MemberCount)
	}
	d.login()
	list := d.members(id)
	if want := e.serverMembers(id); !slices.Equal(list, want) {
		t.Errorf("%d members by page, the server has %d", len(list), len(want))
	}
	slices.Sort(list)
	if distinct := slices.Compact(list); len(distinct) != 1500 {
		t.Errorf("%d distinct members", len(distinct))
	}

	// A change costs the clients a notice, not the list.
	counter := e.apiCounter()
	far := e.device(all[1400], web)
	far.api = counter.addr
	far.login()
	e.eventually("members stored", func() bool { return len(far.members(id)) == 1500 })
	settled(quiet, counter.total)
	before := counter.snapshot()
	late := e.user("late")
	e.must("/group/invite_user_to_group", e.admin, obj{"groupID": id, "invitedUserIDs": []string{late}}, nil)
	e.hears("OnGroupMemberAdded", []string{field("userID", late)}, d, far)
	after := counter.snapshot()
	for _, path := range []string{"/group/get_group_member_list", "/group/get_full_group_member_user_ids"} {
		if n := after[path] - before[path]; n != 0 {
			t.Errorf("a new member: %s called %d times", path, n)
		}
	}
	if list := far.members(id); len(list) != 1501 {
		t.Errorf("%d members after the change", len(list))
	}
}
