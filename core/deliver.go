package core

import (
	"strings"
	"sync"

	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"

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

	// Owned by run.
	frames    []byte // this round's frames; handed to the sink with the round
	round     []Delivery
	refs      []SessionRef
	byVariant [wire.Variants][]SessionRef
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
	d.round = make([]Delivery, 0, 2*len(work))
	for _, m := range work {
		d.deliverOne(m)
		size += m.size
	}
	if len(d.round) > 0 {
		d.c.sink.Deliver(d.round)
	}
	d.c.stats.delivered.Add(uint64(len(work)))
	d.c.inFlight.give(size)
}

func (d *deliverer) deliverOne(m *message) {
	again := d.c.delivered(m)
	if m.reply != nil {
		d.answer(m.reply, m.serverID, m)
	}
	group := d.group(m)
	d.refs = d.refs[:0]
	for _, user := range m.to {
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
	for _, r := range again {
		d.answer(r, m.serverID, m)
		d.byVariant[r.ref.Variant] = append(d.byVariant[r.ref.Variant], r.ref)
	}
	for v, refs := range d.byVariant {
		if len(refs) > 0 {
			to := make([]SessionRef, len(refs))
			copy(to, refs)
			d.pushTo(m, wire.Variant(v), to)
			d.byVariant[v] = refs[:0]
		}
	}
	if group != nil {
		for v, to := range group.sessions().byVariant {
			if len(to) > 0 {
				d.pushTo(m, wire.Variant(v), to)
			}
		}
	}
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

// pushTo adds the push of m to the round; to must not change any more.
func (d *deliverer) pushTo(m *message, v wire.Variant, to []SessionRef) {
	start := len(d.frames)
	d.frames = wire.AppendPush(d.frames, v, m.operationID(), m.conv, m.data)
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
func (d *deliverer) answer(to *reply, serverID string, m *message) {
	start := len(d.frames)
	d.frames = appendSendAnswer(d.frames, to, serverID, string(m.head.ClientMsgID), m.sendTime)
	d.round = append(d.round, Delivery{Frame: d.frames[start:len(d.frames):len(d.frames)], To: []SessionRef{to.ref}})
}

func appendSendAnswer(dst []byte, to *reply, serverID, clientMsgID string, sendTime int64) []byte {
	// Marshalling three plain fields cannot fail.
	data, _ := proto.Marshal(&sdkws.UserSendMsgResp{ServerMsgID: serverID, ClientMsgID: clientMsgID, SendTime: sendTime})
	return wire.AppendResponse(dst, to.ref.Variant, &wire.Response{
		ReqIdentifier: wire.ReqSendMsg, MsgIncr: to.msgIncr, OperationID: to.operationID, Data: data,
	})
}
