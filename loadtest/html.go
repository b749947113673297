//go:build linux

package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"os"
	"strings"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"number": number, "ms": ms, "charts": charts,
}).Parse(page))

// writeHTML writes one file that needs no other.
func (r *results) writeHTML(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	all := r.series()
	if err := pageTemplate.Execute(f, map[string]any{"Results": r, "Series": rowsOf(all)}); err != nil {
		return err
	}
	return f.Close()
}

// section is a series as the page shows it.
type section struct {
	Name string
	Runs []*report
	Rows []row
	Last *report // whose course is drawn
}

// row is a number over all runs.
type row struct{ Name, Median, Min, Max, Unit string }

func rowsOf(all []*series) (sections []section) {
	for _, s := range all {
		sec := section{Name: s.name, Runs: s.runs, Last: s.runs[len(s.runs)-1]}
		for _, name := range s.names() {
			x, unit, _ := s.scatter(name)
			sec.Rows = append(sec.Rows, row{name, number(x.median), number(x.min), number(x.max), unit})
		}
		sections = append(sections, sec)
	}
	return sections
}

// Size of a chart, and of the margin left of it and below, in pixels.
const (
	chartWidth, chartHeight = 520, 200
	marginLeft, marginBelow = 64, 32
)

// line is one curve of a chart.
type line struct {
	Name, Color string
	x, y        []float64
	Points      string // for the page
	bars        bool
}

// tick is a mark on an axis.
type tick struct {
	At   float64
	Text string
}

// chart is a plot with linear x and linear or logarithmic y.
type chart struct {
	Title, XName string
	Lines        []line
	X, Y         []tick
	W, H, L, B   int
}

var colors = []string{"#1668a8", "#c8541b", "#3a8a3a", "#7a4ca0", "#888888"}

// charts draws a run's course, and its latencies by percentile and as histograms.
func charts(r *report) (all []*chart) {
	var x, acked, delivered, connects, ackP50, ackP99, deliverP50, deliverP99, connectP99, server, own, rss []float64
	for _, s := range r.Course {
		x = append(x, s.Seconds)
		acked, delivered, connects = append(acked, s.Acked), append(delivered, s.Delivered), append(connects, s.Connects)
		ackP50, ackP99 = append(ackP50, s.AckP50/1e3), append(ackP99, s.AckP99/1e3)
		deliverP50, deliverP99 = append(deliverP50, s.DeliverP50/1e3), append(deliverP99, s.DeliverP99/1e3)
		connectP99 = append(connectP99, s.ConnectP99/1e3)
		server, own, rss = append(server, s.ServerCores), append(own, s.Cores), append(rss, float64(s.ServerRSS)/(1<<20))
	}
	add := func(title, xName string, log bool, lines ...line) {
		if c := newChart(title, xName, log, lines); c != nil {
			all = append(all, c)
		}
	}
	add("Throughput, 1/s", "seconds", false, line{Name: "acknowledged", x: x, y: acked}, line{Name: "delivered", x: x, y: delivered}, line{Name: "connects", x: x, y: connects})
	add("Latency over time, ms", "seconds", true, line{Name: "ack p50", x: x, y: ackP50}, line{Name: "ack p99", x: x, y: ackP99},
		line{Name: "deliver p50", x: x, y: deliverP50}, line{Name: "deliver p99", x: x, y: deliverP99}, line{Name: "connect p99", x: x, y: connectP99})
	add("CPU, cores", "seconds", false, line{Name: "server", x: x, y: server}, line{Name: "generator", x: x, y: own})
	add("Server RSS, MiB", "seconds", false, line{Name: "RSS", x: x, y: rss})
	var quantiles, bars []line
	for _, l := range r.Latencies {
		if l.HDR.count() == 0 {
			continue
		}
		q, b := line{Name: l.Name}, line{Name: l.Name, bars: true}
		for nines := 0.0; nines <= 4; nines += 0.1 { // 0 … 99.99 %
			if math.Pow(10, nines) > float64(l.Count) {
				break
			}
			q.x, q.y = append(q.x, nines), append(q.y, l.HDR.us(100-100*math.Pow(10, -nines))/1e3)
		}
		// Eight bars for each factor of ten.
		counts := map[int]float64{}
		first, last := math.MaxInt, math.MinInt
		for _, bar := range l.HDR.Distribution() {
			if bar.Count > 0 {
				at := int(math.Floor(8 * math.Log10(float64(bar.From)/1e6)))
				counts[at] += float64(bar.Count)
				first, last = min(first, at), max(last, at)
			}
		}
		for at := first; at <= last; at++ {
			b.x, b.y = append(b.x, float64(at)/8), append(b.y, 100*counts[at]/float64(l.Count))
		}
		quantiles, bars = append(quantiles, q), append(bars, b)
	}
	add("Latency by percentile, ms", "percentile", true, quantiles...)
	for _, b := range bars {
		add("Histogram: "+b.Name+", % of all", "ms", false, b)
	}
	return all
}

// newChart scales lines; nil if they show nothing.
func newChart(title, xName string, log bool, lines []line) *chart {
	c := &chart{Title: title, XName: xName, W: chartWidth + marginLeft + 16, H: chartHeight + marginBelow + 16, L: marginLeft, B: chartHeight + 8}
	scale := func(v float64) float64 {
		if log {
			return math.Log10(max(v, 1e-3))
		}
		return v
	}
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), 0.0, math.Inf(-1)
	if log {
		y0 = math.Inf(1)
	}
	for i, l := range lines {
		shown := false
		for j := range l.x {
			if l.y[j] > 0 {
				shown = true
				y0, y1 = min(y0, scale(l.y[j])), max(y1, scale(l.y[j]))
			}
			x0, x1 = min(x0, l.x[j]), max(x1, l.x[j])
		}
		if shown && len(l.x) > 1 {
			l.Color = colors[i%len(colors)]
			c.Lines = append(c.Lines, l)
		}
	}
	if len(c.Lines) == 0 {
		return nil
	}
	if log {
		y0, y1 = math.Floor(y0), math.Ceil(y1)
	} else {
		y1 *= 1.05
	}
	if y1 <= y0 {
		y1 = y0 + 1
	}
	atX := func(v float64) float64 { return marginLeft + chartWidth*(v-x0)/(x1-x0) }
	atY := func(v float64) float64 { return 8 + chartHeight*(1-(v-y0)/(y1-y0)) }
	for i := range c.Lines {
		var b strings.Builder
		l := &c.Lines[i]
		for j := range l.x {
			if l.y[j] <= 0 && log {
				continue
			}
			x, y := atX(l.x[j]), atY(scale(l.y[j]))
			if l.bars { // a step up to the value and on to the next bar
				fmt.Fprintf(&b, "%.1f,%d %.1f,%.1f %.1f,%.1f %.1f,%d ", x, c.B, x, y, x+chartWidth/(x1-x0)/8, y, x+chartWidth/(x1-x0)/8, c.B)
				continue
			}
			fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
		}
		l.Points = b.String()
	}
	c.axes(x0, x1, y0, y1, log, atX, atY)
	return c
}

// axes makes the ticks: whole powers of ten where an axis is logarithmic, round
// numbers else.
func (c *chart) axes(x0, x1, y0, y1 float64, log bool, atX, atY func(float64) float64) {
	if log {
		for e := y0; e <= y1; e++ {
			c.Y = append(c.Y, tick{atY(e), number(math.Pow(10, e))})
		}
	} else {
		for step, v := round((y1-y0)/4), 0.0; v <= y1; v += step {
			c.Y = append(c.Y, tick{atY(v), number(v)})
		}
	}
	for step, v := round((x1-x0)/5), math.Ceil(x0); v <= x1; v += step {
		text := number(v)
		switch c.XName {
		case "percentile":
			text = fmt.Sprintf("%.4g", 100-100*math.Pow(10, -v))
			step = 1
		case "ms":
			text = fmt.Sprintf("%.3g", math.Pow(10, v))
			step = 1
		}
		c.X = append(c.X, tick{atX(v), text})
	}
}

// round is the least of 1, 2 and 5 times a power of ten that is not below v.
func round(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*power >= v {
			return f * power
		}
	}
	return 10 * power
}
