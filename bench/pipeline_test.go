package bench

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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

var root = core.Caller{UserID: "admin", Admin: true}

// sink counts what core delivers and lets waiters see the count.
type sink struct {
	frames, targets atomic.Int64
	answers         atomic.Int64 // frames for one session: here those are answers only
	mu              sync.Mutex
	cond            sync.Cond
}

func newSink() *sink {
	s := &sink{}
	s.cond.L = &s.mu
	return s
}

func (s *sink) Deliver(round []core.Delivery) {
	for _, d := range round {
		s.frames.Add(1)
		s.targets.Add(int64(len(d.To)))
		if len(d.To) == 1 {
			s.answers.Add(1)
		}
	}
	s.mu.Lock()
	s.cond.Broadcast()
	s.mu.Unlock()
}

func (s *sink) Close([]core.SessionRef, core.LastFrame) {}

// waitTargets returns when n frames reached their session.
func (s *sink) waitTargets(n int64) { s.wait(&s.targets, n) }

// waitAnswers returns when n messages were answered; their pushes, of which one may
// carry several, are in the same rounds.
func (s *sink) waitAnswers(n int64) { s.wait(&s.answers, n) }

func (s *sink) wait(count *atomic.Int64, n int64) {
	s.mu.Lock()
	for count.Load() < n {
		s.cond.Wait()
	}
	s.mu.Unlock()
}

// server is core on a store, without sockets.
type server struct {
	core  *core.Core
	store *storage.Store
	sink  *sink // what core delivers to, unless open was told otherwise
}

// newServer starts core on a store in dir, or in memory when dir is empty.
func newServer(tb testing.TB, dir string) *server {
	tb.Helper()
	s := open(tb, dir, nil)
	s.core.Start(s.sink)
	return s
}

// open is newServer before core is started. wrap, if not nil, puts itself between
// core and the store.
func open(tb testing.TB, dir string, wrap func(core.Store) core.Store) *server {
	tb.Helper()
	s := &server{store: openStore(tb, dir), sink: newSink()}
	o := core.Options{Store: s.store, Secret: "secret", Admins: []string{root.UserID}, Policy: core.PolicySamePlatform}
	if wrap != nil {
		o.Store = wrap(s.store)
	}
	var err error
	if s.core, err = core.New(o); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.core.Close)
	return s
}

// openStore opens a store in dir, or in memory when dir is empty.
func openStore(tb testing.TB, dir string) *storage.Store {
	tb.Helper()
	o := storage.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)}
	if dir == "" {
		o.Dir, o.FS = "data", vfs.NewMem()
	}
	store, err := storage.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store
}

// register creates n users u0, u1 … and connects one session of each, which use
// the variants in turn; without variants they ask for gzip, as the SDKs do.
func (s *server) register(tb testing.TB, n int, variants ...wire.Variant) []core.SessionRef {
	tb.Helper()
	s.addUsers(tb, n)
	if len(variants) == 0 {
		variants = []wire.Variant{wire.VariantGzip}
	}
	refs := make([]core.SessionRef, n)
	for i := range refs {
		refs[i] = core.SessionRef{ID: uint64(i + 1), Platform: uint8(im.PlatformIOS), Variant: variants[i%len(variants)]}
		s.core.Connect(name(i), refs[i])
	}
	return refs
}

func (s *server) addUsers(tb testing.TB, n int) {
	tb.Helper()
	for lo := 0; lo < n; lo += 1000 {
		req := &user.UserRegisterReq{}
		for i := lo; i < min(lo+1000, n); i++ {
			req.Users = append(req.Users, &sdkws.UserInfo{UserID: name(i), Nickname: name(i)})
		}
		if _, err := s.core.RegisterUsers(root, req); err != nil {
			tb.Fatal(err)
		}
	}
}

func name(i int) string { return fmt.Sprintf("u%d", i) }

// request is a text of 200 bytes as the SDK would send it.
func request(tb testing.TB, sender, receiver, groupID, id string) *wire.Request {
	tb.Helper()
	d := &sdkws.MsgData{
		SendID: sender, RecvID: receiver, GroupID: groupID, ClientMsgID: id, SessionType: im.SingleChat,
		ContentType: im.ContentText, Content: fmt.Appendf(nil, `{"content":"%0200d"}`, 7), CreateTime: 1, SenderNickname: sender,
	}
	if groupID != "" {
		d.SessionType = im.GroupChat
	}
	b, err := proto.Marshal(d)
	if err != nil {
		tb.Fatal(err)
	}
	return &wire.Request{ReqIdentifier: wire.ReqSendMsg, MsgIncr: []byte("1"), OperationID: []byte("op"), SendID: []byte(sender), Data: b}
}

// send sends as a session's event loop does.
func (s *server) send(tb testing.TB, from core.Caller, ref core.SessionRef, req *wire.Request) {
	done, err := s.core.TrySend(from, ref, req)
	if !done {
		err = s.core.Send(from, ref, req)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkPair is one-to-one messages of 200 pairs: decided, durable on a real
// disk, answered, pushed to both users. outstanding is per pair.
func BenchmarkPair(b *testing.B) {
	for _, outstanding := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("outstanding=%d", outstanding), func(b *testing.B) {
			const pairs = 200
			s := newServer(b, b.TempDir())
			refs := s.register(b, 2*pairs)
			reqs := make([]*wire.Request, b.N)
			for i := range reqs {
				p := i % pairs
				reqs[i] = request(b, name(2*p), name(2*p+1), "", fmt.Sprintf("%032d", i))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i, req := range reqs {
				p := i % pairs
				if ahead := int64(i - pairs*outstanding); ahead > 0 {
					s.sink.waitAnswers(ahead)
				}
				s.send(b, core.Caller{UserID: name(2 * p), Platform: im.PlatformIOS}, refs[2*p], req)
			}
			s.sink.waitAnswers(int64(b.N))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// newGroup makes a group of n users, all online.
func newGroup(tb testing.TB, s *server, n int, variants ...wire.Variant) (id string, refs []core.SessionRef) {
	tb.Helper()
	refs = s.register(tb, n, variants...)
	members := make([]string, 0, n-1)
	for i := 1; i < n; i++ {
		members = append(members, name(i))
	}
	r, err := s.core.CreateGroup(root, &group.CreateGroupReq{
		GroupInfo: &sdkws.GroupInfo{GroupName: "g", GroupType: 2}, OwnerUserID: name(0), MemberUserIDs: members,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r.GroupInfo.GroupID, refs
}

// BenchmarkGroup is messages to a group of 1,000 online members, eight at a time.
func BenchmarkGroup(b *testing.B) {
	const members, outstanding = 1000, 8
	s := newServer(b, b.TempDir())
	id, refs := newGroup(b, s, members)
	s.sink.waitTargets(2 * members) // 1501 as a message and as a notification
	before := s.sink.answers.Load()
	reqs := make([]*wire.Request, b.N)
	for i := range reqs {
		reqs[i] = request(b, name(0), "", id, fmt.Sprintf("%032d", i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i, req := range reqs {
		if ahead := int64(i - outstanding); ahead > 0 {
			s.sink.waitAnswers(before + ahead)
		}
		s.send(b, core.Caller{UserID: name(0), Platform: im.PlatformIOS}, refs[0], req)
	}
	s.sink.waitAnswers(before + int64(b.N))
	b.ReportMetric(float64(members*b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
