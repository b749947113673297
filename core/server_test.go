package core_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"google.golang.org/protobuf/proto"

	"gannet/core"
	"gannet/internal/im"
	"gannet/internal/wire"
	"gannet/storage"
)

// server is a core on the real store, and what its sessions were sent.
type server struct {
	*core.Core
	t     *testing.T
	store *storage.Store

	mu   sync.Mutex
	cond sync.Cond
	// Guarded by mu.
	acks   map[string]*sdkws.UserSendMsgResp // by msgIncr
	pushed map[uint64][]*sdkws.MsgData       // by session, in order
}

// open starts a server on what fs holds.
func open(t *testing.T, fs vfs.FS) *server {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	store, err := storage.Open(storage.Options{Dir: "data", FS: fs, CacheBytes: 8 << 20, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	c, err := core.New(core.Options{Store: store, Logger: quiet, Secret: "secret", Admins: []string{"admin"}})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Core: c, t: t, store: store, acks: make(map[string]*sdkws.UserSendMsgResp), pushed: make(map[uint64][]*sdkws.MsgData)}
	s.cond.L = &s.mu
	c.Start(s)
	return s
}

func (s *server) close() {
	s.Core.Close()
	if err := s.store.Close(); err != nil {
		s.t.Error(err)
	}
}

// Deliver implements core.Sink: it decodes the frames and keeps what they say.
func (s *server) Deliver(round []core.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range round {
		r, err := core.DecodeFrame(d.Frame, d.To[0].Variant)
		if err != nil {
			s.t.Error(err)
			continue
		}
		switch r.ReqIdentifier {
		case wire.ReqSendMsg:
			a := new(sdkws.UserSendMsgResp)
			if err := proto.Unmarshal(r.Data, a); err != nil || s.acks[string(r.MsgIncr)] != nil {
				s.t.Errorf("answer %s: %v, again: %v", r.MsgIncr, err, s.acks[string(r.MsgIncr)])
			}
			s.acks[string(r.MsgIncr)] = a
		case wire.PushMsg:
			var p sdkws.PushMessages
			if err := proto.Unmarshal(r.Data, &p); err != nil {
				s.t.Error(err)
			}
			for _, list := range p.Msgs {
				for _, ref := range d.To {
					s.pushed[ref.ID] = append(s.pushed[ref.ID], list.Msgs...)
				}
			}
		}
	}
	s.cond.Broadcast()
}

// Close implements core.Sink.
func (s *server) Close([]core.SessionRef, core.LastFrame) {}

// answer waits for the answer to one send.
func (s *server) answer(incr string) *sdkws.UserSendMsgResp {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.acks[incr] == nil {
		s.cond.Wait()
	}
	return s.acks[incr]
}

// settled waits until everything decided was delivered.
func (s *server) settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.Stats().InFlightBytes > 0 {
		// The last deliverer gives its bytes back after its round, so no frame tells.
		s.mu.Unlock()
		yield()
		s.mu.Lock()
	}
}

var admin = core.Caller{UserID: "admin", Admin: true, OperationID: "op"}

func caller(id string) core.Caller {
	return core.Caller{UserID: id, Platform: im.PlatformAndroid, OperationID: "op"}
}

// session is the one session of user number n.
func session(n int) core.SessionRef {
	return core.SessionRef{ID: uint64(n + 1), Platform: uint8(im.PlatformAndroid), Token: core.TokenID{byte(n + 1)}}
}

func userIDs(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint("u", i))
	}
	return ids
}

func (s *server) register(ids ...string) {
	s.t.Helper()
	var list []*sdkws.UserInfo
	for _, id := range ids {
		list = append(list, &sdkws.UserInfo{UserID: id, Nickname: "nick " + id})
	}
	if _, err := s.RegisterUsers(admin, &user.UserRegisterReq{Users: list}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) createGroup(id, owner string, members ...string) {
	s.t.Helper()
	_, err := s.CreateGroup(admin, &group.CreateGroupReq{OwnerUserID: owner, MemberUserIDs: members,
		GroupInfo: &sdkws.GroupInfo{GroupID: id, GroupName: id, GroupType: 2}})
	if err != nil {
		s.t.Fatal(err)
	}
}

// text is a message to a user, or with inGroup to a group.
func text(from, to string, inGroup bool, id string) *sdkws.MsgData {
	content, _ := json.Marshal(map[string]string{"content": id})
	d := &sdkws.MsgData{SendID: from, RecvID: to, ClientMsgID: id, SessionType: im.SingleChat, ContentType: im.ContentText, Content: content}
	if inGroup {
		d.SessionType, d.RecvID, d.GroupID = im.GroupChat, "", to
	}
	return d
}

// send sends d from a session, as its event loop does; the answer comes under incr.
func (s *server) send(ref core.SessionRef, d *sdkws.MsgData, incr string) error {
	b, err := proto.Marshal(d)
	if err != nil {
		return err
	}
	req := &wire.Request{ReqIdentifier: wire.ReqSendMsg, MsgIncr: []byte(incr), Data: b}
	if done, err := s.TrySend(caller(d.SendID), ref, req); done {
		return err
	}
	return s.Send(caller(d.SendID), ref, req)
}

// history pulls all of a conversation, in steps.
func (s *server) history(userID, conv string) (all []*sdkws.MsgData) {
	s.t.Helper()
	for {
		from := int64(len(all)) + 1
		r, err := s.PullMessageBySeqs(caller(userID), &sdkws.PullMessageBySeqsReq{UserID: userID, SeqRanges: []*sdkws.SeqRange{
			{ConversationID: conv, Begin: from, End: from + 499, Num: 500}}})
		if err != nil {
			s.t.Fatal(err)
		}
		if len(r.Msgs[conv].GetMsgs()) == 0 {
			return all
		}
		all = append(all, r.Msgs[conv].Msgs...)
	}
}

// gapless checks seq, time and identity of a whole conversation.
func (s *server) gapless(conv string, all []*sdkws.MsgData) {
	s.t.Helper()
	seen := make(map[[2]string]bool)
	last := int64(0)
	for i, m := range all {
		id := [2]string{m.SendID, m.ClientMsgID}
		if m.Seq != int64(i+1) || m.SendTime <= last || seen[id] {
			s.t.Errorf("%s: place %d holds seq %d, time %d after %d, %v repeated: %t", conv, i+1, m.Seq, m.SendTime, last, id, seen[id])
		}
		last, seen[id] = m.SendTime, true
	}
}
