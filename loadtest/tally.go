//go:build linux

package main

import (
	"github.com/HdrHistogram/hdrhistogram-go"
)

// counter is a kind of event that workers count.
type counter int

// The counters of a tally.
const (
	nSent counter = iota
	nAcked
	nDelivered // to a member other than the sender
	nEchoed    // back to the sender
	nPulled    // found by a sync after a login
	nConnected
	nFailed // connection attempts
	nPings
	nPongs
	nUnsent // of an open loop's schedule, when the time was up
	nTypings
	nReads
	nLogins
	nChanges // of group membership

	counters
)

// counterNames are those of a report.
var counterNames = [counters]string{
	"sent", "acked", "delivered", "echoed", "pulled", "connected", "failed", "pings", "pongs", "unsent",
	"typings", "reads", "logins", "changes",
}

// timer is a kind of latency that workers measure.
type timer int

// The timers of a tally, in the order of the report; timerNames says what each is.
const (
	tHandshake timer = iota
	tBack
	tAck
	tDeliver
	tLast
	tLate
	tChange
	tNotice
	tLogin
	tPresence
	tTyping
	tRead
	tReceipt

	timers
)

var timerNames = [timers]string{
	tHandshake: "handshake",          // connect() to the answer to the upgrade
	tBack:      "drop → back",        // a client of a storm
	tAck:       "send → ack",         // from the intended time
	tDeliver:   "send → deliver",     // to each member other than the sender
	tLast:      "send → last member", // to the member who got it last
	tLate:      "sent late by",       // from the intended to the real time
	tChange:    "change over HTTP",   // an invitation or kick
	tNotice:    "change → last told", // from the HTTP request to the last member's notification
	tLogin:     "login → synced",     // connect() to all missed messages pulled
	tPresence:  "login/out → told",   // to the friend who watches
	tTyping:    "typing → seen",
	tRead:      "mark read by HTTP", // the request alone
	tReceipt:   "mark read → receipt",
}

// Bounds of every histogram, in nanoseconds: 1 µs … 60 s, three digits.
const (
	latencyMin    = 1_000
	latencyMax    = 60_000_000_000
	latencyDigits = 3
)

// histogram is an HDR histogram of nanoseconds that costs nothing while it is
// empty, and travels as text between processes and into files. It is not for
// concurrent use.
type histogram struct{ *hdrhistogram.Histogram }

// record counts a latency; what lies outside the bounds counts as the bound.
func (h *histogram) record(ns int64) {
	if h.Histogram == nil {
		h.Histogram = hdrhistogram.New(latencyMin, latencyMax, latencyDigits)
	}
	_ = h.RecordValue(min(max(ns, latencyMin), latencyMax)) // fails only outside the bounds
}

func (h *histogram) merge(o *histogram) {
	switch {
	case o.Histogram == nil:
	case h.Histogram == nil:
		h.Histogram = hdrhistogram.Import(o.Export())
	default:
		h.Merge(o.Histogram)
	}
}

func (h *histogram) count() int64 {
	if h.Histogram == nil {
		return 0
	}
	return h.TotalCount()
}

// us is a quantile, 0 … 100, in microseconds; 0 if nothing was recorded.
func (h *histogram) us(quantile float64) float64 {
	if h.count() == 0 {
		return 0
	}
	return float64(h.ValueAtQuantile(quantile)) / 1e3
}

// MarshalText makes HdrHistogram V2, deflated, in base64.
func (h histogram) MarshalText() ([]byte, error) {
	if h.Histogram == nil {
		return nil, nil
	}
	return h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
}

// UnmarshalText is the inverse of MarshalText.
func (h *histogram) UnmarshalText(text []byte) (err error) {
	h.Histogram = nil
	if len(text) > 0 {
		h.Histogram, err = hdrhistogram.Decode(text)
	}
	return err
}

// MarshalBinary and UnmarshalBinary are for gob, which would not ask for text.
func (h histogram) MarshalBinary() ([]byte, error)     { return h.MarshalText() }
func (h *histogram) UnmarshalBinary(text []byte) error { return h.UnmarshalText(text) }

// latency is a histogram in a report. Times are microseconds.
type latency struct {
	Name  string    `json:"name"`
	Count int64     `json:"count"`
	Mean  float64   `json:"meanUs"`
	Min   float64   `json:"minUs"`
	P50   float64   `json:"p50Us"`
	P90   float64   `json:"p90Us"`
	P99   float64   `json:"p99Us"`
	P999  float64   `json:"p999Us"`
	Max   float64   `json:"maxUs"`
	HDR   histogram `json:"hdr"` // the whole of it; values in ns
}

func summarise(name string, h histogram) *latency {
	if h.count() == 0 {
		return &latency{Name: name}
	}
	return &latency{
		Name: name, Count: h.count(), Mean: h.Mean() / 1e3, Min: float64(h.Min()) / 1e3,
		P50: h.us(50), P90: h.us(90), P99: h.us(99), P999: h.us(99.9), Max: float64(h.Max()) / 1e3, HDR: h,
	}
}

// plan is when a run starts sending, starts measuring, and ends, in nanos.
type plan struct{ Start, Measure, End int64 }

func (p *plan) measured(due int64) bool { return due >= p.Measure && due < p.End }

// phase is the part of a run that a tally belongs to.
type phase int

const (
	phaseConnect phase = iota // before the plan
	phaseRun                  // warm-up and measured time
	phaseDrain                // waiting for what is missing
)

// tally is what one worker saw between two cuts, about a second. Latencies are those
// of messages due in the measured time.
type tally struct {
	Phase        phase
	Index        int
	Began, Ended int64 // nanos
	Counts       [counters]int64
	Times        [timers]histogram
	Refused      map[int]int64 // messages, by error code
	InFlight     int64         // messages at the end
	Open         int64         // connections at the end
	CPU          int64         // nanoseconds the worker's process has used in its life
}

func (t *tally) merge(o *tally) {
	for i := range t.Counts {
		t.Counts[i] += o.Counts[i]
	}
	for i := range t.Times {
		t.Times[i].merge(&o.Times[i])
	}
	for code, n := range o.Refused {
		t.refuse(code, n)
	}
	if t.Began == 0 || o.Began < t.Began {
		t.Began = o.Began
	}
	t.Ended = max(t.Ended, o.Ended)
	t.InFlight += o.InFlight
	t.Open += o.Open
}

func (t *tally) refuse(code int, n int64) {
	if t.Refused == nil {
		t.Refused = map[int]int64{}
	}
	t.Refused[code] += n
}
