package e2e

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/openimsdk/protocol/sdkws"
)

// Acceptance 15: three users, one of them away.
func TestPresence(t *testing.T) {
	t.Parallel()
	e := shared(t)
	watcher := e.device(e.user("w"), android).login()
	two, one, none := e.user("two"), e.user("one"), e.user("none")
	first, _ := e.device(two, iOS).login(), e.device(two, web).login()
	e.device(one, windows).login()

	began := time.Now()
	answer, err := watcher.sdk.LongConnMgr().SubscribeUsersStatus(watcher.ctx(), []string{two, one, none})
	if err != nil || len(answer) != 3 {
		t.Fatalf("answer %v %v", answer, err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("answer took %v", took)
	}
	for _, status := range answer {
		want := map[string][]int32{two: {iOS, web}, one: {windows}, none: {}}[status.UserID]
		if !slices.Equal(status.PlatformIDs, want) {
			t.Errorf("%s on %v, want %v", status.UserID, status.PlatformIDs, want)
		}
	}
	changed := func(user string, platforms ...int32) {
		t.Helper()
		e.eventually("change of "+user, func() bool {
			for _, ev := range watcher.all(onUserStatus) {
				var got struct {
					UserID      string
					PlatformIDs []int32
				}
				if json.Unmarshal([]byte(ev.arg), &got) == nil && got.UserID == user && slices.Equal(got.PlatformIDs, platforms) {
					return true
				}
			}
			return false
		})
	}
	late := e.device(none, android).login()
	changed(none, android)
	first.logout()
	changed(two, web)
	late.quit()
	changed(none)
	var rows []struct {
		UserID string
		Status int
	}
	e.must("/user/get_users_online_status", e.admin, obj{"userIDs": []string{two, none}}, &rows)
	if len(rows) != 2 || rows[0].Status+rows[1].Status != 1 {
		t.Errorf("by HTTP: %+v", rows)
	}
}

// Acceptance 15 in every envelope, and the end of a subscription.
func TestPresenceOnTheWire(t *testing.T) {
	t.Parallel()
	eachEnvelope(shared(t), func(e *env, v envelope) {
		w, online, away := e.raw(e.user("w"), android, v), e.user("on"), e.user("off")
		e.raw(online, web, v)
		var answer sdkws.SubUserOnlineStatusTips
		e.ask(w, reqSubscribe, &sdkws.SubUserOnlineStatus{SubscribeUserID: []string{online, away}}, &answer)
		got := map[string][]int32{}
		for _, s := range answer.Subscribers {
			got[s.UserID] = s.OnlinePlatformIDs
		}
		if len(answer.Subscribers) != 2 || !slices.Equal(got[online], []int32{web}) || len(got[away]) != 0 {
			e.Fatalf("answer %v", &answer)
		}
		changes := func(user string) (n int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, s := range w.status {
				if s.UserID == user {
					n++
				}
			}
			return n
		}
		r := e.raw(away, iOS, v)
		e.eventually("coming", func() bool { return changes(away) == 1 })
		r.close()
		e.eventually("going", func() bool { return changes(away) == 2 })

		e.ask(w, reqSubscribe, &sdkws.SubUserOnlineStatus{UnsubscribeUserID: []string{away}}, nil)
		e.raw(away, iOS, v)
		e.raw(online, android, v)
		e.eventually("the other one's change", func() bool { return changes(online) == 1 })
		if n := changes(away); n != 2 {
			e.Errorf("%d changes after the end of the subscription", n-2)
		}
	})
}
