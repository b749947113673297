//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
)

func short(flags ...string) []string {
	return append([]string{"--pairs", "3", "--outstanding", "4", "--warmup", "0s", "--duration", "200ms", "--drain", "3s"}, flags...)
}

func TestP2PPasses(t *testing.T) {
	for _, flags := range [][]string{
		{}, {"--compressor", "sdk"}, {"--compression", "none"}, {"--sdk", "js"}, {"--sdk", "js", "--compression", "none"},
		{"--workers", "2"}, {"--rate", "500"}, {"--rate", "500", "--workers", "3"}, {"--warmup", "100ms", "--duration", "1s"}, {"--payload", "40000", "--outstanding", "1"},
	} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			f := newFake(t, nil)
			r, code := f.load("p2p", short(append(flags, "--drain", "20s")...)...)
			if code != exitOK {
				t.Fatalf("exit code %d", code)
			}
			if !r.Complete || r.Counts["acked"] == 0 || r.latency(tAck).Count == 0 || r.latency(tDeliver).Count == 0 || r.Checked != f.n {
				t.Errorf("complete %v, %d messages at the server, result %+v", r.Complete, f.n, r)
			}
			if rss, _ := r.figure("server RSS before"); r.Server == "" || rss == 0 {
				t.Errorf("server %q, RSS %f", r.Server, rss)
			}
		})
	}
}

// scenarioRuns are commands of every scenario that sends, seconds long.
var scenarioRuns = map[string][]string{
	"p2p":    short("--outstanding", "8"),
	"group":  {"--groups", "2", "--members", "8", "--online", "5", "--senders", "2", "--outstanding", "8", "--warmup", "0s", "--duration", "200ms", "--drain", "3s"},
	"mixed":  {"--online", "8", "--members", "4", "--logins", "10", "--rate", "300", "--warmup", "0s", "--duration", "400ms", "--drain", "3s"},
	"openim": {"--online", "8", "--rate", "300", "--warmup", "0s", "--duration", "300ms", "--drain", "3s"},
}

func TestScenariosPass(t *testing.T) {
	for scenario, flags := range scenarioRuns {
		for _, more := range [][]string{{}, {"--workers", "2"}, {"--sdk", "js"}} {
			t.Run(scenario+" "+strings.Join(more, " "), func(t *testing.T) {
				f := newFake(t, nil)
				r, code := f.load(scenario, append(append(flags, "--drain", "20s"), more...)...)
				if code != exitOK || !r.Complete || r.Counts["delivered"] == 0 || r.Checked != f.n {
					t.Errorf("exit code %d, %d messages at the server, %+v", code, f.n, r)
				}
			})
		}
	}
}

// A message that one member does not get, or twice, or too late, is found in every scenario.
func TestScenariosFind(t *testing.T) {
	for scenario, flags := range scenarioRuns {
		for kind, change := range map[fault]func(o *outcome){
			faultLostAck:        func(o *outcome) { o.acks = 0 },
			faultLostDelivery:   func(o *outcome) { o.deliveries = 0 },
			faultDoubleDelivery: func(o *outcome) { o.deliveries = 2 },
			faultDoubleEcho:     func(o *outcome) { o.echoes = 2 },
			faultOrder:          func(o *outcome) { o.hold = true },
		} {
			t.Run(scenario+" "+faultNames[kind], func(t *testing.T) {
				t.Parallel()
				f := newFake(t, func(n int64, o *outcome) {
					if n == 5 {
						change(o)
					}
				})
				r, code := f.load(scenario, append(flags, "--drain", "1s")...)
				if code != exitFailed || r.Faults[faultNames[kind]] == 0 {
					t.Errorf("exit code %d, not found: %s", code, faultNames[kind])
				}
			})
		}
	}
}

// What only mixed and group --change do is checked as well. Logins of mixed come
// back a second after they went, so these take three.
func TestScriptsFind(t *testing.T) {
	day := []string{"mixed", "--online", "8", "--members", "4", "--logins", "10", "--rate", "100", "--warmup", "0s", "--duration", "3500ms", "--drain", "1s"}
	change := []string{"group", "--members", "5", "--change", "10ms", "--warmup", "0s", "--duration", "300ms", "--drain", "500ms"}
	for _, tc := range []struct {
		skip    string
		command []string
		want    fault
	}{
		{"", day, faultKinds}, {"pull", day, faultPull}, {"presence", day, faultLostNotice}, {"receipt", day, faultLostNotice},
		{"typing", day, faultLostNotice}, {"", change, faultKinds}, {"notice", change, faultLostNotice},
	} {
		t.Run(tc.command[0]+" "+tc.skip, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, nil)
			f.skips[tc.skip] = true
			r, code := f.load(tc.command[0], tc.command[1:]...)
			switch {
			case tc.want == faultKinds && (code != exitOK || r.Counts["logins"]+r.Counts["changes"] == 0):
				t.Errorf("exit code %d, counts %v", code, r.Counts)
			case tc.want != faultKinds && (code != exitFailed || r.Faults[faultNames[tc.want]] == 0):
				t.Errorf("exit code %d, not found: %s", code, faultNames[tc.want])
			}
		})
	}
}

func TestConnect(t *testing.T) {
	for _, flags := range [][]string{{}, {"--keep"}, {"--storm"}, {"--storm", "--backoff"}, {"--storm", "--workers", "2"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			f := newFake(t, nil)
			r, code := f.load("connect", append([]string{"--conns", "60", "--users", "10", "--dialers", "4"}, flags...)...)
			if code != exitOK || !r.Complete || r.Counts["connected"] != 60 || r.latency(tHandshake).Count != 60 {
				t.Errorf("exit code %d, %+v", code, r)
			}
		})
	}
	f := newFake(t, nil)
	f.refuse = 1506
	if r, code := f.load("connect", "--conns", "5", "--users", "5"); code != exitFailed || r.Faults[faultNames[faultDisconnected]] != 5 {
		t.Errorf("refused: exit code %d, %+v", code, r)
	}
}

// A client of a storm whose attempt fails tries again, with back-off a second later.
func TestStormRepeats(t *testing.T) {
	for _, flags := range [][]string{{}, {"--backoff"}} {
		f := newFake(t, nil)
		f.busy = [2]int{20, 30}
		r, code := f.load("connect", append([]string{"--conns", "20", "--storm"}, flags...)...)
		failed, _ := r.figure("failed attempts")
		if code != exitOK || r.Counts["connected"] != 20 || failed != 10 {
			t.Errorf("%v: exit code %d, %v failed attempts, %+v", flags, code, failed, r)
		}
		if late := r.latency(tBack).Max >= 1e6; late != (len(flags) > 0) {
			t.Errorf("%v: the last was back after %.0f µs", flags, r.latency(tBack).Max)
		}
	}
	f := newFake(t, nil)
	f.busy = [2]int{20, 1 << 30}
	if r, code := f.load("connect", "--conns", "20", "--storm", "--backoff", "--duration", "300ms"); code != exitFailed || r.Faults[faultNames[faultDisconnected]] == 0 {
		t.Errorf("nobody came back: exit code %d, %+v", code, r)
	}
}

// Runs of one name are repetitions; a comparison tells their noise from a difference.
func TestCompare(t *testing.T) {
	file := func(name string, values ...float64) string {
		all := newResults()
		for _, v := range values {
			all.Reports = append(all.Reports, &report{Name: "x", Figures: []figure{{"acknowledged", v, "msg/s"}}})
		}
		path := filepath.Join(t.TempDir(), name)
		if err := all.writeJSON(path); err != nil {
			t.Fatal(err)
		}
		if err := all.writeHTML(path + ".html"); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := file("a", 100, 110, 120)
	for _, tc := range []struct{ b, want string }{
		{file("b", 115, 125, 130), "noise"}, {file("c", 200, 210, 220), "×1.91"}, {file("d", 99), "×0.90"},
	} {
		var out bytes.Buffer
		if _, code := execute(t.Context(), []string{"compare", a, tc.b}, &out, &out); code != exitOK || !strings.Contains(out.String(), tc.want) {
			t.Errorf("exit code %d, without %q: %s", code, tc.want, out.String())
		}
	}
	if _, code := execute(t.Context(), []string{"compare", a}, io.Discard, io.Discard); code != exitUsage {
		t.Errorf("one file: exit code %d", code)
	}
}

func TestRunsAndHTML(t *testing.T) {
	f := newFake(t, nil)
	page := filepath.Join(t.TempDir(), "out.html")
	var log bytes.Buffer
	all, code := execute(t.Context(), append(append([]string{"p2p"}, f.flags()...), short("--runs", "2", "--html", page)...), &log, &log)
	if code != exitOK || len(all.Reports) != 2 || len(all.series()) != 1 || !strings.Contains(log.String(), "in 2 runs") {
		t.Errorf("exit code %d: %s", code, log.String())
	}
	text, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(text, []byte("<polyline")) || bytes.Contains(text, []byte("<script")) || bytes.Contains(text, []byte("src=")) {
		t.Errorf("page: %v, %d bytes", err, len(text))
	}
}

// Every scenario passes against the real server.
func TestRealServer(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts gannet")
	}
	binary := filepath.Join(t.TempDir(), "gannet")
	if out, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
		t.Fatalf("build gannet: %v\n%s", err, out)
	}
	for _, command := range []string{
		"idle --conns 50 --duration 300ms",
		"connect --conns 300 --users 50",
		"connect --conns 100 --storm --backoff",
		"p2p --pairs 10 --duration 500ms --warmup 100ms --workers 2",
		"p2p --pairs 10 --rate 200 --duration 500ms --warmup 100ms --sdk js --compression none",
		"group --members 1100 --online 20 --duration 500ms --warmup 100ms --outstanding 4",
		"group --groups 2 --members 20 --change 20ms --duration 700ms --warmup 0s",
		"mixed --online 40 --logins 10 --rate 100 --duration 3s --warmup 100ms",
		"openim --online 40 --rate 100 --duration 500ms --warmup 100ms",
	} {
		t.Run(command, func(t *testing.T) {
			var log bytes.Buffer
			r, err := alone(t.Context(), binary, append(strings.Fields(command), "--drain", "20s"), 1, &log)
			if err != nil || r.failed() || !r.Complete {
				t.Errorf("%v, %+v\n%s", err, r, log.String())
			}
			if cpu, _ := r.figure("GC cycles"); cpu < 0 || r.Server == "" {
				t.Errorf("no figures of the server: %+v", r.Warnings)
			}
		})
	}
}

// Every way in which a server can fail is found, under its own name, and nothing else.
func TestP2PFinds(t *testing.T) {
	edit := func(change func(ack *msg.SendMsgResp, push *sdkws.MsgData)) func(int64, *outcome) {
		return func(n int64, o *outcome) {
			if n == 5 {
				o.edit = change
			}
		}
	}
	fifth := func(change func(o *outcome)) func(int64, *outcome) {
		return func(n int64, o *outcome) {
			if n == 5 {
				change(o)
			}
		}
	}
	for _, tc := range []struct {
		name   string
		tamper func(int64, *outcome)
		want   []fault
	}{
		{"lost ack", fifth(func(o *outcome) { o.acks = 0 }), []fault{faultLostAck}},
		{"lost delivery", fifth(func(o *outcome) { o.deliveries = 0 }), []fault{faultLostDelivery, faultOrder}},
		{"lost echo", fifth(func(o *outcome) { o.echoes = 0 }), []fault{faultLostEcho, faultOrder}},
		{"double ack", fifth(func(o *outcome) { o.acks = 2 }), []fault{faultDoubleAck}},
		{"double delivery", fifth(func(o *outcome) { o.deliveries = 2 }), []fault{faultDoubleDelivery}},
		{"double echo", fifth(func(o *outcome) { o.echoes = 2 }), []fault{faultDoubleEcho}},
		{"reordered", fifth(func(o *outcome) { o.hold = true }), []fault{faultOrder}},
		{"seq skipped", fifth(func(o *outcome) { o.seqStep = 2 }), []fault{faultOrder}},
		{"other conversation", fifth(func(o *outcome) { o.conversation = "si_x_y" }), []fault{faultMisfiled, faultLostDelivery, faultLostEcho, faultOrder}},
		{"wrong ack", edit(func(a *msg.SendMsgResp, _ *sdkws.MsgData) { a.ClientMsgID = strings.Repeat("0", 32) }), []fault{faultWrongAck}},
		{"empty ack", edit(func(a *msg.SendMsgResp, _ *sdkws.MsgData) { a.Reset() }), []fault{faultWrongAck, faultDisagree}},
		{"other sendTime", edit(func(a *msg.SendMsgResp, _ *sdkws.MsgData) { a.SendTime++ }), []fault{faultDisagree}},
		{"other content", edit(func(_ *msg.SendMsgResp, m *sdkws.MsgData) { m.Content[20] ^= 1 }), []fault{faultAltered}},
		{"never sent", edit(func(_ *msg.SendMsgResp, m *sdkws.MsgData) { m.ClientMsgID = strings.Repeat("a", 32) }),
			[]fault{faultNeverSent, faultLostDelivery, faultLostEcho, faultOrder}},
		{"sendTime stands", func(n int64, o *outcome) {
			o.edit = func(a *msg.SendMsgResp, m *sdkws.MsgData) { a.SendTime, m.SendTime = 7, 7 }
		}, []fault{faultOrder}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, tc.tamper)
			r, code := f.load("p2p", short("--pairs", "1", "--outstanding", "8")...) // the fifth message is not a conversation's first
			if code != exitFailed {
				t.Fatalf("exit code %d", code)
			}
			allowed := map[string]bool{}
			for i, kind := range tc.want {
				allowed[faultNames[kind]] = true
				if i == 0 && r.Faults[faultNames[kind]] == 0 {
					t.Errorf("not found: %s", faultNames[kind])
				}
			}
			for name := range r.Faults {
				if !allowed[name] {
					t.Errorf("found as well: %s", name)
				}
			}
			if len(r.Examples) == 0 {
				t.Error("no example")
			}
		})
	}
}

func TestP2PCountsRefusals(t *testing.T) {
	f := newFake(t, func(n int64, o *outcome) {
		if n%10 == 0 {
			o.refuse = 90004
		}
	})
	r, code := f.load("p2p", short()...)
	if code != exitFailed || r.Refusals["90004"] == 0 || len(r.Faults) != 0 || r.Counts["acked"] == 0 {
		t.Errorf("exit code %d, refusals %v, faults %v, acked %d", code, r.Refusals, r.Faults, r.Counts["acked"])
	}
}

// A server that stands still for 200 ms delays every message of that time. An open
// loop counts them all, however few could be under way.
func TestOpenLoopCountsStall(t *testing.T) {
	const stall = 200 * time.Millisecond
	f := newFake(t, func(n int64, o *outcome) {
		if n == 50 { // of the one pair: the connection's reader stands still
			<-time.After(stall)
		}
	})
	r, _ := f.load("p2p", "--pairs", "1", "--rate", "500", "--warmup", "0s", "--duration", "600ms", "--drain", "20s")
	deliver := r.latency(tDeliver)
	if deliver.Count != 300 || r.Counts["sent"] != 300 || r.Counts["unsent"] != 0 {
		t.Fatalf("%d latencies, counts %v of 300 messages", deliver.Count, r.Counts)
	}
	if deliver.Max < 190_000 {
		t.Errorf("max %.0f µs, stalled for %v", deliver.Max, stall)
	}
	// A third of the run: messages due in its first half waited for 100 ms and more.
	if deliver.P90 < 90_000 {
		t.Errorf("p90 %.0f µs: the messages behind the stalled one are not counted", deliver.P90)
	}
}

func TestInterrupt(t *testing.T) {
	f := newFake(t, nil)
	ctx, cancel := timeoutAfterMessages(t, f, 20)
	defer cancel()
	var log bytes.Buffer
	all, _ := execute(ctx, append(append([]string{"p2p"}, f.flags()...), "--duration", "1h", "--warmup", "0s"), &log, &log)
	if all == nil || len(all.Reports) != 1 {
		t.Fatalf("no report: %s", log.String())
	}
	if r := all.Reports[0]; r.Complete || r.Counts["acked"] == 0 || len(r.Faults) != 0 {
		t.Errorf("interrupted run: %s", log.String())
	}
}

func TestP2PServerGone(t *testing.T) {
	f := newFake(t, nil)
	f.drop = true
	r, code := f.load("p2p", short()...)
	if code == exitOK || r != nil && r.Faults[faultNames[faultDisconnected]] == 0 {
		t.Errorf("exit code %d, report %+v", code, r)
	}
}

func TestIdle(t *testing.T) {
	f := newFake(t, nil)
	file := filepath.Join(t.TempDir(), "out.json")
	r, code := f.load("idle", "--conns", "30", "--duration", "100ms", "--dialers", "4", "--json", file, "--secret", "hidden")
	if open, _ := r.figure("connections"); code != exitOK || !r.Complete || open != 30 || r.latency(tHandshake).Count != 30 {
		t.Fatalf("exit code %d, %+v", code, r)
	}
	text, err := os.ReadFile(file)
	var back results
	if err != nil || json.Unmarshal(text, &back) != nil || len(back.Reports) != 1 || back.Reports[0].latency(tHandshake).HDR.count() != 30 {
		t.Errorf("JSON: %v %s", err, text)
	}
	if bytes.Contains(text, []byte("hidden")) {
		t.Error("the secret stands in the report")
	}
	if _, code = f.load("idle", "--conns", "40", "--duration", "10ms"); code != exitOK { // 30 are registered
		t.Errorf("second run: exit code %d", code)
	}
}

func TestIdleFindsLosses(t *testing.T) {
	f := newFake(t, nil)
	f.drop = true
	r, code := f.load("idle", "--conns", "5", "--duration", "10s")
	if code != exitFailed || r.Faults[faultNames[faultDisconnected]] != 5 {
		t.Errorf("dropped: exit code %d, faults %v", code, r.Faults)
	}
	f = newFake(t, nil)
	f.refuse = 1506
	r, code = f.load("idle", "--conns", "5", "--duration", "10s")
	if code != exitFailed || r.Faults[faultNames[faultDisconnected]] != 5 || !strings.Contains(fmt.Sprint(r.Examples), "1506") {
		t.Errorf("refused: exit code %d, faults %v, %v", code, r.Faults, r.Examples)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{}, {"other"}, {"p2p", "--pairs", "0"}, {"p2p", "--payload", "3"}, {"p2p", "rest"}, {"idle", "--conns", "0"},
		{"p2p", "--ws", "ws://192.0.2.1:10001"}, {"p2p", "--ws", "ws://example.com:10001"}, {"p2p", "--ws", "http://127.0.0.1:1"},
		{"p2p", "--api", "http://192.0.2.1:1"}, {"idle", "--ops", "http://192.0.2.1:1"}, {"p2p", "--ws", "ws://127.0.0.1"},
		{"p2p", "--sdk", "c"}, {"p2p", "--compressor", "x"}, {"p2p", "--compression", "zip"}, {"p2p", "--duration", "0s"}, {"p2p", "--outstanding", "5000"},
	} {
		var log bytes.Buffer
		if r, code := execute(t.Context(), args, &log, &log); code != exitUsage || r != nil || log.Len() == 0 {
			t.Errorf("%v: exit code %d, said %q", args, code, log.String())
		}
	}
	for _, ok := range []string{"ws://localhost:5", "ws://127.9.9.9:5/im", "ws://[::1]:5"} {
		if _, _, err := (&options{}).target("--ws", ok, "ws"); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
}
