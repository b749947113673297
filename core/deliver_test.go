package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// pushSink keeps what each push carried: the seqs, and the sessions that got it.
type pushSink struct {
	t      *testing.T
	pushes []string
}

func (s *pushSink) Close([]SessionRef, LastFrame) {}

func (s *pushSink) Deliver(round []Delivery) {
	for _, d := range round {
		r, err := DecodeFrame(d.Frame, d.To[0].Variant)
		if err != nil {
			s.t.Fatal(err)
		}
		if r.ReqIdentifier != wire.PushMsg {
			continue // the answer to a resend
		}
		var p sdkws.PushMessages
		if err := proto.Unmarshal(r.Data, &p); err != nil || len(p.Msgs) != 1 {
			s.t.Fatalf("a push of %d conversations: %v", len(p.Msgs), err)
		}
		for _, list := range p.Msgs {
			var seqs, to []string
			for _, m := range list.Msgs {
				seqs = append(seqs, fmt.Sprint(m.Seq))
			}
			for _, ref := range d.To {
				to = append(to, fmt.Sprint(ref.ID))
			}
			slices.Sort(to)
			s.pushes = append(s.pushes, strings.Join(seqs, ",")+" to "+strings.Join(to, ","))
		}
	}
}

// Neighbours of one conversation share a push. What changes the receivers or the
// order ends it, and so do the frame's bounds.
func TestTogether(t *testing.T) {
	for _, variant := range []wire.Variant{0, wire.VariantGzip, wire.VariantJSON | wire.VariantGzip} {
		c, _, _ := startRig(t, Options{})
		sink := &pushSink{t: t}
		register(t, c, "a", "b", "c")
		makeGroup(t, c, "g", "a", "b")
		c.Close() // ends the deliverers; this test is one
		for i, user := range []string{"a", "b", "c"} {
			c.Connect(user, SessionRef{ID: uint64(i + 1), Platform: uint8(im.PlatformIOS), Variant: variant})
		}
		c.sink = sink
		var work []*message
		add := func(m *message, content int) {
			m.stored, m.st, m.seq = true, &convState{}, int64(len(work)+1)
			d := &sdkws.MsgData{ClientMsgID: fmt.Sprint(m.seq), Seq: m.seq, Content: make([]byte, content)}
			m.data, _ = proto.Marshal(d)
			work = append(work, m)
		}
		pair := func(to ...string) *message { return &message{conv: im.SingleID("a", "b"), to: to} }
		group := func(from string) *message {
			return &message{conv: im.GroupID("g"), toGroup: "g", to: []string{from}}
		}
		add(pair("b", "a"), 1) // 1, 2
		add(pair("b", "a"), 1)
		add(pair("a", "b"), 1)                                           // 3: another order, as if others
		add(&message{conv: im.SingleID("a", "c"), to: []string{"c"}}, 1) // 4
		add(pair("a", "b"), 1)                                           // 5
		add(group("a"), 1)                                               // 6, 7
		add(group("b"), 1)
		add(group("c"), 1) // 8: c is no member any more, and gets it nevertheless
		again := pair("b", "a")
		again.dups = []*reply{{ref: SessionRef{ID: 9, Variant: variant}}}
		add(pair("b", "a"), 1) // 9
		add(again, 1)          // 10: was sent again
		typing := pair("b", "a")
		add(typing, 1) // 11
		typing.stored = false
		for range 3 {
			add(pair("b", "a"), runBytes/2-100) // 12, 13; 14
		}
		for range runMessages + 1 {
			add(pair("b"), 1) // 15 to 78; 79
		}
		d := &deliverer{c: c}
		d.deliverAll(work)

		want := []string{"1,2 to 1,2", "3 to 1,2", "4 to 3", "5 to 1,2", "6,7 to 1,2", "8 to 3", "8 to 1,2", "9 to 1,2",
			"10 to 1,2,9", "11 to 1,2", "12,13 to 1,2", "14 to 1,2"}
		var many []string
		for seq := 15; seq < 15+runMessages; seq++ {
			many = append(many, fmt.Sprint(seq))
		}
		want = append(want, strings.Join(many, ",")+" to 2", fmt.Sprint(15+runMessages)+" to 2")
		if got := sink.pushes; !slices.Equal(got, want) {
			t.Errorf("variant %d: pushes\n%s\nwant\n%s", variant, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
