package api

import (
	"fmt"
	"testing"
	"time"
)

// kills is how often TestKill ends the server. Each round ends it somewhat later in
// its work.
const kills = 6

// What answered success is there after kill -9; what did not is there wholly or
// not at all.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rounds := kills
	if testing.Short() {
		rounds = 2
	}
	var log crashLog
	for round := range rounds {
		p := startProcess(t, dir)
		if round == 0 {
			users := make([]string, 200)
			for i := range users {
				users[i] = fmt.Sprintf("u%d", i)
			}
			p.register(users...)
		}
		log.check(t, p)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			log.work(p, round)
		}()
		select {
		case <-time.After(time.Duration(40+45*round) * time.Millisecond):
		case <-ended:
			t.Fatal("the work ended before the server")
		}
		p.kill()
		<-ended
	}
	log.check(t, startProcess(t, dir))
	t.Logf("%d groups, %d users, %d friendships", len(log.groups), len(log.users), len(log.friends))
}

// crashLog is what the killed servers were asked for, and what they answered.
type crashLog struct {
	groups  []crashGroup
	users   map[string]string // the token that registration answered, if it did
	friends map[string]bool   // whether the import of user u0's friend was answered
}

type crashGroup struct {
	id       string
	created  bool // answered
	invited  string
	answered bool // the invitation was
}

// work calls the server until it dies.
func (l *crashLog) work(p *process, round int) {
	if l.users == nil {
		l.users, l.friends = make(map[string]string), make(map[string]bool)
	}
	var admin struct{ Token string }
	if p.v2("/auth/user_token", "", obj{"secret": "tuoyun", "platform": 1, "userID": "openIM123456"}, &admin) != 0 {
		return
	}
	members := make([]obj, 199)
	for i := range members {
		members[i] = obj{"userID": fmt.Sprintf("u%d", i+1)}
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("r%d-%d", round, i)
		l.users[id] = ""
		var own struct{ Token string }
		if p.v2("/auth/user_register", "", obj{"secret": "tuoyun", "platform": 1, "userID": id, "email": id}, &own) != 0 {
			return
		}
		l.users[id] = own.Token

		l.groups = append(l.groups, crashGroup{id: "g" + id, invited: id})
		g := &l.groups[len(l.groups)-1]
		if p.v2("/group/create_group", admin.Token, obj{"groupID": g.id, "ownerUserID": "u0", "memberList": members}, nil) != 0 {
			return
		}
		g.created = true
		if p.v2("/group/invite_user_to_group", admin.Token, obj{"groupID": g.id, "invitedUserIDList": []string{id}}, nil) != 0 {
			return
		}
		g.answered = true

		l.friends[id] = false
		if p.v2("/friend/import_friend", admin.Token, obj{"fromUserID": "u0", "friendUserIDList": []string{id}}, nil) != 0 {
			return
		}
		l.friends[id] = true
	}
}

// check compares a restarted server with what was answered before.
func (l *crashLog) check(t *testing.T, p *process) {
	t.Helper()
	admin := p.tokenOf("openIM123456", 1)
	v3 := func(path string, body obj, out any) {
		if code := p.v3(path, admin, body, out); code != 0 {
			t.Errorf("%s: %d", path, code)
		}
	}
	for id, token := range l.users {
		var info []struct{ UID, Email string }
		if code := p.v2("/user/get_user_info", admin, obj{"uidList": []string{id}}, &info); code != 0 {
			t.Errorf("%s: %d", id, code)
		}
		switch {
		case token != "" && len(info) == 0:
			t.Errorf("user %s is lost", id)
		case token != "" && p.v2("/user/update_user_info", token, obj{"userID": id}, nil) != 0:
			t.Errorf("the token of user %s is lost", id)
		case len(info) > 0 && info[0].Email != id:
			t.Errorf("user %s has half a profile: %v", id, info)
		}
	}
	// A kill cuts at most the last call; of the groups before, the count is enough.
	for i := max(0, len(l.groups)-2); i < len(l.groups); i++ {
		g := l.groups[i]
		n := consistent(t, g.id, v3)
		if n != 0 && n != 200 && n != 201 || g.created && n == 0 || g.answered && n != 201 {
			t.Errorf("group %s (created %t, invited %t) has %d members", g.id, g.created, g.answered, n)
		}
	}
	for _, g := range l.groups {
		var info struct{ GroupInfos []struct{ MemberCount int } }
		v3("/group/get_groups_info", obj{"groupIDs": []string{g.id}}, &info)
		if g.created && (len(info.GroupInfos) == 0 || info.GroupInfos[0].MemberCount < 200) {
			t.Errorf("group %s is lost: %v", g.id, info)
		}
	}
	for id, answered := range l.friends {
		var is struct{ InUser1Friends, InUser2Friends bool }
		v3("/friend/is_friend", obj{"userID1": "u0", "userID2": id}, &is)
		if is.InUser1Friends != is.InUser2Friends || answered && !is.InUser1Friends {
			t.Errorf("friendship with %s (answered %t) is %v", id, answered, is)
		}
	}
}
