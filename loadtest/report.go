//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of every latency histogram, in nanoseconds: 1 µs … 60 s, three digits.
const (
	latencyMin    = 1_000
	latencyMax    = 60_000_000_000
	latencyDigits = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(latencyMin, latencyMax, latencyDigits)
}

// record counts a latency; what lies outside the bounds counts as the bound.
func record(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, latencyMin), latencyMax)) // fails only outside the bounds
}

// latency is a histogram in a report. Times are microseconds.
type latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"meanUs"`
	Min   float64 `json:"minUs"`
	P50   float64 `json:"p50Us"`
	P90   float64 `json:"p90Us"`
	P99   float64 `json:"p99Us"`
	P999  float64 `json:"p999Us"`
	Max   float64 `json:"maxUs"`
	HDR   string  `json:"hdr,omitempty"` // the whole of it: HdrHistogram V2, deflated, base64; values in ns
}

func summarise(h *hdrhistogram.Histogram) *latency {
	if h.TotalCount() == 0 {
		return &latency{}
	}
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	encoded, _ := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return &latency{
		Count: h.TotalCount(), Mean: h.Mean() / 1e3, Min: us(h.Min()), P50: us(h.ValueAtQuantile(50)), P90: us(h.ValueAtQuantile(90)),
		P99: us(h.ValueAtQuantile(99)), P999: us(h.ValueAtQuantile(99.9)), Max: us(h.Max()), HDR: string(encoded),
	}
}

// report is the result of a run, as it is printed and written as JSON.
type report struct {
	Scenario string            `json:"scenario"`
	Started  time.Time         `json:"started"`
	Machine  machine           `json:"machine"`
	Commit   string            `json:"commit,omitempty"`
	Command  string            `json:"command"`
	Settings map[string]string `json:"settings"`
	Server   string            `json:"server,omitempty"` // process name and id
	Complete bool              `json:"complete"`         // ran for its whole time
	P2P      *p2pResult        `json:"p2p,omitempty"`
	Idle     *idleResult       `json:"idle,omitempty"`
	Faults   map[string]int64  `json:"faults"`
	Examples []string          `json:"examples,omitempty"`
	Refusals map[string]int64  `json:"refusals,omitempty"` // by error code
	Warnings []string          `json:"warnings,omitempty"`
}

// warn adds a warning to the report.
func (r *report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

func (r *report) setFaults(f *faults) {
	r.Faults = map[string]int64{}
	for kind, n := range f.counts {
		if n > 0 {
			r.Faults[faultNames[kind]] = n
		}
	}
	r.Examples = f.examples
}

// measured reports whether there is a figure at all.
func (r *report) measured() bool {
	return r.P2P != nil && r.P2P.Acked > 0 || r.Idle != nil && r.Idle.Open > 0
}

func (r *report) writeJSON(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// print writes the table for people.
func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("scenario", "%s", r.Command)
	row("machine", "%s, %d cores, %s, commit %s", r.Machine.CPU, r.Machine.Cores, r.Machine.Go, orDash(r.Commit))
	row("server", "%s", orDash(r.Server))
	if r.P2P != nil {
		r.P2P.print(row)
	}
	if r.Idle != nil {
		r.Idle.print(row)
	}
	t.Flush()
	for code, n := range r.Refusals {
		fmt.Fprintf(w, "REFUSED  %d × %s\n", n, code)
	}
	for name, n := range r.Faults {
		fmt.Fprintf(w, "FAULT    %d × %s\n", n, name)
	}
	for _, e := range r.Examples {
		fmt.Fprintf(w, "         %s\n", e)
	}
	for _, text := range r.Warnings {
		fmt.Fprintf(w, "WARNING  %s\n", text)
	}
	if len(r.Faults) == 0 {
		fmt.Fprintln(w, "checks   passed")
	}
}

// rower prints one row of the table.
type rower func(name, format string, args ...any)

func (l *latency) print(row rower, name string) {
	if l.Count == 0 {
		row(name, "none")
		return
	}
	row(name, "p50 %s  p90 %s  p99 %s  p99.9 %s  max %s  (%d)", ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max), l.Count)
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
