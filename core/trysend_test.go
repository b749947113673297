package core

import (
	"errors"
	"testing"

	"github.com/openimsdk/protocol/relation"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// TrySend decides what needs no reading, and otherwise leaves everything as it was.
func TestTrySend(t *testing.T) {
	c, store, _ := newRig(t, Options{})
	register(t, c, "a", "b", "c")
	chat := func(id string) *sdkws.MsgData {
		return &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: id}
	}
	expect := func(what string, d *sdkws.MsgData, wantDone bool, wantErr error) {
		t.Helper()
		drained(c)
		store.readsSince()
		done, err := trySendAs(c, d)
		if done != wantDone || !errors.Is(err, wantErr) {
			t.Errorf("%s: done %v, %v; want %v, %v", what, done, err, wantDone, wantErr)
		}
		if n := store.readsSince(); n != 0 {
			t.Errorf("%s: the store was read %d times", what, n)
		}
		if !store.hold {
			drained(c) // and so nothing stayed in flight
		}
	}
	maxSeq := func() int64 {
		t.Helper()
		p, err := c.position("si_a_b")
		if err != nil {
			t.Fatal(err)
		}
		return p.maxSeq
	}

	expect("a conversation that is not in memory", chat("1"), false, nil)
	if n := maxSeq(); n != 0 {
		t.Fatalf("%d messages after a TrySend that was not done", n)
	}
	expect("a first message", chat("1"), false, nil)
	if err := sendAs(c, chat("1")); err != nil {
		t.Fatal(err)
	}
	// Its facts still say that nobody has the conversation in his list.
	expect("the facts of before", chat("2"), false, nil)
	if err := sendAs(c, chat("2")); err != nil {
		t.Fatal(err)
	}
	expect("a conversation in use", chat("3"), true, nil)
	if n := maxSeq(); n != 3 {
		t.Fatalf("max seq %d, want 3", n)
	}
	expect("a sender whose read position is not in memory", &sdkws.MsgData{SendID: "b", RecvID: "a", ClientMsgID: "4"}, false, nil)
	expect("a resend of a durable message", chat("3"), false, nil)

	sh := &c.shards.all[shardIndex("si_a_b")]
	sh.mu.Lock()
	done, err := trySendAs(c, chat("6"))
	sh.mu.Unlock()
	if done || err != nil {
		t.Errorf("a shard in use: done %v, %v", done, err)
	}
	store.crowded = true
	expect("a full queue", chat("6"), false, nil)
	store.crowded = false

	// A resend in flight takes part in the first one's answer.
	store.hold = true
	expect("in flight", chat("7"), true, nil)
	if done, err := trySendAs(c, chat("7")); !done || err != nil {
		t.Errorf("a resend in flight: done %v, %v", done, err)
	}
	store.hold = false
	store.release()
	drained(c)
	if n := maxSeq(); n != 4 {
		t.Errorf("max seq %d, want 4", n)
	}

	if _, err := c.AddBlack(as("b"), &relation.AddBlackReq{OwnerUserID: "b", BlackUserID: "a"}); err != nil {
		t.Fatal(err)
	}
	expect("rules that changed", chat("8"), false, nil)
	if err := sendAs(c, chat("8")); !errors.Is(err, im.ErrBlockedByPeer) {
		t.Errorf("blocked: %v", err)
	}
	expect("rules that are known", chat("8"), true, im.ErrBlockedByPeer)

	makeGroup(t, c, "g", "a", "b") // itself a message of a's
	inGroup := func(id string) *sdkws.MsgData {
		return &sdkws.MsgData{SendID: "a", GroupID: "g", SessionType: im.GroupChat, ClientMsgID: id}
	}
	expect("a group in use", inGroup("1"), true, nil)
	expect("a resend of a group's durable message", inGroup("1"), false, nil)
	c.groups.mu.Lock()
	delete(c.groups.byID, "g")
	c.groups.mu.Unlock()
	expect("a group that is not in memory", inGroup("3"), false, nil)
	if err := sendAs(c, inGroup("3")); err != nil {
		t.Fatal(err)
	}
	expect("a group that was read", inGroup("4"), true, nil)
}

// A first message is what random pairs send all day: its reads are counted. They are
// the conversation and the sender's position in it; profile, black list and row of
// both; with both stripes held, the rows again and the heads of both lists; and twice
// the message's ID, which a store with a filter knows to be new without reading.
func TestFirstMessageReads(t *testing.T) {
	c, store, _ := newRig(t, Options{})
	register(t, c, "a", "b")
	store.readsSince()
	if err := sendAs(c, &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "1"}); err != nil {
		t.Fatal(err)
	}
	if n := store.readsSince(); n != 14 {
		t.Errorf("a first message read the store %d times, want 14", n)
	}
}

// What a refused first message learned of a user does not outlive his registration.
func TestFactsBeforeRegistration(t *testing.T) {
	c, _, _ := newRig(t, Options{})
	register(t, c, "a")
	toB := &sdkws.MsgData{SendID: "a", RecvID: "b", ClientMsgID: "1"}
	for range 2 {
		if err := sendAs(c, toB); !errors.Is(err, im.ErrRecordNotFound) {
			t.Fatalf("to a stranger: %v", err)
		}
	}
	register(t, c, "b")
	if err := sendAs(c, toB); err != nil {
		t.Errorf("to one who registered since: %v", err)
	}
}
