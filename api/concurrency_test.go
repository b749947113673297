package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// caller makes a v2 or v3 call and returns its errCode; out gets data.
type caller func(path, token string, body obj, out any) int

// Under the race detector in this process, and over sockets against a real one.
func TestConcurrency(t *testing.T) {
	t.Run("in process", func(t *testing.T) {
		r := newRig(t)
		concurrency(t, func(path, token string, body obj, out any) int {
			body["operationID"] = "op"
			text, err := json.Marshal(body)
			if err != nil {
				t.Error(err)
				return -1
			}
			a := r.send(http.MethodPost, path, string(text), "token: "+token)
			if out != nil && a.ErrCode == 0 {
				if err := json.Unmarshal(a.Data, out); err != nil {
					t.Error(err)
				}
			}
			return a.ErrCode
		}, func(path string, body obj, out any) { r.must(path, r.admin, body, out) }, r.admin)
	})
	t.Run("process", func(t *testing.T) {
		p := startProcess(t, t.TempDir())
		admin := p.tokenOf("openIM123456", 1)
		concurrency(t, p.v2, func(path string, body obj, out any) {
			if code := p.v3(path, admin, body, out); code != 0 {
				t.Errorf("%s: %d", path, code)
			}
		}, admin)
	})
}

func concurrency(t *testing.T, v2 caller, v3 func(path string, body obj, out any), admin string) {
	var done, refused atomic.Int64
	parallel(200, func(i int) {
		body := obj{"secret": "tuoyun", "platform": 1, "userID": "one", "nickname": fmt.Sprint(i)}
		switch code := v2("/auth/user_register", "", body, nil); code {
		case 0:
			done.Add(1)
		case 500:
			refused.Add(1)
		default:
			t.Errorf("errCode %d", code)
		}
	})
	if done.Load() != 1 || refused.Load() != 199 {
		t.Errorf("%d registrations of one ID succeeded, %d were refused", done.Load(), refused.Load())
	}
	parallel(8, func(i int) {
		v2("/auth/user_register", "", obj{"secret": "tuoyun", "platform": 1, "userID": fmt.Sprintf("m%d", i)}, nil)
	})
	if code := v2("/group/create_group", admin, obj{"groupID": "g", "ownerUserID": "one", "memberList": []obj{}}, nil); code != 0 {
		t.Fatal(code)
	}
	var moves [2]atomic.Int64 // entries and removals that were answered with 0
	parallel(64, func(i int) {
		ids := []string{fmt.Sprintf("m%d", i%8), fmt.Sprintf("m%d", (i+1)%8)}
		path, name := "/group/invite_user_to_group", "invitedUserIDList"
		if i%2 == 1 {
			path, name = "/group/kick_group", "kickedUserIDList"
		}
		var rows []struct{ Result int }
		if code := v2(path, admin, obj{"groupID": "g", name: ids}, &rows); code != 0 {
			t.Errorf("%s: %d", path, code)
		}
		for _, row := range rows {
			if row.Result == 0 {
				moves[i%2].Add(1)
			}
		}
	})
	if n := consistent(t, "g", v3); int64(n) != 1+moves[0].Load()-moves[1].Load() {
		t.Errorf("%d members after %d entries and %d removals", n, moves[0].Load(), moves[1].Load())
	}
}

func parallel(n int, fn func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

// consistent checks that a group's count, its list of members, their lists of
// groups and their conversations agree. It returns the number of members; 0 when
// there is no group.
func consistent(t *testing.T, groupID string, v3 func(path string, body obj, out any)) int {
	t.Helper()
	var info struct {
		GroupInfos []struct {
			MemberCount int
			OwnerUserID string
		}
	}
	v3("/group/get_groups_info", obj{"groupIDs": []string{groupID}}, &info)
	var list struct {
		Total   int
		Members []struct{ UserID string }
	}
	if len(info.GroupInfos) == 0 {
		return 0
	}
	v3("/group/get_group_member_list", obj{"groupID": groupID, "pagination": obj{"pageNumber": 1, "showNumber": 10_000}}, &list)
	if n := info.GroupInfos[0].MemberCount; n != len(list.Members) || n != list.Total {
		t.Errorf("%s: count %d, list %d, total %d", groupID, n, len(list.Members), list.Total)
	}
	for _, m := range list.Members {
		var joined struct{ GroupIDs []string }
		v3("/group/get_full_join_group_ids", obj{"userID": m.UserID}, &joined)
		var rows struct{ Conversations []struct{ GroupID string } }
		v3("/conversation/get_conversations", obj{"ownerUserID": m.UserID, "conversationIDs": []string{"sg_" + groupID}}, &rows)
		found := false
		for _, g := range joined.GroupIDs {
			found = found || g == groupID
		}
		if !found || len(rows.Conversations) != 1 || rows.Conversations[0].GroupID != groupID {
			t.Errorf("%s: member %s: joined %t, conversations %v", groupID, m.UserID, found, rows.Conversations)
		}
	}
	return len(list.Members)
}
