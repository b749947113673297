package api

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/push"
	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"github.com/openimsdk/protocol/wrapperspb"
	"google.golang.org/protobuf/proto"

	"gannet/core"
	"gannet/gateway"
	"gannet/internal/im"
	"gannet/internal/wire"
)

const permissionsFile = "testdata/permissions.txt"

// permission is a row of permissionsFile: a call and what each caller gets.
type permission struct {
	line  int
	call  string   // "v3 /path", "v2 /path" or "ws identifier"
	cells []string // by caller
	body  string
	shows string // what an answer of success has, "" if any
}

// readPermissions reads the table; callers are the names of its columns.
func readPermissions(text string) (callers []string, rows []permission, err error) {
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		if callers == nil {
			callers = words[1 : len(words)-1] // "call", the callers, "body"
			continue
		}
		if len(words) != 2+len(callers)+1 && (len(words) != 2+len(callers)+3 || words[len(words)-2] != "shows") {
			return nil, nil, fmt.Errorf("line %d is no row: %s", i+1, line)
		}
		row := permission{line: i + 1, call: words[0] + " " + words[1], cells: words[2 : 2+len(callers)], body: words[2+len(callers)]}
		if len(words) > 2+len(callers)+1 {
			row.shows = words[len(words)-1]
		}
		rows = append(rows, row)
	}
	return callers, rows, nil
}

// served lists what the server answers to, as the rows name it: the routes, and
// the commands of the gateway, which its source tells.
func served(t testing.TB) []string {
	t.Helper()
	var calls []string
	for path, p := range routes(new(core.Core)) {
		if p.v3 != nil {
			calls = append(calls, "v3 "+path)
		}
		if p.v2 != nil {
			calls = append(calls, "v2 "+path)
		}
	}
	commands, _ := commandTable(t)
	for id := range commands {
		calls = append(calls, fmt.Sprintf("ws %d", id))
	}
	slices.Sort(calls)
	return calls
}

// commandTable reads the gateway's table, which no other room may: its commands
// by identifier, true for those that have a handler; and the server's own pushes.
func commandTable(t testing.TB) (commands map[int]bool, pushes []int) {
	t.Helper()
	source := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ids := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^\t((?:Req|Push)\w+) += (\d{4})$`).FindAllStringSubmatch(source("../internal/wire/envelope.go"), -1) {
		id, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		if ids[m[1]] = id; strings.HasPrefix(m[1], "Push") {
			pushes = append(pushes, id)
		}
	}
	_, table, _ := strings.Cut(source("../gateway/commands.go"), "var commands = map[int32]*command{")
	table, _, _ = strings.Cut(table, "\n}\n")
	commands = map[int]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\twire\.(\w+): +\{name: .*$`).FindAllStringSubmatch(table, -1) {
		commands[ids[m[1]]] = strings.Contains(m[0], "handle: ")
	}
	if rows := strings.Count(table, "\twire."); rows < 10 || len(commands) != rows || commands[0] || len(pushes) == 0 {
		t.Fatalf("%d rows in the gateway's table, read %v, pushes %v", rows, commands, pushes)
	}
	return commands, pushes
}

// uncovered compares the table with what is served.
func uncovered(rows []permission, calls []string) (faults []string) {
	left := map[string]bool{}
	for _, c := range calls {
		left[c] = true
	}
	has := maps.Clone(left)
	for _, row := range rows {
		delete(left, row.call)
		if !has[row.call] {
			faults = append(faults, fmt.Sprintf("line %d: %s is not served", row.line, row.call))
		}
	}
	for _, c := range slices.Sorted(maps.Keys(left)) {
		faults = append(faults, c+" has no row")
	}
	return faults
}

// TestPermissions makes every call of the table as every caller, each on users and
// groups of its own.
func TestPermissions(t *testing.T) {
	text, err := os.ReadFile(permissionsFile)
	if err != nil {
		t.Fatal(err)
	}
	callers, rows, err := readPermissions(string(text))
	if err != nil {
		t.Fatal(err)
	}
	calls := served(t)
	for _, fault := range uncovered(rows, calls) {
		t.Errorf("%s: %s", permissionsFile, fault)
	}
	without := slices.DeleteFunc(slices.Clone(rows), func(r permission) bool { return r.call == "ws 1003" })
	if got := uncovered(append(without, permission{call: "v3 /nowhere"}), calls); len(got) != 2 {
		t.Errorf("a missing row and one too many are not seen: %v", got)
	}
	r := newPermissionRig(t)
	var cells atomic.Int64
	t.Run("rows", func(t *testing.T) { // ends when the parallel rows have
		for _, row := range rows {
			t.Run(row.call, func(t *testing.T) {
				t.Parallel()
				for i, caller := range callers {
					if row.cells[i] == "-" {
						continue
					}
					cells.Add(1)
					w := r.world(t, caller)
					if got, answer := w.ask(row); got != row.cells[i] {
						t.Errorf("line %d, %s: %s, want %s\n%s\n%s", row.line, caller, got, row.cells[i], row.body, answer)
					}
				}
			})
		}
	})
	t.Logf("%d rows, %d cells", len(rows), cells.Load())
}

// permissionRig is a rig with a gateway.
type permissionRig struct {
	*rig
	gateway *gateway.Server
	worlds  atomic.Int64
}

func newPermissionRig(t *testing.T) *permissionRig {
	r := new(permissionRig)
	r.rig = newRigOn(t, func(c *core.Core) core.Sink {
		var err error
		if r.gateway, err = gateway.New(gateway.Options{Core: c, Addr: "127.0.0.1:0", Loops: 1}); err != nil {
			t.Fatal(err)
		}
		return r.gateway
	})
	if err := r.gateway.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the core's end
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.gateway.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

// world is the state that one cell needs, with names of its own.
type world struct {
	testing.TB
	*permissionRig
	names map[string]string // what $name stands for
	token string            // the caller's, "" for nobody
}

// world makes the users, groups and messages that the rows speak of.
func (r *permissionRig) world(t *testing.T, caller string) *world {
	t.Helper()
	n := strconv.FormatInt(r.worlds.Add(1), 10)
	w := &world{TB: t, permissionRig: r, names: map[string]string{}}
	id := func(name string) string {
		w.names[name] = name + n
		return name + n
	}
	var users []*sdkws.UserInfo
	for _, name := range []string{"alice", "other", "outsider", "member", "manager", "deputy", "owner", "pal", "asker", "fresh", "blocked"} {
		users = append(users, &sdkws.UserInfo{UserID: id(name), Nickname: name})
	}
	id("new")
	alice, pal := w.names["alice"], w.names["pal"]
	crew, open, closed, secret := id("crew"), id("open"), id("closed"), id("secret")
	w.names["chat"], w.names["crewchat"] = im.SingleID(alice, pal), im.GroupID(crew)
	root := core.Caller{UserID: testAdmin, Platform: im.PlatformAdmin, Admin: true, OperationID: "op"}
	as := func(name string) core.Caller {
		return core.Caller{UserID: w.names[name], Platform: im.PlatformIOS, OperationID: "op"}
	}
	c := r.core
	done := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	done(c.RegisterUsers(root, &user.UserRegisterReq{Users: users}))
	done(c.AddNotificationAccount(root, &user.AddNotificationAccountReq{UserID: id("robot"), NickName: "robot"}))
	newGroup := func(id string, verify int32, owner string, admins []string, members ...string) {
		t.Helper()
		done(c.CreateGroup(root, &group.CreateGroupReq{
			OwnerUserID: owner, AdminUserIDs: admins, MemberUserIDs: members,
			GroupInfo: &sdkws.GroupInfo{GroupID: id, GroupName: secret, GroupType: 2, NeedVerification: verify},
		}))
	}
	newGroup(crew, 0, w.names["owner"], []string{w.names["manager"], w.names["deputy"]}, alice, w.names["member"])
	newGroup(open, 2, pal, nil)
	newGroup(closed, 1, pal, nil)
	done(c.ImportFriend(root, &relation.ImportFriendReq{OwnerUserID: alice, FriendUserIDs: []string{pal}}))
	done(c.AddBlack(as("alice"), &relation.AddBlackReq{OwnerUserID: alice, BlackUserID: w.names["blocked"]}))
	done(c.ApplyToAddFriend(as("asker"), &relation.ApplyToAddFriendReq{FromUserID: w.names["asker"], ToUserID: alice}))
	done(c.JoinGroup(as("asker"), &group.JoinGroupReq{GroupID: crew, InviterUserID: w.names["asker"], JoinSource: 3}))
	done(c.ProcessUserCommandAdd(as("alice"), &user.ProcessUserCommandAddReq{
		UserID: alice, Type: 1, Uuid: "u1", Value: wrapperspb.String("v"),
	}))
	for _, d := range []*sdkws.MsgData{
		{SendID: alice, RecvID: pal}, {SendID: pal, RecvID: alice}, {SendID: alice, GroupID: crew}, {SendID: w.names["owner"], GroupID: crew},
	} {
		d.ContentType, d.SessionType, d.Content, d.ClientMsgID = im.ContentText, im.SingleChat, []byte(`{"content":"x"}`), secret+d.SendID
		if d.GroupID != "" {
			d.SessionType = im.GroupChat
		}
		done(c.SendMsg(root, &msg.SendMsgReq{MsgData: d}))
	}
	token := func(id string) string {
		t.Helper()
		text, _, err := c.IssueToken(id, im.PlatformIOS, core.DialectV3, false)
		done(nil, err)
		return text
	}
	w.names["token"] = token(alice)
	switch caller {
	case "nobody":
		w.names["me"] = alice
	case "self":
		w.names["me"], w.token = alice, w.names["token"]
	case "admin":
		w.names["me"], w.token = testAdmin, token(testAdmin)
	default:
		w.names["me"] = w.names[caller]
		w.token = token(w.names["me"])
	}
	return w
}

// fill puts this world's names into text.
func (w *world) fill(text string) string {
	return regexp.MustCompile(`\$\w+`).ReplaceAllStringFunc(text, func(name string) string {
		if w.names[name[1:]] == "" {
			w.Errorf("nothing is called %s", name)
		}
		return w.names[name[1:]]
	})
}

// ask makes the call of row and tells the outcome as a cell does.
func (w *world) ask(row permission) (cell, answer string) {
	w.Helper()
	kind, target, _ := strings.Cut(row.call, " ")
	body, shows := w.fill(row.body), w.fill(row.shows)
	var code int
	switch kind {
	case "ws":
		code, answer = w.command(target, body)
	case "v2":
		code, answer = w.post(target, strings.Replace(strings.Replace(body, "{", `{"operationID":"op",`, 1), ",}", "}", 1))
	default:
		code, answer = w.post(target, body, "operationID: op")
	}
	if code == 0 && shows != "" && !strings.Contains(answer, shows) {
		return "none", answer
	}
	return strconv.Itoa(code), answer
}

// post makes a request of either dialect; what a refusal has beside its code must
// not be data.
func (w *world) post(path, body string, header ...string) (code int, answer string) {
	w.Helper()
	if w.token != "" {
		header = append(header, "token: "+w.token)
	}
	a := w.send("POST", path, body, header...)
	if !strings.HasPrefix(a.Body, "{") {
		return -1, a.Body
	}
	if a.ErrCode != 0 && strings.Contains(a.Body, w.names["secret"]) {
		w.Errorf("%s: the refusal tells the secret: %s", path, a.Body)
	}
	return a.ErrCode, a.Body
}

// requests are the messages that commands take.
var requests = map[string]func() proto.Message{
	"1001": func() proto.Message { return new(sdkws.GetMaxSeqReq) },
	"1002": func() proto.Message { return new(sdkws.PullMessageBySeqsReq) },
	"1003": func() proto.Message { return new(sdkws.MsgData) },
	"1004": func() proto.Message { return new(sdkws.GetMaxSeqReq) },
	"1005": func() proto.Message { return new(msg.GetSeqMessageReq) },
	"1006": func() proto.Message { return new(msg.GetConversationsHasReadAndMaxSeqReq) },
	"1007": func() proto.Message { return new(msg.GetLastMessageReq) },
	"2003": func() proto.Message { return new(push.DelUserPushTokenReq) },
	"2004": func() proto.Message { return new(sdkws.SetAppBackgroundStatusReq) },
	"2005": func() proto.Message { return new(sdkws.SubUserOnlineStatus) },
}

// command opens a session, makes one request and returns the answer's code and
// data. Without a token it returns the code of the handshake.
func (w *world) command(identifier, body string) (code int, data string) {
	w.Helper()
	fail := func(err error) (int, string) {
		w.Errorf("ws %s: %v", identifier, err)
		return -1, ""
	}
	id, err := strconv.Atoi(identifier)
	if err != nil || requests[identifier] == nil {
		return fail(fmt.Errorf("its message is not in requests"))
	}
	req := requests[identifier]()
	if err := json.Unmarshal([]byte(body), req); err != nil {
		return fail(err)
	}
	payload, err := proto.Marshal(req)
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	platform := int(im.PlatformIOS)
	url := fmt.Sprintf("ws://%s/?sendID=%s&token=%s&platformID=%d&operationID=op&sdkType=js&isMsgResp=true",
		w.gateway.Addr(), w.names["me"], w.token, platform)
	conn, buffered, _, err := ws.Dial(ctx, url)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if buffered == nil {
		buffered = bufio.NewReader(conn)
	}
	read := func(into any) error {
		b, _, err := wsutil.ReadServerData(readWriter{buffered, conn})
		if err != nil {
			return err
		}
		return json.Unmarshal(b, into)
	}
	var first struct{ ErrCode int }
	if err := read(&first); err != nil || first.ErrCode != 0 {
		if err != nil {
			return fail(err)
		}
		return first.ErrCode, ""
	}
	frame, err := json.Marshal(obj{"reqIdentifier": id, "sendID": w.names["me"], "operationID": "op", "msgIncr": "1", "data": payload})
	if err != nil {
		return fail(err)
	}
	if err := wsutil.WriteClientBinary(conn, frame); err != nil {
		return fail(err)
	}
	for {
		var a struct {
			ReqIdentifier int32
			MsgIncr       string
			ErrCode       int
			ErrMsg        string
			Data          string
		}
		if err := read(&a); err != nil {
			return fail(err)
		}
		if a.MsgIncr != "1" {
			if a.ReqIdentifier != wire.PushMsg && a.ReqIdentifier != wire.ReqSubscribe {
				return fail(fmt.Errorf("an answer to nothing: %+v", a))
			}
			continue
		}
		b, err := base64.StdEncoding.DecodeString(a.Data)
		if err != nil {
			return fail(err)
		}
		return a.ErrCode, a.ErrMsg + string(b)
	}
}

// readWriter reads what the dialer had read already.
type readWriter struct {
	*bufio.Reader
	conn net.Conn
}

func (rw readWriter) Write(b []byte) (int, error) { return rw.conn.Write(b) }
