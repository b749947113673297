package core

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimsdk/protocol/auth"
	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"github.com/openimsdk/protocol/wrapperspb"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
	"gannet/internal/wire"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into testdata; read the diff before committing")

// TestScripts runs core/testdata/*.txt (a first line "# policy N" or
// "# friend-verify" sets that option): a command per line, then "----", then what
// it prints up to an empty line. Commands are the methods of script; a frame that
// the core hands to the sink prints as "session <- what".
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(raw))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(raw) {
				t.Errorf("script differs; -rewrite shows it as a diff\ngot:\n%s", got)
			}
		})
	}
}

type script struct {
	t        *testing.T
	store    *fakeStore
	core     *Core
	clock    *fakeClock
	sink     *recordingSink
	options  Options
	sessions map[string]SessionRef
	users    map[string]string // session → user
	tokens   map[string]string // name → text
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

type recordingSink struct {
	mu    sync.Mutex
	lines []string
	names map[uint64]string
}

func (s *recordingSink) add(ref SessionRef, format string, args ...any) {
	s.lines = append(s.lines, s.names[ref.ID]+" <- "+fmt.Sprintf(format, args...))
}

func (s *recordingSink) Deliver(round []Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range round {
		for _, ref := range d.To {
			s.add(ref, "%s", describe(d.Frame, ref.Variant))
		}
	}
}

func (s *recordingSink) Close(to []SessionRef, last LastFrame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range to {
		s.add(ref, "closed (last frame %d)", last)
	}
}

// describe prints a frame for humans.
func describe(frame []byte, v wire.Variant) string {
	r, err := DecodeFrame(frame, v)
	if err != nil {
		return err.Error()
	}
	switch r.ReqIdentifier {
	case wire.ReqSendMsg:
		var a sdkws.UserSendMsgResp
		if err := proto.Unmarshal(r.Data, &a); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("ack %s time=%d", a.ClientMsgID, a.SendTime-epoch)
	case wire.ReqSubscribe:
		var tips sdkws.SubUserOnlineStatusTips
		if err := proto.Unmarshal(r.Data, &tips); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("presence %s %v", tips.Subscribers[0].UserID, tips.Subscribers[0].OnlinePlatformIDs)
	}
	var p sdkws.PushMessages
	if err := proto.Unmarshal(r.Data, &p); err != nil {
		return err.Error()
	}
	for kind, m := range map[string]map[string]*sdkws.PullMsgs{"push": p.Msgs, "notify": p.NotificationMsgs} {
		for conv, list := range m {
			return kind + " " + conv + " " + describeMsg(list.Msgs[0])
		}
	}
	return "empty push"
}

const epoch = 1_700_000_000_000

func describeMsg(m *sdkws.MsgData) string {
	s := fmt.Sprintf("seq=%d time=%d %s %d", m.Seq, m.SendTime-epoch, m.SendID, m.ContentType)
	if m.Status == im.MsgStatusDeleted {
		s += " deleted"
	}
	if m.IsRead {
		s += " read"
	}
	var c struct{ Detail, Content string }
	if json.Unmarshal(m.Content, &c) == nil {
		s += " " + cmp.Or(c.Content, c.Detail)
	}
	return strings.TrimSpace(s)
}

func (s *script) start() {
	o := s.options
	o.Store, o.Clock, o.Logger = s.store, s.clock, slog.New(slog.DiscardHandler)
	o.Deliverers = 1 // one order of frames in every run
	o.Secret, o.Admins = "secret", []string{"admin"}
	c, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	// IDs that the server makes must not differ between runs.
	c.idSeed = [8]byte{}
	c.Start(s.sink)
	s.core = c
}

// idle waits until everything decided and committed was delivered.
func (s *script) idle() {
	g := &s.core.inFlight
	s.store.mu.Lock()
	held := len(s.store.queue) > 0
	s.store.mu.Unlock()
	if held {
		return
	}
	g.mu.Lock()
	for g.free != g.max {
		g.cond.Wait()
	}
	g.mu.Unlock()
}

func runScript(t *testing.T, text string) string {
	s := &script{
		t: t, store: newFakeStore(), clock: &fakeClock{now: time.UnixMilli(epoch)},
		sink:     &recordingSink{names: make(map[uint64]string)},
		sessions: make(map[string]SessionRef), users: make(map[string]string), tokens: make(map[string]string),
	}
	s.options.Policy = PolicySamePlatform
	head, _, _ := strings.Cut(text, "\n")
	if policy, ok := strings.CutPrefix(head, "# policy "); ok {
		n, err := strconv.Atoi(policy)
		if err != nil {
			t.Fatal(err)
		}
		s.options.Policy, s.options.MaxTokens = LoginPolicy(n), 2
	}
	s.options.FriendVerify = head == "# friend-verify"
	s.start()
	defer func() { s.core.Close() }()
	var out strings.Builder
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			out.WriteString(line + "\n")
			continue
		}
		for lines.Scan() && lines.Text() != "" {
			// the old output
		}
		out.WriteString(line + "\n----\n")
		reply := s.run(strings.Fields(line))
		s.idle()
		s.sink.mu.Lock()
		pushed := s.sink.lines
		s.sink.lines = nil
		s.sink.mu.Unlock()
		slices.SortStableFunc(pushed, func(a, b string) int {
			return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0])
		})
		for _, l := range append(reply, pushed...) {
			out.WriteString(l + "\n")
		}
		out.WriteString("\n")
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// args splits the options key=value off the words.
func args(words []string) (plain []string, opt map[string]string) {
	opt = make(map[string]string)
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			opt[k] = v
		} else {
			plain = append(plain, w)
		}
	}
	return plain, opt
}

func seqs(text string) (list []int64) {
	for f := range strings.SplitSeq(text, ",") {
		if n, err := strconv.ParseInt(f, 10, 64); err == nil {
			list = append(list, n)
		}
	}
	return list
}

var root = Caller{UserID: "admin", Admin: true, OperationID: "op"}

func as(userID string) Caller {
	if userID == "admin" {
		return root
	}
	return Caller{UserID: userID, Platform: im.PlatformIOS, OperationID: "op"}
}

func ok(err error) []string {
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	return []string{"ok"}
}

func (s *script) run(words []string) []string {
	w, opt := args(words)
	c := s.core
	switch w[0] {
	case "user":
		for _, id := range w[1:] {
			_, err := c.RegisterUsers(root, &user.UserRegisterReq{Users: []*sdkws.UserInfo{{UserID: id, Nickname: "n-" + id}}})
			if err != nil {
				return ok(err)
			}
		}
		return ok(nil)
	case "token": // token NAME user platform
		p, _ := strconv.Atoi(w[3])
		r, err := c.GetUserToken(root, &auth.GetUserTokenReq{UserID: w[2], PlatformID: int32(p)})
		if err == nil {
			s.tokens[w[1]] = r.Token
		}
		return ok(err)
	case "verify":
		id, err := c.VerifyToken(s.tokens[w[1]])
		if err != nil {
			return ok(err)
		}
		return []string{fmt.Sprintf("%s on %s", id.UserID, id.Platform)}
	case "logout": // force_logout user platform
		p, _ := strconv.Atoi(w[2])
		_, err := c.ForceLogout(root, &auth.ForceLogoutReq{UserID: w[1], PlatformID: int32(p)})
		return ok(err)
	case "connect": // connect SESSION user platform [token=NAME]
		return s.connect(w, opt)
	case "disconnect":
		c.Disconnect(s.users[w[1]], s.sessions[w[1]])
		return nil
	case "background": // background SESSION true|false
		return ok(c.SetBackground(as(s.users[w[1]]), s.sessions[w[1]],
			&sdkws.SetAppBackgroundStatusReq{UserID: s.users[w[1]], IsBackground: w[2] == "true"}))
	case "watch":
		tips, err := c.Subscribe(as(s.users[w[1]]), s.sessions[w[1]], &sdkws.SubUserOnlineStatus{
			SubscribeUserID: w[2:], UnsubscribeUserID: slices.DeleteFunc(strings.Split(opt["not"], ","), func(s string) bool { return s == "" })})
		if err != nil {
			return ok(err)
		}
		var out []string
		for _, e := range tips.Subscribers {
			out = append(out, fmt.Sprintf("%s %v", e.UserID, e.OnlinePlatformIDs))
		}
		return out
	case "send":
		return s.send(w, opt)
	case "admin-send": // admin-send from to text
		r, err := c.SendMsg(root, &msg.SendMsgReq{MsgData: &sdkws.MsgData{
			SendID: w[1], RecvID: w[2], ClientMsgID: opt["id"], SessionType: im.SingleChat, ContentType: im.ContentText, Content: text(w[3])}})
		if err != nil {
			return ok(err)
		}
		return []string{fmt.Sprintf("sent time=%d", r.SendTime-epoch)}
	case "hold":
		s.store.mu.Lock()
		s.store.hold = true
		s.store.mu.Unlock()
		return nil
	case "release":
		s.store.mu.Lock()
		s.store.hold = false
		s.store.mu.Unlock()
		s.store.release()
		return nil
	case "crash":
		s.store = s.store.crash()
		s.core.Close()
		s.sink.mu.Lock()
		s.sink.lines = nil
		s.sink.mu.Unlock()
		s.start()
		return nil
	case "tick":
		d, err := time.ParseDuration(w[1])
		if err != nil {
			return ok(err)
		}
		s.clock.advance(d)
		return nil
	}
	return s.query(w, opt)
}

func (s *script) connect(w []string, opt map[string]string) []string {
	p, _ := strconv.Atoi(w[3])
	ref := SessionRef{ID: uint64(len(s.sink.names) + 1), Platform: uint8(p)}
	ref.Token[0] = byte(ref.ID)
	if name := opt["token"]; name != "" {
		ref.Token = tokenID(s.tokens[name])
	}
	s.sink.mu.Lock()
	s.sink.names[ref.ID] = w[1]
	s.sink.mu.Unlock()
	s.sessions[w[1]], s.users[w[1]] = ref, w[2]
	s.core.Connect(w[2], ref)
	// When every worker stands at the barrier, the kicks before it are done.
	var all sync.WaitGroup
	pass := make(chan struct{})
	for range jobWorkers {
		all.Add(1)
		s.core.jobs.add(func() { all.Done(); <-pass })
	}
	all.Wait()
	close(pass)
	return nil
}

func text(t string) []byte {
	b, _ := json.Marshal(map[string]string{"content": t})
	return b
}

// send SESSION to text [id=] [type=] [from=] [session=] [off=history,...]
func (s *script) send(w []string, opt map[string]string) []string {
	from := s.users[w[1]]
	d := &sdkws.MsgData{
		SendID: cmp.Or(opt["from"], from), RecvID: w[2], ClientMsgID: opt["id"], SessionType: im.SingleChat,
		ContentType: im.ContentText, Content: text(w[3]), SendTime: 77,
	}
	if v := opt["type"]; v != "" {
		n, _ := strconv.Atoi(v)
		d.ContentType = int32(n)
	}
	if v := opt["session"]; v != "" {
		n, _ := strconv.Atoi(v)
		d.SessionType = int32(n)
	}
	if v := opt["off"]; v != "" {
		d.Options = make(map[string]bool)
		for k := range strings.SplitSeq(v, ",") {
			d.Options[k] = false
		}
	}
	b, err := proto.Marshal(d)
	if err != nil {
		return ok(err)
	}
	ref := s.sessions[w[1]]
	req := &wire.Request{ReqIdentifier: wire.ReqSendMsg, MsgIncr: []byte("1"), OperationID: []byte("op"), SendID: []byte(from), Data: b}
	done, err := s.core.TrySend(as(from), ref, req)
	if !done {
		err = s.core.Send(as(from), ref, req)
	}
	if err != nil {
		return ok(err)
	}
	return nil
}

func printMsgs(list []*sdkws.MsgData) (out []string) {
	for _, m := range list {
		out = append(out, describeMsg(m))
	}
	return out
}

func (s *script) query(w []string, opt map[string]string) []string {
	c := s.core
	switch w[0] {
	case "pull": // pull user conversation begin end [num=]
		num, _ := strconv.ParseInt(cmp.Or(opt["num"], "100"), 10, 64)
		r, err := c.PullMessageBySeqs(as(w[1]), &sdkws.PullMessageBySeqsReq{UserID: cmp.Or(opt["of"], w[1]), SeqRanges: []*sdkws.SeqRange{
			{ConversationID: w[2], Begin: seqs(w[3])[0], End: seqs(w[4])[0], Num: num}}})
		if err != nil {
			return ok(err)
		}
		return append(printMsgs(r.Msgs[w[2]].GetMsgs()), printMsgs(r.NotificationMsgs[w[2]].GetMsgs())...)
	case "pick": // pick user conversation seqs [order=]
		r, err := c.GetSeqMessage(as(w[1]), &msg.GetSeqMessageReq{UserID: w[1], Order: sdkws.PullOrder(len(opt["order"])),
			Conversations: []*msg.ConversationSeqs{{ConversationID: w[2], Seqs: seqs(w[3])}}})
		if err != nil {
			return ok(err)
		}
		l := r.Msgs[w[2]]
		return append(printMsgs(l.GetMsgs()), fmt.Sprintf("isEnd=%t endSeq=%d", l.GetIsEnd(), l.GetEndSeq()))
	case "last":
		r, err := c.GetLastMessage(as(w[1]), &msg.GetLastMessageReq{UserID: w[1], ConversationIDs: w[2:]})
		if err != nil {
			return ok(err)
		}
		var out []string
		for _, id := range w[2:] {
			if m := r.Msgs[id]; m != nil {
				out = append(out, id+" "+describeMsg(m))
			}
		}
		return out
	case "seqs":
		r, err := c.GetMaxSeq(as(w[1]), &sdkws.GetMaxSeqReq{UserID: cmp.Or(opt["of"], w[1])})
		if err != nil {
			return ok(err)
		}
		var out []string
		for id, n := range r.MaxSeqs {
			out = append(out, fmt.Sprintf("%s %d", id, n))
		}
		slices.Sort(out)
		return out
	case "unread":
		r, err := c.GetConversationsHasReadAndMaxSeq(as(w[1]), &msg.GetConversationsHasReadAndMaxSeqReq{UserID: w[1], ReturnPinned: true})
		if err != nil {
			return ok(err)
		}
		var out []string
		for id, q := range r.Seqs {
			out = append(out, fmt.Sprintf("%s max=%d read=%d", id, q.MaxSeq, q.HasReadSeq))
		}
		slices.Sort(out)
		return append(out, r.PinnedConversationIDs...)
	case "list": // list user version
		v, _ := strconv.ParseUint(w[2], 10, 64)
		id := c.versionID(conversationsOf(w[1]))
		r, err := c.GetIncrementalConversation(as(w[1]), &conversation.GetIncrementalConversationReq{UserID: w[1], Version: v, VersionID: id})
		if err != nil {
			return ok(err)
		}
		out := []string{fmt.Sprintf("version=%d full=%t", r.Version, r.Full)}
		for _, row := range r.Insert {
			out = append(out, fmt.Sprintf("insert %s peer=%s", row.ConversationID, row.UserID))
		}
		for _, row := range r.Update {
			out = append(out, fmt.Sprintf("update %s pinned=%t opt=%d min=%d private=%t", row.ConversationID, row.IsPinned, row.RecvMsgOpt, row.MinSeq, row.IsPrivateChat))
		}
		return out
	}
	return s.change(w, opt)
}

func (s *script) change(w []string, opt map[string]string) []string {
	c := s.core
	sync := &msg.DeleteSyncOpt{IsSyncSelf: opt["sync"] == "self", IsSyncOther: opt["sync"] == "other"}
	switch w[0] {
	case "read": // read user conversation seq [seqs=]
		_, err := c.MarkConversationAsRead(as(w[1]), &msg.MarkConversationAsReadReq{
			UserID: w[1], ConversationID: w[2], HasReadSeq: seqs(w[3])[0], Seqs: seqs(opt["seqs"])})
		return ok(err)
	case "read-msgs":
		_, err := c.MarkMsgsAsRead(as(w[1]), &msg.MarkMsgsAsReadReq{UserID: w[1], ConversationID: w[2], Seqs: seqs(w[3])})
		return ok(err)
	case "set-read":
		_, err := c.SetConversationHasReadSeq(as(w[1]), &msg.SetConversationHasReadSeqReq{UserID: w[1], ConversationID: w[2], HasReadSeq: seqs(w[3])[0]})
		return ok(err)
	case "revoke": // revoke caller conversation seq [as=]
		_, err := c.RevokeMsg(as(w[1]), &msg.RevokeMsgReq{UserID: cmp.Or(opt["as"], w[1]), ConversationID: w[2], Seq: seqs(w[3])[0]})
		return ok(err)
	case "delete":
		_, err := c.DeleteMsgs(as(w[1]), &msg.DeleteMsgsReq{UserID: w[1], ConversationID: w[2], Seqs: seqs(w[3]), DeleteSyncOpt: sync})
		return ok(err)
	case "clear":
		_, err := c.ClearConversationsMsg(as(w[1]), &msg.ClearConversationsMsgReq{UserID: w[1], ConversationIDs: w[2:], DeleteSyncOpt: sync})
		return ok(err)
	case "nickname":
		_, err := c.UpdateUserInfoEx(as(w[1]), &user.UpdateUserInfoExReq{UserInfo: &sdkws.UserInfoWithEx{
			UserID: cmp.Or(opt["of"], w[1]), Nickname: wrapperspb.String(w[2])}})
		return ok(err)
	case "global-opt":
		_, err := c.SetGlobalRecvMessageOpt(as(w[1]), &user.SetGlobalRecvMessageOptReq{UserID: w[1], GlobalRecvMsgOpt: int32(seqs(w[2])[0])})
		return ok(err)
	case "set": // set user peer [pin=true] [opt=n] [private=true]
		in := &conversation.ConversationReq{ConversationID: im.SingleID(w[1], w[2]), ConversationType: im.SingleChat, UserID: w[2]}
		if v := opt["pin"]; v != "" {
			in.IsPinned = wrapperspb.Bool(v == "true")
		}
		if v := opt["opt"]; v != "" {
			in.RecvMsgOpt = wrapperspb.Int32(int32(seqs(v)[0]))
		}
		if v := opt["private"]; v != "" {
			in.IsPrivateChat = wrapperspb.Bool(v == "true")
		}
		_, err := c.SetConversations(as(w[1]), &conversation.SetConversationsReq{UserIDs: []string{cmp.Or(opt["of"], w[1])}, Conversation: in})
		return ok(err)
	case "befriend":
		_, err := c.ImportFriend(root, &relation.ImportFriendReq{OwnerUserID: w[1], FriendUserIDs: w[2:]})
		return ok(err)
	case "unfriend":
		_, err := c.DeleteFriend(as(w[1]), &relation.DeleteFriendReq{OwnerUserID: w[1], FriendUserID: w[2]})
		return ok(err)
	case "block":
		_, err := c.AddBlack(as(w[1]), &relation.AddBlackReq{OwnerUserID: w[1], BlackUserID: w[2]})
		return ok(err)
	case "business": // business to key [level=] [message=true]
		level, _ := strconv.Atoi(opt["level"])
		_, err := c.SendBusinessNotification(root, BusinessNotification{
			Key: w[2], Data: "d", SendUserID: "admin", RecvUserID: w[1], Reliability: level, SendMsg: opt["message"] == "true"})
		return ok(err)
	}
	return []string{"unknown command " + w[0]}
}
