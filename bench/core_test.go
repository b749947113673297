package bench

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/core"
	"gannet/internal/im"
	"gannet/internal/wire"
)

// dirOf is where a hop's store is: on the disk when the hop is timed, in memory
// when its allocations are counted.
func dirOf(tb testing.TB) string {
	if b, ok := tb.(*testing.B); ok {
		return b.TempDir()
	}
	return ""
}

// talk sends messages of u0, as they were made ready.
type talk struct {
	*server
	tb    testing.TB
	ref   core.SessionRef
	group string
	made  int64
	ready []*wire.Request
}

func (t *talk) makeReady() {
	t.ready = t.ready[:0]
	for range refillEvery {
		t.made++
		t.ready = append(t.ready, request(t.tb, name(0), name(1), t.group, fmt.Sprintf("%032d", t.made)))
	}
}

func (t *talk) send() {
	req := t.ready[0]
	t.ready = t.ready[1:]
	t.server.send(t.tb, core.Caller{UserID: name(0), Platform: im.PlatformIOS}, t.ref, req)
}

// sendAll makes messages ready and sends them, and returns when they were delivered.
func (t *talk) sendAll() {
	t.makeReady()
	before := t.sink.answers.Load()
	for range refillEvery {
		t.send()
	}
	t.sink.waitAnswers(before + refillEvery)
}

func newPair(tb testing.TB, s *server, variants ...wire.Variant) *talk {
	t := &talk{server: s, tb: tb, ref: s.register(tb, 2, variants...)[0]}
	t.sendAll() // what is loaded at first use is loaded
	return t
}

// groupMembers hear of a message.
const groupMembers = 1000

func newGroupTalk(tb testing.TB, s *server, variants ...wire.Variant) *talk {
	id, refs := newGroup(tb, s, groupMembers, variants...)
	s.sink.waitTargets(2 * groupMembers) // 1501 as a message and as a notification
	t := &talk{server: s, tb: tb, ref: refs[0], group: id}
	t.sendAll()
	return t
}

// held is a store that keeps what core appends until complete.
type held struct {
	core.Store
	on    bool
	queue []*core.Batch
}

func (h *held) Append(b *core.Batch) error {
	if !h.on {
		return h.Store.Append(b)
	}
	h.queue = append(h.queue, b)
	return nil
}

// complete calls the oldest batch's Done.
func (h *held) complete() {
	b := h.queue[0]
	h.queue = h.queue[1:]
	b.Done(nil)
}

// newHeld is a server whose store is held once prepare has made t.
func newHeld(tb testing.TB, prepare func(testing.TB, *server, ...wire.Variant) *talk, variants ...wire.Variant) (*talk, *held) {
	h := &held{}
	s := open(tb, "", func(store core.Store) core.Store {
		h.Store = store
		return h
	})
	s.core.Start(s.sink)
	t := prepare(tb, s, variants...)
	h.on = true
	return t, h
}

func rulesPair(tb testing.TB) op  { return rules(newHeld(tb, newPair)) }
func rulesGroup(tb testing.TB) op { return rules(newHeld(tb, newGroupTalk)) }

func rules(t *talk, h *held) op {
	return op{run: t.send, refill: func() {
		for len(h.queue) > 0 {
			h.complete()
		}
		h.queue = make([]*core.Batch, 0, refillEvery)
		t.makeReady()
	}}
}

func fanOutPair(v wire.Variant) func(testing.TB) op {
	return func(tb testing.TB) op {
		t, h := newHeld(tb, newPair, v)
		return fanOut(t, h)
	}
}

func fanOutGroup(tb testing.TB) op {
	t, h := newHeld(tb, newGroupTalk, gob, json, gobGzip, jsonGzip)
	return fanOut(t, h)
}

func fanOut(t *talk, h *held) op {
	return op{
		run: func() {
			want := t.sink.answers.Load() + 1
			h.complete()
			t.sink.waitAnswers(want)
		},
		refill: func() {
			for len(h.queue) > 0 {
				want := t.sink.answers.Load() + 1
				h.complete()
				t.sink.waitAnswers(want)
			}
			t.makeReady()
			for range refillEvery {
				t.send()
			}
		},
	}
}

func pipelinePair(tb testing.TB) op {
	return pipeline(newPair(tb, newServer(tb, dirOf(tb))))
}

func pipelineGroup(tb testing.TB) op {
	return pipeline(newGroupTalk(tb, newServer(tb, dirOf(tb))))
}

func pipeline(t *talk) op {
	return op{refill: t.makeReady, run: func() {
		want := t.sink.answers.Load() + 1
		t.send()
		t.sink.waitAnswers(want)
	}}
}

// commit is n messages, each with its dedup record, appended one by one as core
// does.
func commit(n int) func(testing.TB) op {
	return func(tb testing.TB) op {
		s := openStore(tb, dirOf(tb))
		done := make(chan error, 1)
		ids := make([]string, 1<<16)
		for i := range ids {
			ids[i] = string(binary.LittleEndian.AppendUint64(nil, uint64(i)*0x9e3779b97f4a7c15)) + "01234567"
		}
		batches := make([]core.Batch, n)
		for i := range batches {
			conv := fmt.Sprintf("si_1000000%04d_2000000%04d", i, i)
			batches[i].Ops = []core.Op{
				{Key: core.Key{Table: core.TableMessage, A: conv}, Value: make([]byte, 400)},
				{Key: core.Key{Table: core.TableMessageID, A: conv}, Value: []byte{1, 2}},
			}
		}
		batches[n-1].Done = func(err error) { done <- err }
		next := uint64(0)
		return op{run: func() {
			for i := range batches {
				next++
				batches[i].Ops[0].Key.N, batches[i].Ops[1].Key.B = next, ids[next%uint64(len(ids))]
				if err := s.Append(&batches[i]); err != nil {
					tb.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				tb.Fatal(err)
			}
		}}
	}
}

// reader is u0, who wrote to 100 users, and 1,000 messages to the first of them.
type reader struct {
	*server
	caller core.Caller
	conv   string
}

func newReader(tb testing.TB) *reader {
	const peers, messages = 100, 1000
	s := newServer(tb, dirOf(tb))
	refs := s.register(tb, peers+1)
	r := &reader{server: s, caller: core.Caller{UserID: name(0), Platform: im.PlatformIOS}, conv: im.SingleID(name(0), name(1))}
	for i := range messages + peers {
		to := max(1, i-messages+1)
		if err := s.core.Send(r.caller, refs[0], request(tb, name(0), name(to), "", fmt.Sprint("m", i))); err != nil {
			tb.Fatal(err)
		}
	}
	s.sink.waitAnswers(messages + peers)
	return r
}

func readMessage(tb testing.TB) op {
	r := newReader(tb)
	return op{run: func() {
		view := r.store.Committed()
		if b, err := view.Get(core.Key{Table: core.TableMessage, A: r.conv, N: 500}); len(b) == 0 || err != nil {
			tb.Fatal(b, err)
		}
		view.Release()
	}}
}

func readPull(tb testing.TB) op {
	r := newReader(tb)
	req := &sdkws.PullMessageBySeqsReq{UserID: r.caller.UserID, SeqRanges: []*sdkws.SeqRange{
		{ConversationID: r.conv, Begin: 901, End: 1000, Num: 100}}}
	return op{run: func() {
		resp, err := r.core.PullMessageBySeqs(r.caller, req)
		if err != nil || len(resp.Msgs[r.conv].Msgs) != 100 {
			tb.Fatal(resp, err)
		}
	}}
}

func readMaxSeqs(tb testing.TB) op {
	r := newReader(tb)
	req := &sdkws.GetMaxSeqReq{UserID: r.caller.UserID}
	return op{run: func() {
		if resp, err := r.core.GetMaxSeq(r.caller, req); err != nil || len(resp.MaxSeqs) != 100 {
			tb.Fatal(resp, err)
		}
	}}
}

// readSync asks for the conversations changed since the version before the last
// `behind` changes.
func readSync(behind int) func(testing.TB) op {
	return func(tb testing.TB) op {
		r := newReader(tb)
		req := &conversation.GetIncrementalConversationReq{UserID: r.caller.UserID}
		now, err := r.core.GetIncrementalConversation(r.caller, req)
		if err != nil {
			tb.Fatal(err)
		}
		req.Version, req.VersionID = now.Version-uint64(behind), now.VersionID
		return op{run: func() {
			resp, err := r.core.GetIncrementalConversation(r.caller, req)
			if err != nil || resp.Full || len(resp.Insert)+len(resp.Update) != behind {
				tb.Fatal(resp, err)
			}
		}}
	}
}
