//go:build linux

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// figure is one number of a report.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// second is one point of a run's course.
type second struct {
	Seconds     float64 `json:"seconds"` // since measuring began; negative in the warm-up
	Sent        float64 `json:"sentPerSecond"`
	Acked       float64 `json:"ackedPerSecond"`
	Delivered   float64 `json:"deliveredPerSecond"`
	Connects    float64 `json:"connectsPerSecond"`
	InFlight    int64   `json:"inFlight"`
	Open        int64   `json:"open"`
	AckP50      float64 `json:"ackP50Us"`
	AckP99      float64 `json:"ackP99Us"`
	DeliverP50  float64 `json:"deliverP50Us"`
	DeliverP99  float64 `json:"deliverP99Us"`
	ConnectP99  float64 `json:"connectP99Us"`
	ServerCores float64 `json:"serverCores"`
	ServerRSS   int64   `json:"serverRssBytes"`
	Cores       float64 `json:"generatorCores"`
}

func (s second) String() string {
	text := fmt.Sprintf("%5.0fs  %d open", s.Seconds, s.Open)
	if s.Connects > 0 {
		text += fmt.Sprintf("  %.0f connects/s p99 %s", s.Connects, ms(s.ConnectP99))
	}
	if s.Sent > 0 || s.Acked > 0 {
		text += fmt.Sprintf("  %.0f msg/s  ack p50 %s p99 %s  %.0f deliveries/s p50 %s p99 %s  in flight %d",
			s.Acked, ms(s.AckP50), ms(s.AckP99), s.Delivered, ms(s.DeliverP50), ms(s.DeliverP99), s.InFlight)
	}
	return text + fmt.Sprintf("  server %.0f %% %s  generator %.0f %%", 100*s.ServerCores, mib(s.ServerRSS), 100*s.Cores)
}

// report is the result of one run.
type report struct {
	Name      string            `json:"name"` // runs of the same name are repetitions
	Started   time.Time         `json:"started"`
	Command   string            `json:"command"`
	Settings  map[string]string `json:"settings"`
	Server    string            `json:"server,omitempty"` // process names and ids
	Complete  bool              `json:"complete"`         // did all it was to do
	Counts    map[string]int64  `json:"counts"`           // of the measured time
	Checked   int64             `json:"checked"`          // messages, with warm-up
	Figures   []figure          `json:"figures"`
	Latencies []*latency        `json:"latencies"`
	Course    []second          `json:"course"`
	Faults    map[string]int64  `json:"faults"`
	Examples  []string          `json:"examples,omitempty"`
	Refusals  map[string]int64  `json:"refusals,omitempty"` // by error code
	Warnings  []string          `json:"warnings,omitempty"`
}

// results is a file of reports.
type results struct {
	Started time.Time `json:"started"`
	Machine machine   `json:"machine"`
	Commit  string    `json:"commit,omitempty"`
	Reports []*report `json:"reports"`
}

func newResults() *results {
	return &results{Started: time.Now(), Machine: thisMachine(), Commit: commit()}
}

func newReport(o *options, fs *flag.FlagSet) *report {
	r := &report{
		Started: time.Now(), Command: "loadtest " + o.scenario.name,
		Settings: map[string]string{}, Counts: map[string]int64{}, Faults: map[string]int64{}, Refusals: map[string]int64{},
	}
	fs.VisitAll(func(f *flag.Flag) { r.Settings[f.Name] = shown(f) })
	fs.Visit(func(f *flag.Flag) { r.Command += " --" + f.Name + "=" + shown(f) })
	if r.Name = o.name; r.Name == "" {
		r.Name = r.Command
	}
	return r
}

// warn adds a warning.
func (r *report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// figure is the value of that name; false if there is none.
func (r *report) figure(name string) (float64, bool) {
	i := slices.IndexFunc(r.Figures, func(f figure) bool { return f.Name == name })
	if i < 0 {
		return 0, false
	}
	return r.Figures[i].Value, true
}

// latency is the latency of that name, empty if there is none.
func (r *report) latency(t timer) *latency {
	for _, l := range r.Latencies {
		if l.Name == timerNames[t] {
			return l
		}
	}
	return &latency{}
}

// failed reports whether something went wrong, or nothing was measured.
func (r *report) failed() bool {
	return len(r.Faults) > 0 || len(r.Refusals) > 0 || len(r.Figures) == 0
}

// busyCores is the share of its thread's time from which on a worker is suspect.
const busyCores = 0.85

// finish makes the report of what was seen.
func (w *watch) finish() {
	r, o, sum := w.r.report, w.r.opts, &w.sum
	for i := range sum.Times {
		sum.Times[i].merge(&w.late.Times[i])
	}
	if sum.Times[tHandshake].count() == 0 {
		sum.Times[tHandshake] = w.connect.Times[tHandshake]
	}
	for _, t := range []*tally{&w.warm, &w.sum, &w.late} {
		for code, n := range t.Refused {
			r.Refusals[strconv.Itoa(code)] += n
		}
	}
	for kind, n := range w.faults.Counts {
		if n > 0 {
			r.Faults[faultNames[kind]] = n
		}
	}
	r.Examples = w.faults.Examples
	sum.Counts[nUnsent] = w.late.Counts[nUnsent]
	for c, n := range sum.Counts {
		if n > 0 {
			r.Counts[counterNames[c]] = n
		}
	}
	r.Checked = w.warm.Counts[nSent] + sum.Counts[nSent]
	for t, h := range sum.Times {
		if h.count() > 0 && (timer(t) != tLate || h.us(100) > 1000) {
			r.Latencies = append(r.Latencies, summarise(timerNames[t], h))
		}
	}
	seconds := float64(sum.Ended-w.plan.Measure) / 1e9
	if sum.Ended == 0 {
		r.warn("ended before it measured anything")
		return
	}
	w.figures(seconds)
	r.Complete = seconds >= o.duration.Seconds() || o.script != nil && o.conns > 0 && sum.Counts[nConnected] >= int64(o.conns)
	w.warn(seconds)
}

// figures fills in the report's figures.
func (w *watch) figures(seconds float64) {
	r, sum, own := w.r.report, &w.sum, float64(w.cpuAtEnd-w.cpuAtMeasure)/1e9
	add := func(name string, value float64, unit string) {
		r.Figures = append(r.Figures, figure{name, value, unit})
	}
	per := func(total float64, n int64) float64 { return total / float64(max(1, n)) }
	add("measured", seconds, "s")
	if n := w.connect.Counts[nConnected]; n > 0 {
		took := float64(w.connect.Ended-w.connect.Began) / 1e9
		add("connections", float64(n), "")
		add("connected at", float64(n)/took, "1/s")
		add("server CPU per connect", per((w.connected.cpu-w.before.cpu).Seconds()*1e6, n), "µs")
	}
	server := (w.atEnd.cpu - w.atMeasure.cpu).Seconds()
	acked, delivered, made := sum.Counts[nAcked], sum.Counts[nDelivered], sum.Counts[nConnected]
	if acked > 0 {
		add("acknowledged", float64(acked)/seconds, "msg/s")
		add("delivered", float64(delivered)/seconds, "1/s")
		add("server CPU per message", per(server*1e6, acked), "µs")
		add("server CPU per delivery", per(server*1e6, delivered), "µs")
		add("generator CPU per delivery", per(own*1e6, delivered), "µs")
	}
	if made > 0 {
		add("connects", float64(made)/seconds, "1/s")
		if acked == 0 {
			name := "server CPU per connect"
			if w.r.opts.storm {
				name = "server CPU per loss and reconnect"
				add("failed attempts", float64(sum.Counts[nFailed]), "")
			}
			add(name, per(server*1e6, made), "µs")
			add("generator CPU per connect", per(own*1e6, made), "µs")
		}
	}
	add("server", server/seconds, "cores")
	add("server RSS before", float64(w.before.rss)/(1<<20), "MiB")
	add("server RSS after", float64(w.atEnd.rss)/(1<<20), "MiB")
	if a, b := w.atMeasure.metrics, w.atEnd.metrics; a != nil && b != nil {
		since := func(name string) float64 { return b[name] - a[name] }
		add("GC cycles", since("go_gc_duration_seconds_count"), "")
		add("GC pauses", since("go_gc_duration_seconds_sum")*1e3, "ms")
		if n := since("gannet_storage_commit_seconds_count"); n > 0 {
			add("fsyncs", n/seconds, "1/s")
			add("fsync", since("gannet_storage_commit_seconds_sum")/n*1e6, "µs")
			add("messages per fsync", float64(acked)/n, "")
		}
	}
	if m := w.atRest.metrics; w.r.opts.heap && m != nil {
		add("heap objects at rest", m["go_memstats_heap_objects"], "")
		add("heap at rest", m["go_memstats_heap_alloc_bytes"]/(1<<20), "MiB")
		add("server RSS at rest", float64(w.atRest.rss)/(1<<20), "MiB")
	}
	add("generator", own/seconds, "cores")
	add("stolen by the host", (w.atEnd.stolen-w.atMeasure.stolen).Seconds()/seconds, "cores")
}

// stolenMax is the share of a machine that its host may use otherwise unnoticed.
const stolenMax = 0.02

// warn says what makes the figures doubtful.
func (w *watch) warn(seconds float64) {
	r, o, cores := w.r.report, w.r.opts, thisMachine().Cores
	server, own := (w.atEnd.cpu-w.atMeasure.cpu).Seconds()/seconds, float64(w.cpuAtEnd-w.cpuAtMeasure)/1e9/seconds
	switch {
	case w.busiest > busyCores:
		r.warn("a generator process used %.2f cores: it may be the bottleneck (--workers, --compression none)", w.busiest)
	case own+server > busyCores*float64(cores):
		r.warn("server and generator share %d cores and used %.2f: they slow each other", cores, own+server)
	}
	if lost := (w.atEnd.stolen - w.atMeasure.stolen).Seconds() / seconds; lost > stolenMax*float64(cores) {
		r.warn("the machine's host took %.2f of %d cores away: compare with what was measured in the same minutes only", lost, cores)
	}
	if n := w.sum.Counts[nUnsent]; n > 0 {
		r.warn("%d messages of the schedule were not sent in time: the server does not keep up with %.0f msg/s, and latencies lack them", n, o.rate)
	}
	if late := w.sum.Times[tLate].us(99); o.rate > 0 && late > lateMax {
		r.warn("the generator fell behind its schedule: one message in a hundred was sent %s late or more", ms(late))
	}
	if len(o.scenario.layout(o)) > 0 && w.sum.Counts[nSent] == 0 && o.outstanding > 0 {
		r.warn("nothing was measured")
		r.Figures = nil
	}
	if o.outstanding == 0 && o.script == nil && w.sum.Open < int64(w.online) {
		r.warn("%d of %d connections held", w.sum.Open, w.online)
		r.Complete = false
	}
	if !r.Complete {
		r.warn("ended before its time")
	}
}

// lateMax is how late, in microseconds, the 99th percentile of an open loop's
// messages may be sent before the report says so.
const lateMax = 10_000

// conclude prints and writes the reports, and judges them.
func (r *results) conclude(jsonFile, htmlFile string, out, log io.Writer) int {
	r.print(out)
	code := exitOK
	if len(r.Reports) == 0 || slices.ContainsFunc(r.Reports, (*report).failed) {
		code = exitFailed
	}
	for file, write := range map[string]func(string) error{jsonFile: r.writeJSON, htmlFile: r.writeHTML} {
		if file == "" {
			continue
		}
		if err := write(file); err != nil {
			fmt.Fprintf(log, "loadtest: %v\n", err)
			code = exitUsage
		}
	}
	return code
}

func (r *results) writeJSON(file string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// print writes the tables for people.
func (r *results) print(w io.Writer) {
	fmt.Fprintf(w, "%s, %d cores, %s, commit %s\n", r.Machine.CPU, r.Machine.Cores, r.Machine.Go, orDash(r.Commit))
	for _, s := range r.series() {
		s.print(w)
	}
}

// series is the repetitions of one run.
type series struct {
	name string
	runs []*report
}

// series puts runs of the same name together, in the order of their first ones.
func (r *results) series() (all []*series) {
	for _, run := range r.Reports {
		i := slices.IndexFunc(all, func(s *series) bool { return s.name == run.Name })
		if i < 0 {
			i, all = len(all), append(all, &series{name: run.Name})
		}
		all[i].runs = append(all[i].runs, run)
	}
	return all
}

func (s *series) print(w io.Writer) {
	first := s.runs[0]
	fmt.Fprintf(w, "\n%s\n", s.name)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	if first.Command != s.name {
		row("command", "%s", first.Command)
	}
	row("server", "%s", orDash(first.Server))
	for _, name := range s.names() {
		v, unit, _ := s.scatter(name)
		_, isFigure := first.figure(name)
		switch {
		case len(s.runs) > 1:
			row(name, "%s %s (%s – %s in %d runs)", number(v.median), unit, number(v.min), number(v.max), len(s.runs))
		case isFigure:
			row(name, "%s %s", number(v.median), unit)
		}
	}
	for _, l := range first.Latencies {
		if len(s.runs) == 1 {
			row(l.Name, "p50 %s  p90 %s  p99 %s  p99.9 %s  max %s  (%d)", ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max), l.Count)
		}
	}
	t.Flush()
	for _, r := range s.runs {
		r.printFaults(w)
	}
}

func (r *report) printFaults(w io.Writer) {
	for _, code := range slices.Sorted(maps.Keys(r.Refusals)) {
		fmt.Fprintf(w, "  REFUSED  %d × %s\n", r.Refusals[code], code)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(w, "  FAULT    %d × %s\n", r.Faults[name], name)
	}
	for _, e := range r.Examples {
		fmt.Fprintf(w, "           %s\n", e)
	}
	for _, text := range r.Warnings {
		fmt.Fprintf(w, "  WARNING  %s\n", text)
	}
	if len(r.Faults) == 0 {
		fmt.Fprintf(w, "  checks   passed, %d messages\n", r.Checked)
	}
}

// number shows three digits that matter, and all before the point.
func number(v float64) string {
	switch {
	case v == float64(int64(v)), v >= 100, v <= -100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10, v <= -10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// ms shows microseconds as milliseconds with three digits that matter.
func ms(us float64) string {
	switch v := us / 1e3; {
	case v < 1:
		return fmt.Sprintf("%.3f ms", v)
	case v < 100:
		return fmt.Sprintf("%.1f ms", v)
	default:
		return fmt.Sprintf("%.0f ms", v)
	}
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
