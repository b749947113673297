package core

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/openimsdk/protocol/group"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// newRig starts a core on an empty fake store, for tests that look inside.
func newRig(t *testing.T, o Options) (*Core, *fakeStore, *recordingSink) {
	t.Helper()
	c, store, sink := startRig(t, o)
	t.Cleanup(c.Close)
	return c, store, sink
}

// startRig is newRig for a test that closes the core itself.
func startRig(t *testing.T, o Options) (*Core, *fakeStore, *recordingSink) {
	t.Helper()
	store := newFakeStore()
	sink := &recordingSink{names: make(map[uint64]string)}
	o.Store, o.Clock, o.Logger = store, &fakeClock{now: time.UnixMilli(epoch)}, slog.New(slog.DiscardHandler)
	o.Secret, o.Admins, o.Policy = "secret", []string{"admin"}, PolicySamePlatform
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Start(sink)
	return c, store, sink
}

func register(t *testing.T, c *Core, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, err := c.RegisterUsers(root, &user.UserRegisterReq{Users: []*sdkws.UserInfo{{UserID: id, Nickname: id}}}); err != nil {
			t.Fatal(err)
		}
	}
}

func makeGroup(t *testing.T, c *Core, id, owner string, members ...string) {
	t.Helper()
	_, err := c.CreateGroup(root, &group.CreateGroupReq{
		GroupInfo: &sdkws.GroupInfo{GroupID: id, GroupName: id, GroupType: groupTypeWork}, OwnerUserID: owner, MemberUserIDs: members,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sendAs sends d as its sender's session would; the answer goes to the sink.
func sendAs(c *Core, d *sdkws.MsgData) error {
	ref, req := sessionSend(d)
	return c.Send(as(d.SendID), ref, req)
}

// trySendAs is sendAs on the session's event loop.
func trySendAs(c *Core, d *sdkws.MsgData) (bool, error) {
	ref, req := sessionSend(d)
	return c.TrySend(as(d.SendID), ref, req)
}

func sessionSend(d *sdkws.MsgData) (SessionRef, *wire.Request) {
	if d.ContentType == 0 {
		d.ContentType = im.ContentText
	}
	if d.Content == nil {
		d.Content = text("x")
	}
	if d.SessionType == 0 {
		d.SessionType = im.SingleChat
	}
	b, err := proto.Marshal(d)
	if err != nil {
		panic(err)
	}
	return SessionRef{ID: 1 << 40, Platform: uint8(im.PlatformIOS)}, &wire.Request{ReqIdentifier: wire.ReqSendMsg, Data: b}
}

// drained waits until everything decided was delivered.
func drained(c *Core) {
	g := &c.inFlight
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.free != g.max {
		g.cond.Wait()
	}
}

// names makes n user IDs.
func names(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s%d", prefix, i))
	}
	return ids
}
