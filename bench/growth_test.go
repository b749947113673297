package bench

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/core"
	"gannet/internal/im"
)

var (
	flagGrowth    = flag.String("growth", "2000", "stored messages at which TestGrowth looks, ascending, separated by commas; 0: it is left out")
	flagGrowthDir = flag.String("growth-dir", "", "folder of its store, made and kept; empty: a temporary one")
)

// The world of TestGrowth: each user talks with the growthPeers users after him, so
// he has twice as many conversations.
const (
	growthUsers  = 2000
	growthPeers  = 10
	growthWindow = 1600 // messages under way: 200 pairs × 8
	growthProbes = 2000 // questions of each kind
)

// TestGrowth fills a store and, at each size of -growth, starts a server on it anew
// and measures what users notice: the start, the last 100 messages of random
// conversations, a login's questions, messages sent; and RSS and disk. It fails when
// an answer is not complete.
//
//	go test ./bench -run TestGrowth -v -timeout 60m -growth 1000000,5000000,10000000
func TestGrowth(t *testing.T) {
	sizes := strings.Split(*flagGrowth, ",")
	if *flagGrowth == "0" || testing.Short() {
		t.Skip("-growth 0 or -short")
	}
	dir := *flagGrowthDir
	if dir == "" {
		dir = t.TempDir()
	}
	g := growth{t: t, rnd: rand.New(rand.NewPCG(1, 2)), sent: make([]int64, growthUsers*growthPeers)}
	t.Run("users", func(t *testing.T) {
		newServer(t, dir).addUsers(t, growthUsers)
	})
	for _, text := range sizes {
		size, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Run("fill/"+text, func(t *testing.T) { // a run closes its server at its end
			s := newServer(t, dir)
			start, before, cpu := time.Now(), g.total, cpuTime(t)
			g.send(s, size-g.total)
			g.report(t, "filled %d in %v, %.0f µs of CPU each", g.total-before, time.Since(start).Round(time.Second), perEach(cpuTime(t)-cpu, g.total-before))
		})
		t.Run("look/"+text, func(t *testing.T) { g.look(t, dir) })
	}
}

type growth struct {
	t     *testing.T
	rnd   *rand.Rand
	sent  []int64 // per conversation
	total int64
}

func (g *growth) report(t *testing.T, format string, a ...any) {
	t.Helper()
	t.Logf("%9d messages: "+format, append([]any{g.total}, a...)...)
}

// growthPair are the two of a conversation.
func growthPair(conv int) (from, to string) {
	u := conv / growthPeers
	return name(u), name((u + 1 + conv%growthPeers) % growthUsers)
}

// used picks a conversation that has messages.
func (g *growth) used() (conv int) {
	for conv = g.rnd.IntN(len(g.sent)); g.sent[conv] == 0; conv = g.rnd.IntN(len(g.sent)) {
	}
	return conv
}

// send stores n messages in random conversations.
func (g *growth) send(s *server, n int64) {
	for i := range n {
		if ahead := i - growthWindow; ahead > 0 {
			s.sink.waitAnswers(ahead)
		}
		conv := g.rnd.IntN(len(g.sent))
		from, to := growthPair(conv)
		req := request(g.t, from, to, "", fmt.Sprintf("%032d", g.total))
		g.scramble(req.Data)
		ref := core.SessionRef{ID: 1, Platform: uint8(im.PlatformIOS)}
		s.send(g.t, core.Caller{UserID: from, Platform: im.PlatformIOS}, ref, req)
		g.sent[conv]++
		g.total++
	}
	s.sink.waitAnswers(n)
}

// scramble makes the 200 digits of a request's text random, so that a store's tables
// are not smaller than those of real texts.
func (g *growth) scramble(data []byte) {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ."
	text := data[bytes.Index(data, []byte("00000000000000000000000000000000000000000")):]
	for i := range 199 {
		text[i] = letters[g.rnd.IntN(len(letters))]
	}
}

// look measures on a fresh start.
func (g *growth) look(t *testing.T, dir string) {
	start := time.Now()
	s := newServer(t, dir)
	ready := time.Since(start)
	<-s.store.FilterBuilt()
	if st := s.store.Stats().MessageIDs; !st.Ready {
		t.Fatalf("the filter was not built: %+v", st)
	}
	g.report(t, "start to first answer %v, filter of message IDs complete after %v", ready.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))

	probe := func(what string, ask func()) {
		took := make([]time.Duration, growthProbes)
		cpu := cpuTime(t)
		for i := range took {
			at := time.Now()
			ask()
			took[i] = time.Since(at)
		}
		each := perEach(cpuTime(t)-cpu, growthProbes)
		slices.Sort(took)
		g.report(t, "%s: p50 %v, p99 %v, %.0f µs of CPU", what, took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond), each)
	}
	probe("last 100 of a conversation", func() {
		conv := g.used()
		from, to := growthPair(conv)
		id, end := im.SingleID(from, to), g.sent[conv]
		r, err := s.core.PullMessageBySeqs(core.Caller{UserID: to}, &sdkws.PullMessageBySeqsReq{
			UserID: to, SeqRanges: []*sdkws.SeqRange{{ConversationID: id, Begin: max(1, end-99), End: end, Num: 100}},
		})
		if err != nil || int64(len(r.Msgs[id].GetMsgs())) != min(end, 100) {
			t.Fatalf("%s of %d: %d messages, %v", id, end, len(r.Msgs[id].GetMsgs()), err)
		}
	})
	probe("a login's questions", func() {
		user, _ := growthPair(g.used())
		from := core.Caller{UserID: user}
		seqs, err := s.core.GetMaxSeq(from, &sdkws.GetMaxSeqReq{UserID: user})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.core.GetConversationsHasReadAndMaxSeq(from, &msg.GetConversationsHasReadAndMaxSeqReq{UserID: user}); err != nil {
			t.Fatal(err)
		}
		list, err := s.core.GetIncrementalConversation(from, &conversation.GetIncrementalConversationReq{UserID: user})
		if err != nil || len(seqs.MaxSeqs) == 0 || !list.Full {
			t.Fatalf("%s: %d seqs, %v", user, len(seqs.MaxSeqs), err)
		}
	})
	n := min(g.total, 100_000)
	at, cpu := time.Now(), cpuTime(t)
	g.send(s, n)
	g.report(t, "%d sent, %d under way: %.0f/s, %.1f µs of CPU each", n, growthWindow, float64(n)/time.Since(at).Seconds(), perEach(cpuTime(t)-cpu, n))
	g.report(t, "%d MiB on disk, %d MiB RSS at most so far", s.store.Stats().DiskBytes>>20, maxRSS(t)>>20)
}

// maxRSS is in bytes.
func maxRSS(tb testing.TB) int64 {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Maxrss << 10
}

// perEach is in µs.
func perEach(d time.Duration, n int64) float64 { return float64(d.Microseconds()) / float64(n) }
