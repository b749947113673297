package core

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// deliverer releases the answers of durable messages and pushes them to the
// sessions of their receivers. A conversation is always on the same one, so its
// pushes keep the order of seq. Its queue is bounded by the in-flight gate: what
// stands in it was taken from the gate and is given back when it is done.
type deliverer struct {
	c    *Core
	done sync.WaitGroup

	mu   sync.Mutex
	cond sync.Cond
	// Guarded by mu.
	queue  []*message
	closed bool

	// Owned by run. What is of a round is handed to the sink with it.
	frames    []byte       // the round's frames
	to        []SessionRef // the round's receivers, but for those of groups
	round     []Delivery
	refs      []SessionRef
	byVariant [wire.Variants][]SessionRef
	data      []byte   // of an answer
	bodies    [][]byte // of a push
}

func newDeliverer(c *Core) *deliverer {
	d := &deliverer{c: c}
	d.cond.L = &d.mu
	d.done.Go(d.run)
	return d
}

// delivererOf is the same for a chat and its notification conversation, whose IDs
// differ in the prefix: what a change tells in both arrives in the order made.
func (c *Core) delivererOf(conv string) *deliverer {
	_, parties, _ := strings.Cut(conv, "_")
	return c.deliver[int(hashOf(parties)>>32)%len(c.deliver)]
}

// push queues a message that is durable, or that is not to be stored. It never
// waits.
func (d *deliverer) push(m *message) {
	d.mu.Lock()
	d.queue = append(d.queue, m)
	wake := len(d.queue) == 1
	d.mu.Unlock()
	if wake {
		d.cond.Signal()
	}
}

// close ends run after what is queued was delivered.
func (d *deliverer) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cond.Signal()
	d.done.Wait()
}

func (d *deliverer) run() {
	var work []*message
	for {
		d.mu.Lock()
		for len(d.queue) == 0 && !d.closed {
			d.cond.Wait()
		}
		work, d.queue = d.queue, work[:0]
		d.mu.Unlock()
		if len(work) == 0 {
			return
		}
		d.deliverAll(work)
		clear(work)
	}
}

// deliverAll hands one round to the sink: everything that was waiting.
func (d *deliverer) deliverAll(work []*message) {
	var size int64
	// As much as the last round took: slow sessions hold on to whole rounds.
	d.frames = make([]byte, 0, min(len(d.frames), 1<<20))
	d.to = make([]SessionRef, 0, min(len(d.to), 1<<14))
	d.round = make([]Delivery, 0, 2*len(work))
	for _, m := range work {
		d.c.delivered(m)
		size += m.size
	}
	for rest := work; len(rest) > 0; {
		group := d.group(rest[0])
		n := together(rest, group)
		d.deliverRun(rest[:n], group)
		rest = rest[n:]
	}
	if len(d.round) > 0 {
		d.c.sink.Deliver(d.round)
	}
	d.c.stats.delivered.Add(uint64(len(work)))
	d.c.inFlight.give(size)
}

// Bounds of what one push carries. A run's push is as long as its messages' own
// would be together, so they only keep one frame from becoming unwieldy.
const (
	runMessages = 64
	runBytes    = 32 << 10
)

// together says how many messages at the front of work go to the same receivers
// in one push: neighbours of one conversation, as bursts and busy groups have them.
func together(work []*message, group *groupState) int {
	first := work[0]
	if !first.joins(first, group) {
		return 1
	}
	n, size := 1, len(first.data)
	for ; n < min(len(work), runMessages); n++ {
		m := work[n]
		if size += len(m.data); size > runBytes || !m.joins(first, group) {
			break
		}
	}
	return n
}

// joins reports whether m may be pushed together with first, whose group is given.
func (m *message) joins(first *message, group *groupState) bool {
	if !m.stored || m.conv != first.conv || m.toGroup != first.toGroup || len(m.dups) > 0 {
		return false
	}
	if group == nil {
		return slices.Equal(m.to, first.to)
	}
	return !slices.ContainsFunc(m.to, func(user string) bool { return !group.has(user) })
}

// deliverRun answers the senders of run, and pushes its messages, in one frame for
// each encoding, to the receivers of the first, who are those of all.
func (d *deliverer) deliverRun(run []*message, group *groupState) {
	first := run[0]
	d.refs, d.bodies = d.refs[:0], d.bodies[:0]
	for _, m := range run {
		if m.reply != nil {
			d.answer(m.reply, m)
		}
		d.bodies = append(d.bodies, m.data)
	}
	for _, user := range first.to {
		if group == nil || !group.has(user) {
			d.refs = d.c.presence.appendSessions(d.refs, user)
		}
	}
	for _, r := range d.refs {
		if r.Background && r.PlatformID() == im.PlatformIOS {
			continue
		}
		d.byVariant[r.Variant] = append(d.byVariant[r.Variant], r)
	}
	for _, r := range first.dups {
		d.answer(r, first)
		d.byVariant[r.ref.Variant] = append(d.byVariant[r.ref.Variant], r.ref)
	}
	for v, refs := range d.byVariant {
		if len(refs) > 0 {
			d.pushTo(first, wire.Variant(v), d.keep(refs...))
			d.byVariant[v] = refs[:0]
		}
	}
	if group != nil {
		for v, to := range group.sessions().byVariant {
			if len(to) > 0 {
				d.pushTo(first, wire.Variant(v), to)
			}
		}
	}
}

// keep copies refs into the round.
func (d *deliverer) keep(refs ...SessionRef) []SessionRef {
	from := len(d.to)
	d.to = append(d.to, refs...)
	return d.to[from:len(d.to):len(d.to)]
}

// group returns the group that m goes to, if any. A failing read leaves the
// members to find the message by its seq.
func (d *deliverer) group(m *message) *groupState {
	if m.toGroup == "" {
		return nil
	}
	g, err := d.c.deliveryGroup(m.toGroup)
	if err != nil {
		d.c.log.Error("deliver: group not read", "group", m.toGroup, "error", err)
	}
	return g
}

// pushTo adds the push of the run that starts with m; to must not change any more.
func (d *deliverer) pushTo(m *message, v wire.Variant, to []SessionRef) {
	start := len(d.frames)
	d.frames = wire.AppendPush(d.frames, v, m.operationID(), m.conv, d.bodies...)
	d.round = append(d.round, Delivery{Frame: d.frames[start:len(d.frames):len(d.frames)], To: to})
	d.c.stats.pushes.Add(uint64(len(to)))
}

// operationID is the trace of the request that made the message.
func (m *message) operationID() string {
	if m.reply != nil {
		return string(m.reply.operationID)
	}
	return m.trace
}

// answer appends the answer to 1003 to the round.
func (d *deliverer) answer(to *reply, m *message) {
	start := len(d.frames)
	d.data = appendSendResp(d.data[:0], m)
	d.frames = to.append(d.frames, d.data)
	d.round = append(d.round, Delivery{Frame: d.frames[start:len(d.frames):len(d.frames)], To: d.keep(to.ref)})
}

// append appends the frame that answers 1003 with data, a UserSendMsgResp.
func (r *reply) append(dst, data []byte) []byte {
	return wire.AppendResponse(dst, r.ref.Variant, &wire.Response{
		ReqIdentifier: wire.ReqSendMsg, MsgIncr: r.msgIncr, OperationID: r.operationID, Data: data,
	})
}

// appendSendResp appends the UserSendMsgResp of m.
func appendSendResp(dst []byte, m *message) []byte {
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	dst = protowire.AppendString(dst, m.serverID)
	dst = protowire.AppendTag(dst, 2, protowire.BytesType)
	dst = protowire.AppendBytes(dst, m.head.ClientMsgID)
	dst = protowire.AppendTag(dst, 3, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(m.sendTime))
}
