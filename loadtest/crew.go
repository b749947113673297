//go:build linux

package main

import (
	"context"
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"gannet/internal/im"
)

// workerEnv, if set, makes the command a worker of the process that started it.
const workerEnv = "LOADTEST_WORKER"

var errStopped = errors.New("stopped before the run began")

// link is a worker and the way to it. A single worker is a goroutine; several are
// processes, since each has a descriptor limit of its own.
type link struct {
	orders chan<- *order
	news   <-chan *news
}

// startWorker starts one of several processes, or the only worker in this one.
func startWorker(o *options, alone bool) (link, error) {
	orders, out := make(chan *order, 2), make(chan *news, 16)
	if alone {
		go work(o, orders, out)
		return link{orders, out}, nil
	}
	self, err := os.Executable()
	if err != nil {
		return link{}, err
	}
	if os.Getenv(workerEnv) != "" {
		return link{}, errors.New("a worker does not start workers")
	}
	cmd := exec.Command(self, o.args...)
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for the parent, which tells it
	in, err1 := cmd.StdinPipe()
	back, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return link{}, err
	}
	go func() {
		enc := gob.NewEncoder(in)
		for o := range orders {
			if enc.Encode(o) != nil {
				break // it is gone; its news end too
			}
		}
		in.Close()
	}()
	go func() {
		defer close(out)
		err := receive(gob.NewDecoder(back), out)
		if err = errors.Join(err, cmd.Wait()); err != nil {
			out <- &news{Err: fmt.Sprintf("worker process: %v", err)}
		}
	}()
	return link{orders, out}, nil
}

// receive passes on what d decodes until its end.
func receive[T any](d *gob.Decoder, to chan<- *T) error {
	for {
		v := new(T)
		if err := d.Decode(v); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		to <- v
	}
}

// workHere makes this process a worker whose orders and news go over in and out.
func workHere(args []string, in io.Reader, out, log io.Writer) int {
	o, _, err := parse(args, log)
	if err != nil {
		return exitUsage
	}
	if _, err := descriptors(); err != nil {
		fmt.Fprintln(log, err)
		return exitUsage
	}
	orders, told := make(chan *order, 2), make(chan *news, 16)
	go func() {
		defer close(orders)
		_ = receive(gob.NewDecoder(in), orders) // a parent that is gone is the end of orders
	}()
	go work(o, orders, told)
	enc := gob.NewEncoder(out)
	for n := range told {
		if enc.Encode(n) != nil {
			return exitFailed
		}
	}
	return exitOK
}

// runner is one run of a scenario.
type runner struct {
	opts   *options
	apis   []*api // one, or one for each of several servers side by side
	server servers
	report *report
	log    io.Writer
}

// progress prints a line for somebody who watches.
func (r *runner) progress(format string, args ...any) { fmt.Fprintf(r.log, format+"\n", args...) }

// run runs the scenario once.
func run(ctx context.Context, o *options, fs *flag.FlagSet, log io.Writer) (*report, error) {
	r := &runner{opts: o, log: log, report: newReport(o, fs)}
	r.server.find(o, r.report)
	for _, base := range o.api.texts {
		a := newAPI(base)
		if err := a.login(ctx, o.secret, o.admin); err != nil {
			return nil, err
		}
		r.apis = append(r.apis, a)
	}
	cells := o.scenario.layout(o)
	orders, err := r.prepare(ctx, cells)
	if err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // what the preparation left is not collected beside the measurement
	w := watch{r: r, parts: map[int]int{}, whole: map[int]*tally{}, own: make([]int64, len(orders))}
	for _, p := range orders {
		w.online += len(p.Users)
	}
	return r.report, w.drive(ctx, orders)
}

// prepare divides the cells among workers, registers users, and makes groups. Of
// servers side by side, worker number n loads server n modulo their number.
func (r *runner) prepare(ctx context.Context, cells []cell) ([]*order, error) {
	o := r.opts
	room, err := descriptors()
	if err != nil {
		return nil, err
	}
	kind, err := newSDK(o.sdk, o.compression, o.compressor)
	if err != nil {
		return nil, err
	}
	users, online, talks := 0, 0, 0
	for _, c := range cells {
		users += c.users
		online += c.online
		talks += len(c.talks)
	}
	accounts := newAccounts(o.prefix, users)
	workers := min(max(o.workers, (online+room-1)/room, len(r.apis)), len(cells))
	mark := rand.Uint32() // of this run's groups
	orders := make([]*order, workers)
	for i := range orders {
		server := i % len(r.apis)
		a := r.apis[server]
		p := &order{Index: i, Workers: workers, Total: talks, API: a.base, Token: a.token, Phase: float64(i) / float64(workers)}
		if len(r.apis) == 1 {
			server = allServers
		}
		p.Server, orders[i] = server, p
		for n := i * len(cells) / workers; n < (i+1)*len(cells)/workers; n++ {
			c := &cells[n]
			p.add(c, accounts[:c.users], fmt.Sprintf("%s-%08x-%d", o.prefix, mark, n))
			accounts = accounts[c.users:]
		}
		if len(p.Users) > room {
			return nil, fmt.Errorf("a worker would have %d connections, and a process may have %d: raise the descriptor limit "+
				"(ulimit -Hn), or use more --workers; one group cannot be divided", len(p.Users), room)
		}
		if err := p.register(ctx, a, kind.platform); err != nil {
			return nil, err
		}
	}
	return orders, nil
}

// add gives p a cell and its users.
func (p *order) add(c *cell, users []account, group string) {
	first := len(p.Users)
	p.Users = append(p.Users, users[:c.online]...)
	p.offline = append(p.offline, users[c.online:]...)
	if c.grouped {
		p.groups = append(p.groups, newGroup{group, users[:c.users-c.spare]})
	}
	for _, k := range c.talks {
		if k.Group != "" {
			k.Group, k.ID = group, im.GroupID(group)
		} else {
			k.ID = im.SingleID(users[k.First].UserID, users[k.First+1].UserID)
		}
		k.First += first
		for _, u := range users[c.users-c.spare:] {
			k.Spare = append(k.Spare, u.UserID)
		}
		p.Talks = append(p.Talks, k)
	}
}

// register makes p's users and groups known to its server, and gets tokens.
func (p *order) register(ctx context.Context, a *api, platform im.Platform) error {
	if err := a.registerAll(ctx, append(slices.Clone(p.Users), p.offline...)); err != nil {
		return err
	}
	for _, g := range p.groups {
		if err := a.createGroup(ctx, g.id, g.users); err != nil {
			return err
		}
	}
	return a.tokens(ctx, p.Users, platform)
}

// watch follows a run from outside its workers: it merges their tallies, reads the
// servers' figures at each cut, and prints a line.
type watch struct {
	r      *runner
	links  []link
	online int // connections
	plan   plan
	parts  map[int]int // tallies of a cut that are still missing
	whole  map[int]*tally

	// CPU time of the workers, in nanoseconds: now by worker, together now, and
	// together and by worker at the times named.
	own                                                 []int64
	cpu, cpuConnected, cpuAtCut, cpuAtMeasure, cpuAtEnd int64
	ownAtMeasure                                        []int64
	busiest                                             float64 // cores of the busiest worker in the measured time

	connect, warm, sum, late tally // of the phases: connecting, warm-up, measured, after the end
	said                     int64 // nanos of the last line while connecting
	faults                   faults

	before, connected, last, atMeasure, atEnd, atRest serverFigures
}

// heard is news of one worker.
type heard struct {
	from int
	*news
}

// drive starts the workers, lets them connect, gives them the plan, and follows it
// to its end.
func (w *watch) drive(ctx context.Context, orders []*order) (err error) {
	w.before = w.r.server.read(ctx, false)
	release := sync.OnceFunc(func() { // workers close their connections
		for _, l := range w.links {
			close(l.orders)
		}
	})
	defer release()
	all := make(chan heard)
	for i, o := range orders {
		l, err := startWorker(w.r.opts, len(orders) == 1)
		if err != nil {
			return err
		}
		w.links = append(w.links, l)
		l.orders <- o
		go func() { // ends with the worker; drive hears all to the end
			for n := range l.news {
				all <- heard{i, n}
			}
			all <- heard{i, nil}
		}()
	}
	waiting, done, stop := len(orders), 0, ctx.Done()
	for alive := len(orders); alive > 0; {
		select {
		case <-stop:
			stop = nil
			if done < len(orders) {
				w.tell(nil)
			}
		case h := <-all:
			switch {
			case h.news == nil:
				alive--
			case h.Err != "":
				err = errors.Join(err, errors.New(h.Err))
				if done++; done < len(orders) {
					w.tell(nil)
				} else {
					release()
				}
			case h.Ready:
				if waiting--; waiting == 0 {
					w.begin(ctx)
				}
			case h.Done:
				w.faults.merge(&h.Faults)
				if done++; done == len(orders) {
					w.atRest = w.r.server.read(ctx, w.r.opts.heap)
					release()
				}
			case h.Tally != nil:
				w.tally(ctx, h.from, h.Tally)
			}
		}
	}
	if w.plan.End == 0 && err == nil {
		err = errStopped
	}
	if err == nil {
		w.finish()
	}
	return err
}

// tell gives every worker an order; the second without a plan stops it. A worker
// that has as many as it can take is about to stop already.
func (w *watch) tell(p *plan) {
	for _, l := range w.links {
		select {
		case l.orders <- &order{Plan: p}:
		default:
		}
	}
}

func (w *watch) begin(ctx context.Context) {
	w.connected = w.r.server.read(ctx, false)
	start := nanos() + int64(10*time.Millisecond)
	measure := start + int64(w.r.opts.warmup)
	w.plan = plan{Start: start, Measure: measure, End: measure + int64(w.r.opts.duration)}
	w.last, w.atMeasure, w.atEnd = w.connected, w.connected, w.connected
	w.cpuConnected, w.cpuAtCut, w.cpuAtMeasure, w.ownAtMeasure = w.cpu, w.cpu, w.cpu, slices.Clone(w.own)
	w.tell(&w.plan)
}

// tally takes one worker's tally; the last one of a cut completes it.
func (w *watch) tally(ctx context.Context, from int, t *tally) {
	w.cpu += t.CPU - w.own[from]
	w.own[from] = t.CPU
	switch t.Phase {
	case phaseConnect:
		w.connect.merge(t)
		if now := nanos(); now-w.said > int64(time.Second) && w.connect.Counts[nConnected] > 0 {
			w.said = now
			w.r.progress("%d of %d connected", w.connect.Counts[nConnected], w.online)
		}
		return
	case phaseDrain:
		w.late.merge(t)
		return
	}
	whole, ok := w.whole[t.Index]
	if !ok {
		whole, w.parts[t.Index] = t, len(w.links)
		w.whole[t.Index] = t
	} else {
		whole.merge(t)
	}
	if w.parts[t.Index]--; w.parts[t.Index] == 0 {
		delete(w.whole, t.Index)
		delete(w.parts, t.Index)
		w.second(ctx, whole)
	}
}

// second takes one complete cut.
func (w *watch) second(ctx context.Context, t *tally) {
	edge := t.Ended == w.plan.Measure || t.Ended >= w.plan.End
	server := w.r.server.sample(ctx, edge)
	took := float64(t.Ended-t.Began) / 1e9
	rate := func(n counter) float64 { return float64(t.Counts[n]) / took }
	s := second{
		Seconds: float64(t.Ended-w.plan.Measure) / 1e9,
		Sent:    rate(nSent), Acked: rate(nAcked), Delivered: rate(nDelivered), Connects: rate(nConnected),
		InFlight: t.InFlight, Open: t.Open,
		AckP50: t.Times[tAck].us(50), AckP99: t.Times[tAck].us(99),
		DeliverP50: t.Times[tDeliver].us(50), DeliverP99: t.Times[tDeliver].us(99), ConnectP99: t.Times[tHandshake].us(99),
		ServerCores: (server.cpu - w.last.cpu).Seconds() / took, ServerRSS: server.rss,
		Cores: float64(w.cpu-w.cpuAtCut) / 1e9 / took,
	}
	w.cpuAtCut, w.last = w.cpu, server
	w.r.report.Course = append(w.r.report.Course, s)
	w.r.progress("%s", s)
	if t.Ended <= w.plan.Measure {
		w.warm.merge(t)
		w.atMeasure, w.cpuAtMeasure, w.ownAtMeasure = server, w.cpu, slices.Clone(w.own)
		return
	}
	w.sum.merge(t)
	w.atEnd, w.cpuAtEnd = server, w.cpu
	for i, cpu := range w.own {
		w.busiest = max(w.busiest, float64(cpu-w.ownAtMeasure[i])/float64(t.Ended-w.plan.Measure))
	}
}
