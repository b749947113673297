//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gannet/internal/im"
)

// p2pOptions are the flags of p2p.
type p2pOptions struct {
	pairs, outstanding, payload, workers int
	rate                                 float64
	warmup, drain                        time.Duration
}

func (o *p2pOptions) define(fs *flag.FlagSet) {
	fs.IntVar(&o.pairs, "pairs", 200, "pairs of users; one of each writes to the other")
	fs.IntVar(&o.outstanding, "outstanding", 8, "closed loop: messages of a pair that may lack their ack or delivery")
	fs.Float64Var(&o.rate, "rate", 0, "open loop: messages per second in all, latency from the intended time; 0 is a closed loop")
	fs.IntVar(&o.payload, "payload", 200, "bytes of text in a message")
	fs.DurationVar(&o.warmup, "warmup", 2*time.Second, "time before measuring; its messages are checked, not counted")
	fs.DurationVar(&o.drain, "drain", 5*time.Second, "how long to wait at the end for what is missing")
	fs.IntVar(&o.workers, "workers", 1, "threads of the generator")
}

func (o *p2pOptions) check() error {
	switch {
	case o.pairs < 1 || o.outstanding < 1 || o.workers < 1:
		return errors.New("--pairs, --outstanding and --workers must be at least 1")
	case o.outstanding > windowMax:
		return fmt.Errorf("--outstanding must be at most %d", windowMax)
	case o.payload < counterDigits || o.payload > frameMax/2:
		return fmt.Errorf("--payload must be %d … %d", counterDigits, frameMax/2)
	case o.rate < 0 || o.warmup < 0 || o.drain < 0:
		return errors.New("--rate, --warmup and --drain must not be negative")
	}
	return nil
}

// second is one point of a run's course.
type second struct {
	Seconds     float64 `json:"seconds"` // since measuring began; negative in the warm-up
	Sent        float64 `json:"sentPerSecond"`
	Acked       float64 `json:"ackedPerSecond"`
	Delivered   float64 `json:"deliveredPerSecond"`
	InFlight    int64   `json:"inFlight"`
	AckP50      float64 `json:"ackP50Us"`
	AckP99      float64 `json:"ackP99Us"`
	DeliverP99  float64 `json:"deliverP99Us"`
	ServerCores float64 `json:"serverCores"`
	ServerRSS   int64   `json:"serverRssBytes"`
	Cores       float64 `json:"generatorCores"`
}

// p2pResult is what p2p measured. Counts are of the measured time unless they say
// otherwise.
type p2pResult struct {
	Seconds             float64  `json:"seconds"`
	Connections         int      `json:"connections"`
	ConnectSeconds      float64  `json:"connectSeconds"`
	Sent                int64    `json:"sent"`
	Acked               int64    `json:"acked"`
	Delivered           int64    `json:"delivered"`
	Echoed              int64    `json:"echoed"`
	CheckedMessages     int64    `json:"checkedMessages"` // with warm-up
	Unsent              int64    `json:"unsent"`          // of the open loop's schedule, when the time was up
	MessagesPerSecond   float64  `json:"messagesPerSecond"`
	DeliveriesPerSecond float64  `json:"deliveriesPerSecond"`
	Ack                 *latency `json:"ack"`
	Deliver             *latency `json:"deliver"`
	Late                *latency `json:"late"` // from intended to sent
	ServerCores         float64  `json:"serverCores"`
	ServerCPUPerMessage float64  `json:"serverCpuUsPerMessage"`
	ServerRSSBefore     int64    `json:"serverRssBeforeBytes"` // connected, before the first message
	ServerRSSAfter      int64    `json:"serverRssAfterBytes"`
	Cores               float64  `json:"generatorCores"`
	CPUPerMessage       float64  `json:"generatorCpuUsPerMessage"`
	Course              []second `json:"course"`
}

func (p *p2pResult) print(row rower) {
	row("connections", "%d in %.2f s", p.Connections, p.ConnectSeconds)
	row("measured", "%.1f s, %d sent, %d acknowledged, %d delivered; %d checked with warm-up", p.Seconds, p.Sent, p.Acked, p.Delivered, p.CheckedMessages)
	row("throughput", "%.0f msg/s acknowledged, %.0f msg/s delivered", p.MessagesPerSecond, p.DeliveriesPerSecond)
	p.Ack.print(row, "send → ack")
	p.Deliver.print(row, "send → deliver")
	if p.Late.Max > 1000 {
		p.Late.print(row, "sent late by")
	}
	row("server", "%.1f µs CPU per message, %.2f cores, RSS %s → %s", p.ServerCPUPerMessage, p.ServerCores, mib(p.ServerRSSBefore), mib(p.ServerRSSAfter))
	row("generator", "%.1f µs CPU per message, %.2f cores", p.CPUPerMessage, p.Cores)
}

// runP2P connects the pairs, lets them write, and fills in r.report.
func runP2P(ctx context.Context, r *runner, o *p2pOptions) error {
	if err := fitDescriptors(2 * o.pairs); err != nil {
		return err
	}
	users, err := r.api.accounts(ctx, r.opts.prefix, 2*o.pairs, r.sdk.platform)
	if err != nil {
		return err
	}
	var stop atomic.Bool
	workers := min(o.workers, o.pairs)
	cuts := make(chan *tally, 4*workers)
	crew, err := newCrew(r, o, users, workers, &stop, cuts)
	if err != nil {
		return err
	}
	w := watch{r: r, out: &p2pResult{Connections: 2 * o.pairs}, workers: workers}
	began := nanos()
	plans := make(chan plan)
	connected, failed := make(chan error, workers), make(chan error, workers)
	var wg sync.WaitGroup
	for _, one := range crew {
		wg.Go(func() {
			one.loop.pin()
			defer one.loop.close()
			err := one.connect(ctx, max(1, r.opts.dialers/workers))
			connected <- err
			if err != nil {
				return
			}
			if p, ok := <-plans; ok {
				failed <- one.run(p)
			}
		})
	}
	for range crew {
		err = errors.Join(err, <-connected)
	}
	if err != nil {
		close(plans)
		wg.Wait()
		return err
	}
	w.out.ConnectSeconds = float64(nanos()-began) / 1e9
	w.begin(o, r.opts.duration)
	for range crew {
		plans <- w.plan
	}
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	go func() {
		wg.Wait()
		close(cuts)
	}()
	w.follow(cuts)
	for range crew {
		err = errors.Join(err, <-failed)
	}
	w.finish(crew, o)
	return err
}

// newCrew divides the pairs among workers.
func newCrew(r *runner, o *p2pOptions, users []account, workers int, stop *atomic.Bool, cuts chan<- *tally) ([]*worker, error) {
	rng := rand.New(rand.NewPCG(r.opts.seed, 1))
	now := time.Now().UnixNano()
	crew := make([]*worker, workers)
	for i := range crew {
		w := &worker{outstanding: o.outstanding, drain: o.drain, wall: now - nanos(), stop: stop, cuts: cuts}
		crew[i] = w
		share := (o.pairs + workers - 1 - i) / workers // pairs i, i+workers, …
		if o.rate > 0 {
			w.interval = 1e9 / o.rate * float64(o.pairs) / float64(share)
			w.phase = float64(i) / float64(workers)
		}
		var err error
		if w.loop, err = newLoop(r.addr, w, rng.Uint64()); err != nil {
			return nil, err
		}
	}
	for n := range o.pairs {
		w := crew[n%workers]
		from, to := &users[2*n], &users[2*n+1]
		// The names differ in every run, whatever the seed: a server knows the old ones.
		names := naming{high: rand.Uint64(), low: rand.Uint64()}
		composer, err := newComposer(r.sdk, from, to, names, newText(o.payload, rng), now)
		if err != nil {
			return nil, err
		}
		w.pairs = append(w.pairs, &pair{index: int64(len(w.pairs)), composer: composer, conv: conversation{
			id: im.SingleID(from.userID, to.userID), sender: from.userID, receiver: to.userID,
			names: names, text: composer.text, faults: &w.faults,
		}})
		w.targets = append(w.targets, r.sdk.target(r.path, from), r.sdk.target(r.path, to))
	}
	return crew, nil
}

// watch follows a run from outside its workers: it merges their tallies, reads the
// server's figures at each cut, and prints a line.
type watch struct {
	r       *runner
	out     *p2pResult
	workers int
	plan    plan

	parts map[int]int // tallies of a cut that are still missing
	whole map[int]*tally
	sum   *tally

	last, atMeasure       usage // the server's at the last cut, when measuring began
	lastOwn, ownAtMeasure time.Duration
}

func (w *watch) begin(o *p2pOptions, duration time.Duration) {
	start := nanos()
	measure := start + int64(o.warmup)
	w.plan = plan{start: start, measure: measure, end: measure + int64(duration)}
	w.parts, w.whole, w.sum = map[int]int{}, map[int]*tally{}, newTally(0, start)
	w.last, w.lastOwn = w.r.usage(), ownCPU()
	w.out.ServerRSSBefore = w.last.rss
	w.atMeasure, w.ownAtMeasure = w.last, w.lastOwn
}

func (w *watch) follow(cuts <-chan *tally) {
	for t := range cuts {
		if t.draining {
			w.sum.ack.Merge(t.ack)
			w.sum.deliver.Merge(t.deliver)
			for code, n := range t.refused {
				w.sum.refused[code] += n
			}
			continue
		}
		whole, ok := w.whole[t.index]
		if !ok {
			w.whole[t.index], w.parts[t.index] = t, w.workers-1
			whole = t
		} else {
			whole.merge(t)
			w.parts[t.index]--
		}
		if w.parts[t.index] == 0 {
			delete(w.whole, t.index)
			delete(w.parts, t.index)
			w.second(whole)
		}
	}
}

// second takes one complete cut.
func (w *watch) second(t *tally) {
	server, own := w.r.usage(), ownCPU()
	took := time.Duration(t.ended - t.began)
	rate := func(n int64) float64 { return float64(n) / took.Seconds() }
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	s := second{
		Seconds: float64(t.ended-w.plan.measure) / 1e9,
		Sent:    rate(t.sent), Acked: rate(t.acked), Delivered: rate(t.delivered), InFlight: t.inFlight,
		AckP50: us(t.ack.ValueAtQuantile(50)), AckP99: us(t.ack.ValueAtQuantile(99)), DeliverP99: us(t.deliver.ValueAtQuantile(99)),
		ServerCores: (server.cpu - w.last.cpu).Seconds() / took.Seconds(), ServerRSS: server.rss,
		Cores: (own - w.lastOwn).Seconds() / took.Seconds(),
	}
	w.last, w.lastOwn = server, own
	w.out.Course = append(w.out.Course, s)
	w.r.progress("%5.0fs  %7.0f msg/s  ack p50 %s p99 %s  deliver p99 %s  in flight %d  server %.0f %% %s  generator %.0f %%",
		s.Seconds, s.Acked, ms(s.AckP50), ms(s.AckP99), ms(s.DeliverP99), s.InFlight, 100*s.ServerCores, mib(s.ServerRSS), 100*s.Cores)
	if t.ended <= w.plan.measure {
		w.atMeasure, w.ownAtMeasure = server, own
		w.out.CheckedMessages += t.sent
		for code, n := range t.refused {
			w.sum.refused[code] += n
		}
		return
	}
	w.sum.merge(t)
	w.sum.ended = t.ended
}

// finish fills in the result.
func (w *watch) finish(crew []*worker, o *p2pOptions) {
	out, sum, report := w.out, w.sum, w.r.report
	report.P2P = out
	out.Sent, out.Acked, out.Delivered, out.Echoed = sum.sent, sum.acked, sum.delivered, sum.echoed
	out.CheckedMessages += sum.sent
	out.Ack, out.Deliver, out.Late = summarise(sum.ack), summarise(sum.deliver), summarise(sum.late)
	if sum.ended > w.plan.measure {
		out.Seconds = float64(sum.ended-w.plan.measure) / 1e9
		out.MessagesPerSecond, out.DeliveriesPerSecond = float64(sum.acked)/out.Seconds, float64(sum.delivered)/out.Seconds
		server, own := w.last.cpu-w.atMeasure.cpu, w.lastOwn-w.ownAtMeasure
		out.ServerCores, out.Cores = server.Seconds()/out.Seconds, own.Seconds()/out.Seconds
		out.ServerRSSAfter = w.last.rss
		if sum.acked > 0 {
			out.ServerCPUPerMessage = server.Seconds() * 1e6 / float64(sum.acked)
			out.CPUPerMessage = own.Seconds() * 1e6 / float64(sum.acked)
		}
	}
	var all faults
	for _, one := range crew {
		all.merge(&one.faults)
		if one.interval > 0 {
			out.Unsent += one.unsent()
		}
	}
	report.setFaults(&all)
	report.Refusals = map[string]int64{}
	for code, n := range sum.refused {
		report.Refusals[strconv.Itoa(code)] = n
	}
	report.Complete = out.Seconds >= w.r.opts.duration.Seconds()
	w.warn(o)
}

// unsent is how much of the schedule was not sent in time.
func (w *worker) unsent() (n int64) {
	for _, p := range w.pairs {
		for i := p.count; w.due(p.index+i*int64(len(w.pairs))) < w.plan.end; i++ {
			n++
		}
	}
	return n
}

// busyCores is the share of its threads' time from which on the generator is suspect.
const busyCores = 0.85

func (w *watch) warn(o *p2pOptions) {
	out, report := w.out, w.r.report
	switch {
	case out.Acked == 0:
		report.warn("nothing was measured")
	case out.Cores > busyCores*float64(w.workers):
		report.warn("the generator used %.2f cores with %d workers: it may be the bottleneck (--workers, --compression none)", out.Cores, w.workers)
	case out.Cores+out.ServerCores > busyCores*float64(report.Machine.Cores):
		report.warn("server and generator share %d cores and used %.2f: they slow each other", report.Machine.Cores, out.Cores+out.ServerCores)
	}
	if out.Unsent > 0 {
		report.warn("%d messages of the schedule were not sent in time: the server does not keep up with %.0f msg/s, and latencies lack them", out.Unsent, o.rate)
	}
	if !report.Complete {
		report.warn("ended before its time")
	}
}
