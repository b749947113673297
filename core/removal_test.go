package core

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// seqsOf are the seqs that user sees of conv; negative ones are placeholders.
func seqsOf(t *testing.T, c *Core, user, conv string) (seqs []int64) {
	t.Helper()
	r, err := c.PullMessageBySeqs(as(user), &sdkws.PullMessageBySeqsReq{UserID: user, SeqRanges: []*sdkws.SeqRange{
		{ConversationID: conv, Begin: 0, End: 100, Num: 100}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append(r.Msgs[conv].GetMsgs(), r.NotificationMsgs[conv].GetMsgs()...) {
		if m.Status == im.MsgStatusDeleted {
			if len(m.Content) > 0 || m.ClientMsgID == "" || m.SendTime == 0 {
				t.Errorf("placeholder %v", m)
			}
			m.Seq = -m.Seq
		}
		seqs = append(seqs, m.Seq)
	}
	return seqs
}

func rowCount(t *testing.T, s Store, conv string) (n int) {
	t.Helper()
	view := s.Committed()
	defer view.Release()
	if err := view.Scan(Range{Table: TableMessage, Fixed: 1, A: conv}, func(Key, []byte) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

// What is too old goes, in the conversations named only; seqs and times go on
// where they were, also after a restart, and messages that went stay sent.
func TestRemovalByAge(t *testing.T) {
	c, store, _ := newRig(t, Options{})
	clock := c.opt.Clock.(*fakeClock)
	register(t, c, "a", "b", "d")
	send := func(c *Core, to, id string) error {
		return sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: to, ClientMsgID: id})
	}
	for i := range 10 {
		if i == 5 {
			clock.advance(time.Hour)
		}
		if err := errors.Join(send(c, "b", fmt.Sprint("m", i)), send(c, "d", fmt.Sprint("m", i))); err != nil {
			t.Fatal(err)
		}
	}
	drained(c)
	remove := func(age int64, convs ...string) error {
		_, err := c.DeleteMsgPhysical(root, &msg.DeleteMsgPhysicalReq{ConversationIDs: convs, Timestamp: age})
		return err
	}
	for range 2 {
		if err := remove(1800, "si_a_b", "si_nobody"); err != nil {
			t.Fatal(err)
		}
		if got := seqsOf(t, c, "b", "si_a_b"); !slices.Equal(got, []int64{6, 7, 8, 9, 10}) || rowCount(t, store, "si_a_b") != 6 {
			t.Errorf("left: %v in %d rows", got, rowCount(t, store, "si_a_b"))
		}
	}
	if got := seqsOf(t, c, "d", "si_a_d"); len(got) != 10 {
		t.Errorf("another conversation lost some: %v", got)
	}
	if err := send(c, "b", "m1"); !errors.Is(err, im.ErrRecordNotFound) {
		t.Errorf("a removed message was taken again: %v", err)
	}

	clock.advance(time.Second)
	if err := remove(0, "si_a_b"); err != nil {
		t.Fatal(err)
	}
	if got := seqsOf(t, c, "a", "si_a_b"); len(got) != 0 || rowCount(t, store, "si_a_b") != 1 {
		t.Errorf("left of all: %v in %d rows", got, rowCount(t, store, "si_a_b"))
	}
	if r, err := c.GetConversationsHasReadAndMaxSeq(as("b"), &msg.GetConversationsHasReadAndMaxSeqReq{UserID: "b"}); err != nil ||
		r.Seqs["si_a_b"].MaxSeq != 10 || r.Seqs["si_a_b"].HasReadSeq != 10 {
		t.Errorf("what was removed is unread: %v %v", r, err)
	}
	found, err := c.SearchMessage(root, &msg.SearchMessageReq{RecvID: "b", Pagination: &sdkws.RequestPagination{PageNumber: 1, ShowNumber: 9}})
	if err != nil || found.ChatLogsNum != 0 {
		t.Errorf("the search finds %v, %v", found, err)
	}

	o := c.opt
	o.Clock = &fakeClock{now: time.UnixMilli(epoch)} // behind
	again, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.Start(&recordingSink{names: make(map[uint64]string)})
	if err := send(again, "b", "after"); err != nil {
		t.Fatal(err)
	}
	drained(again)
	if got := seqsOf(t, again, "b", "si_a_b"); !slices.Equal(got, []int64{11}) {
		t.Errorf("after all were removed: %v", got)
	}
	if p, err := again.position("si_a_b"); err != nil || p.maxTime <= epoch+time.Hour.Milliseconds() {
		t.Errorf("sendTime fell back: %+v %v", p, err)
	}

	for what, err := range map[string]error{
		"an age in the future": remove(-1, "si_a_b"),
		"no conversation":      remove(1),
	} {
		if !errors.Is(err, im.ErrArgs) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := remove(1<<62, "si_a_d"); err != nil || len(seqsOf(t, c, "d", "si_a_d")) != 10 {
		t.Errorf("older than the world: %v", err)
	}
}

// A removed message leaves a placeholder; a removed notification leaves nothing.
func TestRemovalBySeq(t *testing.T) {
	c, _, sink := newRig(t, Options{})
	register(t, c, "a", "b")
	for i := range 3 {
		if err := sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: fmt.Sprint("m", i)}); err != nil {
			t.Fatal(err)
		}
	}
	drained(c)
	for seq := int64(1); seq <= 2; seq++ {
		if _, err := c.RevokeMsg(as("a"), &msg.RevokeMsgReq{UserID: "a", ConversationID: "si_a_b", Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	drained(c)
	told := len(sink.lines)
	remove := func(conv string, seqs ...int64) error {
		_, err := c.DeleteMsgPhysicalBySeq(root, &msg.DeleteMsgPhysicalBySeqReq{ConversationID: conv, Seqs: seqs})
		return err
	}
	for range 2 {
		if err := errors.Join(remove("si_a_b", 2, 3, 99), remove("n_a_b", 1)); err != nil {
			t.Fatal(err)
		}
	}
	drained(c)
	if got := seqsOf(t, c, "b", "si_a_b"); !slices.Equal(got, []int64{1, -2, -3}) {
		t.Errorf("chat: %v", got)
	}
	if got := seqsOf(t, c, "b", "n_a_b"); !slices.Equal(got, []int64{2}) {
		t.Errorf("notifications: %v", got)
	}
	if len(sink.lines) != told {
		t.Errorf("told: %v", sink.lines[told:])
	}
	if err := remove("si_a_b"); !errors.Is(err, im.ErrArgs) {
		t.Errorf("no seqs: %v", err)
	}
	if err := remove("si_x_y", 1); !errors.Is(err, im.ErrRecordNotFound) {
		t.Errorf("no conversation: %v", err)
	}
}
