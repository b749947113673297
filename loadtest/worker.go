//go:build linux

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"gannet/internal/wire"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// openMax is how many messages of one pair an open loop lets be unanswered. The
	// ones behind it go out later and still count from their intended time.
	openMax = 1024
	// refusedPause keeps a closed loop from turning refusals into a flood.
	refusedPause = int64(10 * time.Millisecond)
	// wakeMax is how late a worker notices that it was stopped.
	wakeMax = int64(100 * time.Millisecond)
)

// plan is when a run starts sending, starts measuring, and ends, in nanos.
type plan struct{ start, measure, end int64 }

// tally is what one worker saw between two cuts, about a second. Latencies are those
// of messages due in the measured time.
type tally struct {
	index        int
	began, ended int64
	draining     bool

	sent, acked, delivered, echoed int64
	inFlight                       int64
	refused                        map[int]int64 // by error code
	ack, deliver, late             *hdrhistogram.Histogram
}

func newTally(index int, began int64) *tally {
	return &tally{
		index: index, began: began, refused: map[int]int64{},
		ack: newHistogram(), deliver: newHistogram(), late: newHistogram(),
	}
}

func (t *tally) merge(o *tally) {
	t.sent += o.sent
	t.acked += o.acked
	t.delivered += o.delivered
	t.echoed += o.echoed
	t.inFlight += o.inFlight
	for code, n := range o.refused {
		t.refused[code] += n
	}
	t.ack.Merge(o.ack)
	t.deliver.Merge(o.deliver)
	t.late.Merge(o.late)
}

// pair is one user who writes to another. Connection 2i of its worker is pair i's
// sender, 2i+1 the receiver.
type pair struct {
	index    int64 // in its worker
	composer *composer
	conv     conversation
	count    int64 // messages of the open loop's schedule that were sent
	retryAt  int64 // nanos; 0, or it stands in worker.paused
	dead     bool  // a connection was lost
}

// worker sends and checks the messages of some pairs on one loop.
type worker struct {
	loop        *loop
	targets     []string // request targets of the connections, in their order
	pairs       []*pair
	outstanding int
	interval    float64       // nanoseconds between two messages of the open loop; 0 is a closed loop
	phase       float64       // 0 … 1, where in the interval this worker sends
	drain       time.Duration // how long missing answers are waited for after the end
	wall        int64         // Unix nanoseconds at nanos() = 0
	stop        *atomic.Bool
	cuts        chan<- *tally

	plan     plan
	cursor   int64 // messages of the schedule that are due or past
	alive    int   // pairs with both connections
	draining bool
	paused   []*pair
	tally    *tally
	faults   faults
	fatal    error // a connection failed before the run
}

// connect opens every connection, dialers at a time.
func (w *worker) connect(ctx context.Context, dialers int) error {
	for w.loop.open < len(w.targets) {
		for len(w.loop.conns) < len(w.targets) && w.loop.dialing < dialers {
			if err := w.loop.dial(w.targets[len(w.loop.conns)]); err != nil {
				return err
			}
		}
		if err := w.loop.poll(nanos() + wakeMax); err != nil {
			return err
		}
		if w.fatal != nil {
			return w.fatal
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	w.alive = len(w.pairs)
	return nil
}

// run sends by the plan, waits for what is missing, and counts what stays so.
func (w *worker) run(p plan) error {
	w.plan, w.tally = p, newTally(0, p.start)
	for _, p := range w.pairs {
		w.fill(p)
	}
	for w.alive > 0 {
		w.loop.now = nanos()
		if w.stop.Load() {
			w.plan.end = min(w.plan.end, w.loop.now)
		}
		w.cut()
		if w.loop.now >= w.plan.end {
			break
		}
		w.schedule()
		if err := w.loop.poll(w.wake()); err != nil {
			return err
		}
	}
	w.plan.end = min(w.plan.end, w.loop.now)
	w.cut()
	w.draining = true
	for deadline := w.loop.now + int64(w.drain); !w.settled() && w.loop.now < deadline; {
		if err := w.loop.poll(min(deadline, nanos()+wakeMax)); err != nil {
			return err
		}
	}
	for _, p := range w.pairs {
		p.conv.finish()
	}
	w.hand(w.loop.now)
	return nil
}

// cut hands the tally over when its time is up: each second, and exactly once at
// the start and at the end of measuring.
func (w *worker) cut() {
	for {
		at := w.tally.began + int64(time.Second)
		for _, edge := range []int64{w.plan.measure, w.plan.end} {
			if edge > w.tally.began {
				at = min(at, edge)
			}
		}
		if at > w.loop.now || w.tally.began >= w.plan.end {
			return
		}
		w.hand(at)
	}
}

func (w *worker) hand(ended int64) {
	w.tally.ended, w.tally.draining = ended, w.draining
	for _, p := range w.pairs {
		w.tally.inFlight += int64(p.conv.open)
	}
	index := w.tally.index
	w.cuts <- w.tally
	w.tally = newTally(index+1, ended)
}

// wake is when the next round must end even if nothing arrives.
func (w *worker) wake() int64 {
	at := min(w.loop.now+wakeMax, w.plan.end, w.tally.began+int64(time.Second))
	if w.interval > 0 {
		at = min(at, w.due(w.cursor))
	}
	if len(w.paused) > 0 {
		at = min(at, w.paused[0].retryAt)
	}
	return at
}

// due is the intended time of the worker's nth message in an open loop.
func (w *worker) due(n int64) int64 {
	return w.plan.start + int64((float64(n)+w.phase)*w.interval)
}

// schedule sends what has become due, and lets paused pairs go on.
func (w *worker) schedule() {
	if w.interval > 0 {
		for ; w.due(w.cursor) <= w.loop.now; w.cursor++ {
			w.fill(w.pairs[w.cursor%int64(len(w.pairs))])
		}
	}
	for len(w.paused) > 0 && w.paused[0].retryAt <= w.loop.now {
		p := w.paused[0]
		w.paused = w.paused[1:]
		p.retryAt = 0
		w.fill(p)
	}
}

// fill sends what p may send now. In an open loop pair i has the messages i, i+pairs,
// i+2·pairs … of the schedule.
func (w *worker) fill(p *pair) {
	for !w.draining && !p.dead && p.retryAt == 0 && p.conv.room() {
		due := w.loop.now
		if w.interval > 0 {
			due = w.due(p.index + p.count*int64(len(w.pairs)))
			if due > w.loop.now || due >= w.plan.end || p.conv.open >= openMax {
				return
			}
			p.count++
		} else if p.conv.open >= w.outstanding {
			return
		}
		w.send(p, due)
	}
}

func (w *worker) send(p *pair, due int64) {
	payload, err := p.composer.compose(p.conv.sent(due), w.wall+w.loop.now)
	if err != nil {
		panic(err) // our own bytes
	}
	w.loop.send(w.loop.conns[2*p.index], opBinary, payload)
	w.tally.sent++
	if w.measured(due) {
		record(w.tally.late, w.loop.now-due)
	}
}

func (w *worker) measured(due int64) bool { return due >= w.plan.measure && due < w.plan.end }

func (w *worker) settled() bool {
	for _, p := range w.pairs {
		if !p.dead && p.conv.low < p.conv.next {
			return false
		}
	}
	return true
}

func (w *worker) opened(*conn) {}

func (w *worker) closed(c *conn, err error) {
	if w.plan.end == 0 {
		w.fatal = fmt.Errorf("connection %d: %w", c.id, err)
		return
	}
	p := w.pairs[c.id/2]
	w.faults.add(faultDisconnected, "%s: %v", p.conv.id, err)
	if !p.dead {
		p.dead = true
		w.alive--
	}
}

func (w *worker) message(c *conn, payload []byte) {
	p, echo := w.pairs[c.id/2], c.id%2 == 0
	r, err := wire.DecodeResponse(payload, p.composer.variant, frameMax)
	if err != nil {
		w.faults.add(faultBadFrame, "%s: %v", p.conv.id, err)
		return
	}
	switch r.ReqIdentifier {
	case wire.ReqSendMsg:
		w.answer(p, &r)
	case wire.PushMsg:
		w.push(p, echo, r.Data)
	case wire.PushKick:
		w.faults.add(faultDisconnected, "%s: kicked; does another generator use the same --users-prefix?", p.conv.id)
	default:
		w.faults.add(faultBadFrame, "%s: identifier %d", p.conv.id, r.ReqIdentifier)
	}
	w.fill(p)
}

func (w *worker) answer(p *pair, r *wire.Response) {
	n := p.composer.number(r.MsgIncr)
	if r.ErrCode != 0 {
		w.tally.refused[r.ErrCode]++
		p.conv.refuse(n)
		if w.interval == 0 && p.retryAt == 0 {
			p.retryAt = w.loop.now + refusedPause
			w.paused = append(w.paused, p)
		}
		return
	}
	a, err := parseAck(r.Data)
	if err != nil {
		w.faults.add(faultBadFrame, "%s: ack: %v", p.conv.id, err)
		return
	}
	if due, ok := p.conv.ack(n, &a); ok {
		w.tally.acked++
		if w.measured(due) {
			record(w.tally.ack, w.loop.now-due)
		}
	}
}

func (w *worker) push(p *pair, echo bool, data []byte) {
	err := parsePush(data, func(conversation []byte, notification bool, b []byte) {
		var m wire.Msg
		switch err := wire.ScanMsg(b, &m); {
		case err != nil:
			w.faults.add(faultBadFrame, "%s: %v", p.conv.id, err)
			return
		case notification:
			return // none of this run's messages
		case string(conversation) != p.conv.id:
			w.faults.add(faultMisfiled, "%s: pushed under %q", p.conv.id, conversation)
			return
		}
		due, ok := p.conv.push(echo, &m)
		switch {
		case !ok:
		case echo:
			w.tally.echoed++
		default:
			w.tally.delivered++
			if w.measured(due) {
				record(w.tally.deliver, w.loop.now-due)
			}
		}
	})
	if err != nil {
		w.faults.add(faultBadFrame, "%s: push: %v", p.conv.id, err)
	}
}
