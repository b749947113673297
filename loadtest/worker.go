//go:build linux

package main

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"gannet/internal/wire"
)

const (
	// openMax is how many messages of one conversation an open loop lets be
	// unanswered. Those behind it go out later and still count from their intended time.
	openMax = 1024
	// refusedPause keeps a closed loop from turning refusals into a flood.
	refusedPause = int64(10 * time.Millisecond)
	// wakeMax is how late a worker notices that it was stopped.
	wakeMax = int64(100 * time.Millisecond)
	// never is a time of nanos that does not come.
	never = int64(1) << 62
)

// talk is a conversation as it is planned. Its members are the users First …
// First+Size-1 of its worker; the first Senders of them write, in turn.
type talk struct {
	ID, Group            string // Group is "" for a pair
	First, Size, Senders int
	Spare                []string // users who are invited and kicked
}

// order is what a worker is told: first its part of the work, then the plan. A third
// order, or the end of them, stops it early.
type order struct {
	Index, Workers int
	API            string // base URL and token for what a scenario asks over HTTP
	Token          string
	Users          []account
	Talks          []talk
	Total          int     // talks of all workers
	Server         int     // that all users connect to; allServers: user n to server n modulo their number
	Phase          float64 // 0 … 1, where in the open loop's interval this worker sends
	Plan           *plan

	offline []account  // registered, not connected; for the one who gives the order
	groups  []newGroup // to be made
}

// newGroup is a group to be made; the first user is its owner.
type newGroup struct {
	id    string
	users []account
}

// allServers is an order's Server if there is only one, or one cluster.
const allServers = -1

// news is what a worker tells: tallies, that it is ready for the plan, and its end.
type news struct {
	Tally  *tally
	Ready  bool
	Done   bool
	Faults faults
	Err    string // why it failed
}

// thread is a conversation and who writes in it next.
type thread struct {
	conversation
	first     int         // slot of member 0
	composers []*composer // by member; nil for those who do not write
	writers   int         // members who write in turn
	index     int64       // in its worker
	count     int64       // messages of the open loop's schedule that were sent
	retryAt   int64       // nanos; 0, or it stands in worker.paused
	dead      bool        // a connection was lost
}

// script is what a scenario does beside writing by the plan.
type script interface {
	// connects says whether it opens the connections itself, instead of all being
	// open before the plan starts.
	connects() bool
	// tick is called in every round of the plan; the next one is at the time returned
	// or earlier. done ends the run.
	tick(now int64) (next int64, done bool)
	// writes says whether slot may send a message of the plan now.
	writes(slot int) bool
	// opened and closed are events of the loop; closed returns false for a fault.
	opened(c *conn)
	closed(c *conn, err error) bool
	// answer is a response other than to a message of the plan. push is a pushed message,
	// of the plan or not, that its receiver had not got.
	answer(c *conn, r *wire.Response)
	push(c *conn, conversation string, m *wire.Msg)
	// settled reports whether nothing is missing; finish counts what still is.
	settled() bool
	finish()
}

// worker drives a part of the users on one loop, in one goroutine.
type worker struct {
	opts     *options
	sdk      sdk
	loop     *loop
	paths    []string // by server of the loop
	order    *order
	threads  []*thread
	byID     map[string]*thread
	byMember [][]*thread // by slot: the threads it is a member of
	script   script      // nil: only the plan
	memo     memo
	interval float64       // nanoseconds between two messages of the open loop; 0 is a closed loop
	incr0    int64         // msgIncr of message 0 of thread 0
	stop     atomic.Bool   // set by the goroutine that reads orders
	released chan struct{} // closed by it when orders end
	news     chan<- *news

	plan   plan
	phase  phase
	cursor int64 // messages of the schedule that are due or past
	alive  int   // threads with all connections
	paused []*thread
	tally  *tally
	faults faults
	fatal  error // a connection failed before the run
}

// work is a worker's life: it obeys orders until the run is over and closes out.
func work(o *options, orders <-chan *order, out chan<- *news) {
	defer close(out)
	first, ok := <-orders
	if !ok {
		return
	}
	w, err := newWorker(o, first, out)
	if err == nil {
		defer w.loop.close()
		w.loop.pin()
		err = w.obey(orders)
	}
	if err != nil {
		out <- &news{Err: err.Error()}
		return
	}
	out <- &news{Done: true, Faults: w.faults}
	<-w.released // the servers are measured with all connections open
}

func newWorker(o *options, first *order, out chan<- *news) (*worker, error) {
	w := &worker{
		opts: o, order: first, news: out, incr0: nanos(), byID: map[string]*thread{}, byMember: make([][]*thread, len(first.Users)), released: make(chan struct{}),
	}
	var err error
	if w.sdk, err = newSDK(o.sdk, o.compression, o.compressor); err != nil {
		return nil, err
	}
	if o.rate > 0 && len(first.Talks) > 0 {
		w.interval = 1e9 / o.rate * float64(first.Total) / float64(len(first.Talks))
	}
	rng := rand.New(rand.NewPCG(o.seed, uint64(first.Index)))
	addrs := o.addrs
	w.paths = o.paths
	if first.Server != allServers {
		addrs, w.paths = addrs[first.Server:first.Server+1], w.paths[first.Server:first.Server+1]
	}
	if w.loop, err = newLoop(addrs, w, len(first.Users), rng.Uint64()); err != nil {
		return nil, err
	}
	for i := range first.Talks {
		if err := w.addThread(&first.Talks[i], rng); err != nil {
			return nil, err
		}
	}
	if o.script != nil {
		w.script = o.script(w)
	}
	return w, nil
}

func (w *worker) addThread(k *talk, rng *rand.Rand) error {
	members := make([]string, k.Size)
	t := &thread{first: k.First, index: int64(len(w.threads)), writers: k.Senders, composers: make([]*composer, k.Size)}
	for i := range members {
		members[i] = w.order.Users[k.First+i].UserID
		w.byMember[k.First+i] = append(w.byMember[k.First+i], t)
	}
	t.conversation = conversation{
		id: k.ID, group: k.Group, members: members, text: newText(w.opts.payload, rng), faults: &w.faults, streams: make([]stream, k.Size),
		// The names differ in every run, whatever the seed: a server knows the old ones.
		names: naming{high: rand.Uint64(), low: rand.Uint64()},
	}
	for i := range k.Senders {
		to := k.Group
		if to == "" {
			to = members[1-i]
		}
		c, err := newComposer(w.sdk, &w.order.Users[k.First+i], to, k.Group != "", t.names, t.text, w.incr0+t.index, int64(len(w.order.Talks)))
		if err != nil {
			return err
		}
		t.composers[i] = c
	}
	w.threads = append(w.threads, t)
	w.byID[k.ID] = t
	return nil
}

// obey connects, waits for the plan, and runs it.
func (w *worker) obey(orders <-chan *order) error {
	w.tally = &tally{Phase: phaseConnect, Began: nanos()}
	if w.script == nil || !w.script.connects() {
		if err := w.connect(orders); err != nil {
			return err
		}
	}
	w.hand(nanos())
	w.news <- &news{Ready: true}
	for {
		select {
		case o, ok := <-orders:
			if !ok || o.Plan == nil {
				return errStopped
			}
			go func() { // ends with the orders
				for range orders {
					w.stop.Store(true)
				}
				close(w.released)
			}()
			return w.run(*o.Plan)
		default: // the others still connect
			if err := w.loop.poll(nanos() + wakeMax/10); err != nil {
				return err
			}
		}
	}
}

// connect opens every connection, dialers at a time.
func (w *worker) connect(orders <-chan *order) error {
	dialers := max(1, w.opts.dialers/w.order.Workers)
	for next := 0; next < len(w.loop.conns) || w.loop.dialing > 0 || w.script != nil && !w.script.settled(); {
		for ; next < len(w.loop.conns) && w.loop.dialing < dialers; next++ {
			if err := w.dial(next); err != nil {
				return err
			}
		}
		if err := w.loop.poll(nanos() + wakeMax); err != nil {
			return err
		}
		if w.fatal != nil {
			return w.fatal
		}
		if w.loop.now-w.tally.Began > int64(time.Second) {
			w.hand(w.loop.now)
		}
		select {
		case <-orders:
			return errStopped
		default:
		}
	}
	w.alive = len(w.threads)
	return nil
}

// dial starts slot's connection.
func (w *worker) dial(slot int) error {
	path, u := w.paths[slot%len(w.paths)], &w.order.Users[slot]
	return w.loop.dial(slot, w.sdk.target(path, u))
}

// run sends by the plan, waits for what is missing, and counts what stays so.
func (w *worker) run(p plan) error {
	for nanos() < p.Start { // all workers start at one time
		if err := w.loop.poll(p.Start); err != nil {
			return err
		}
	}
	w.plan, w.phase, w.tally = p, phaseRun, &tally{Phase: phaseRun, Began: p.Start}
	w.loop.now = nanos()
	for _, t := range w.threads {
		w.fill(t)
	}
	for {
		w.loop.now = nanos()
		if w.stop.Load() || len(w.threads) > 0 && w.alive == 0 || w.script == nil && w.loop.open == 0 {
			w.plan.End = min(w.plan.End, w.loop.now)
		}
		next, done := never, false
		if w.script != nil {
			if next, done = w.script.tick(w.loop.now); done {
				w.plan.End = min(w.plan.End, w.loop.now)
			}
		}
		w.schedule()
		w.cut()
		if w.loop.now >= w.plan.End {
			break
		}
		if err := w.loop.poll(min(next, w.wake())); err != nil {
			return err
		}
	}
	w.phase = phaseDrain
	w.tally.Phase = phaseDrain
	for deadline := w.loop.now + int64(w.opts.drain); !w.settled() && w.loop.now < deadline; {
		if err := w.loop.poll(min(deadline, nanos()+wakeMax/10)); err != nil {
			return err
		}
	}
	for _, t := range w.threads {
		t.finish()
		w.tally.Counts[nUnsent] += w.unsent(t)
	}
	if w.script != nil {
		w.script.finish()
	}
	w.hand(w.loop.now)
	return nil
}

// cut hands the tally over when its time is up: each second, and exactly once at
// the start and at the end of measuring.
func (w *worker) cut() {
	for w.tally.Began < w.plan.End {
		at := w.tally.Began + int64(time.Second)
		for _, edge := range []int64{w.plan.Measure, w.plan.End} {
			if edge > w.tally.Began {
				at = min(at, edge)
			}
		}
		if at > w.loop.now {
			return
		}
		w.hand(at)
	}
}

// hand gives the tally away and starts the next.
func (w *worker) hand(ended int64) {
	t := w.tally
	t.Ended, t.Open, t.CPU = ended, int64(w.loop.open), int64(ownCPU())
	for _, thread := range w.threads {
		t.InFlight += int64(thread.open)
	}
	t.Counts[nPings], t.Counts[nPongs] = w.loop.pings, w.loop.pongs
	w.loop.pings, w.loop.pongs = 0, 0
	w.news <- &news{Tally: t}
	w.tally = &tally{Phase: t.Phase, Index: t.Index + 1, Began: ended}
}

// wake is when the next round must end even if nothing arrives.
func (w *worker) wake() int64 {
	at := min(w.loop.now+wakeMax, w.plan.End, w.tally.Began+int64(time.Second))
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
	return w.plan.Start + int64((float64(n)+w.order.Phase)*w.interval)
}

// schedule sends what has become due, and lets paused threads go on.
func (w *worker) schedule() {
	if w.interval > 0 {
		for ; w.due(w.cursor) <= w.loop.now; w.cursor++ {
			w.fill(w.threads[w.cursor%int64(len(w.threads))])
		}
	}
	for len(w.paused) > 0 && w.paused[0].retryAt <= w.loop.now {
		t := w.paused[0]
		w.paused = w.paused[1:]
		t.retryAt = 0
		w.fill(t)
	}
}

// fill sends what t may send now. In an open loop thread i has the messages i,
// i+threads, i+2·threads … of the schedule.
func (w *worker) fill(t *thread) {
	for w.phase == phaseRun && !t.dead && t.retryAt == 0 && t.room() {
		due, member := w.loop.now, w.writer(t)
		if w.interval > 0 {
			due = w.due(t.index + t.count*int64(len(w.threads)))
			if due > w.loop.now || due >= w.plan.End || t.open >= openMax {
				return
			}
			t.count++
			if member < 0 {
				continue // nobody is there to write
			}
		} else if t.open >= w.opts.outstanding {
			return
		}
		w.send(t, member, due)
	}
}

// writer is the member whose turn it is to write, of those who may; -1 if none may.
func (w *worker) writer(t *thread) int {
	for i := range t.writers {
		member := int((t.next + int64(i)) % int64(t.writers))
		if w.script == nil || w.script.writes(t.first+member) {
			return member
		}
	}
	return -1
}

// unsent is how much of t's schedule was not sent in time.
func (w *worker) unsent(t *thread) (n int64) {
	for i := t.count; w.interval > 0 && w.due(t.index+i*int64(len(w.threads))) < w.plan.End; i++ {
		n++
	}
	return n
}

// send sends t's next message from its member.
func (w *worker) send(t *thread, member int, due int64) {
	payload, err := t.composers[member].compose(t.sent(member, due), w.loop.now)
	if err != nil {
		panic(err) // our own bytes
	}
	w.loop.send(w.loop.conns[t.first+member], opBinary, payload)
	w.tally.Counts[nSent]++
	w.time(tLate, due, w.loop.now)
}

// time records how long after due something happened at now, if it counts.
func (w *worker) time(t timer, due, now int64) {
	if w.plan.measured(due) {
		w.tally.Times[t].record(now - due)
	}
}

func (w *worker) settled() bool {
	for _, t := range w.threads {
		if !t.dead && t.low < t.next {
			return false
		}
	}
	return w.script == nil || w.script.settled()
}
