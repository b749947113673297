//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// readResults reads a file that --json wrote.
func readResults(file string) (*results, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &results{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// compare prints how the second of two files of results differs from the first.
func compare(files []string, out, log io.Writer) int {
	err := errors.New("usage: loadtest compare a.json b.json")
	var both [2]*results
	if len(files) == len(both) {
		err = nil
		for i, file := range files {
			var one error
			both[i], one = readResults(file)
			err = errors.Join(err, one)
		}
	}
	if err != nil {
		fmt.Fprintln(log, err)
		return exitUsage
	}
	for i, r := range both {
		fmt.Fprintf(out, "%c: %s, commit %s, %s\n", 'a'+i, files[i], orDash(r.Commit), r.Started.Format("2006-01-02 15:04"))
	}
	old, now := both[0].series(), both[1].series()
	for _, a := range old {
		i := slices.IndexFunc(now, func(b *series) bool { return a.name == b.name })
		if i < 0 {
			fmt.Fprintf(out, "\n%s: only in a\n", a.name)
			continue
		}
		printDifferences(out, a, now[i])
	}
	for _, b := range now {
		if !slices.ContainsFunc(old, func(a *series) bool { return a.name == b.name }) {
			fmt.Fprintf(out, "\n%s: only in b\n", b.name)
		}
	}
	return exitOK
}

func printDifferences(out io.Writer, a, b *series) {
	fmt.Fprintf(out, "\n%s (%d and %d runs)\n", a.name, len(a.runs), len(b.runs))
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range a.names() {
		x, unit, _ := a.scatter(name)
		y, _, ok := b.scatter(name)
		if !ok {
			continue
		}
		fmt.Fprintf(t, "  %s\t%s\t→ %s %s\t%s\t%s\n", name, number(x.median), number(y.median), unit, ratio(x, y), verdict(x, y, len(a.runs), len(b.runs)))
	}
	t.Flush()
}

func ratio(x, y scatter) string {
	if x.median == 0 {
		return ""
	}
	return fmt.Sprintf("×%.2f", y.median/x.median)
}

// verdict says whether a difference is more than what runs of one file differ by.
func verdict(x, y scatter, runsX, runsY int) string {
	switch {
	case x.median == y.median:
		return ""
	case runsX < 2 && runsY < 2:
		return "? (one run each)"
	case x.min <= y.max && y.min <= x.max:
		return "~ within the noise"
	}
	return ""
}

// scatter is a figure over the runs of a series.
type scatter struct{ median, min, max float64 }

// percentiles are those that are compared and shown over several runs.
var percentiles = []struct {
	name string
	of   func(*latency) float64
}{
	{"p50", func(l *latency) float64 { return l.P50 }},
	{"p99", func(l *latency) float64 { return l.P99 }},
	{"p99.9", func(l *latency) float64 { return l.P999 }},
}

// values are all numbers of a run by name, the percentiles of its latencies too.
func (r *report) values() []figure {
	all := slices.Clone(r.Figures)
	for _, l := range r.Latencies {
		for _, p := range percentiles {
			all = append(all, figure{l.Name + " " + p.name, p.of(l) / 1e3, "ms"})
		}
	}
	return all
}

// names lists the numbers of the first run.
func (s *series) names() (names []string) {
	for _, f := range s.runs[0].values() {
		names = append(names, f.Name)
	}
	return names
}

// scatter is the number of that name over all runs; false if none has it.
func (s *series) scatter(name string) (x scatter, unit string, ok bool) {
	var values []float64
	for _, r := range s.runs {
		for _, f := range r.values() {
			if f.Name == name {
				values, unit = append(values, f.Value), f.Unit
			}
		}
	}
	n := len(values)
	if n == 0 {
		return x, "", false
	}
	slices.Sort(values)
	return scatter{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}, unit, true
}
