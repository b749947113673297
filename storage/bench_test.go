package storage

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gannet/core"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// cpuTime is what the process has used, user and system: steadier than the clock on
// a machine with other work.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(Options{Dir: b.TempDir(), Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// messageOps is what one message writes: itself and its dedup record.
func messageOps(conversation string, seq uint64, hash *[16]byte, value []byte) []core.Op {
	return []core.Op{
		{Key: core.Key{Table: core.TableMessage, A: conversation, N: seq}, Value: value},
		{Key: core.Key{Table: core.TableMessageID, A: conversation, B: string(hash[:])}, Value: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
	}
}

func randomValue(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	v := make([]byte, n)
	for i := range v {
		v[i] = byte('a' + r.IntN(16))
	}
	return v
}

// BenchmarkAppend measures durable messages on a real disk: each appender waits for
// the Done of its message before it sends the next.
func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 16, 256, 4096} {
		b.Run(fmt.Sprint(appenders), func(b *testing.B) {
			s := benchStore(b)
			value := randomValue(300)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime()
			for a := range appenders {
				wg.Go(func() {
					conversation := fmt.Sprintf("si_1000000%04d_2000000%04d", a, a)
					var hash [16]byte
					done := make(chan error, 1)
					batch := &core.Batch{Done: func(err error) { done <- err }}
					for seq := uint64(1); next.Add(1) <= int64(b.N); seq++ {
						hash[0], hash[1], hash[2], hash[3] = byte(seq), byte(seq>>8), byte(seq>>16), byte(a)
						batch.Ops = messageOps(conversation, seq, &hash, value)
						if err := s.Append(batch); err != nil {
							b.Error(err)
							return
						}
						if err := <-done; err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			st := s.Stats()
			b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			b.ReportMetric(float64(st.Batches)/float64(max(1, st.Commits)), "msgs/commit")
			b.ReportMetric(float64(st.SyncSum.Microseconds())/float64(max(1, st.Commits)), "µs/commit")
		})
	}
}

// fill commits n messages, spread over conversations of 1,000, in large batches.
func fill(b *testing.B, s *Store, n int) {
	b.Helper()
	value := randomValue(300)
	var hash [16]byte
	for i := 0; i < n; i += 500 {
		var ops []core.Op
		for j := i; j < i+500; j++ {
			numberHash(&hash, uint64(j))
			ops = append(ops, messageOps(conversationOf(j), uint64(j%1000+1), &hash, value)...)
		}
		if err := s.Append(&core.Batch{Ops: ops}); err != nil {
			b.Fatal(err)
		}
	}
	done := make(chan error, 1)
	if err := s.Append(&core.Batch{Done: func(err error) { done <- err }}); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func conversationOf(i int) string { return fmt.Sprintf("si_10000%05d_20000%05d", i/1000, i/1000) }

// numberHash makes a hash that looks random and is different for each i.
func numberHash(hash *[16]byte, i uint64) {
	r := rand.NewPCG(i, 1)
	binary.LittleEndian.PutUint64(hash[:], r.Uint64())
	binary.LittleEndian.PutUint64(hash[8:], i)
}

// BenchmarkRead measures, on 1M messages: the dedup look-up of a message that was
// not sent before and of one that was, and the newest message of a conversation.
func BenchmarkRead(b *testing.B) {
	const messages = 1_000_000
	s := benchStore(b)
	fill(b, s, messages)
	if err := s.db.Compact(b.Context(), []byte{0}, []byte{255}, true); err != nil {
		b.Fatal(err)
	}
	latest := s.Latest()
	waitReady(b, s)
	absent, present := idKeys(messages, messages), idKeys(0, messages)
	for range 2 { // one after the other, so that the machine's moods hit both
		b.Run("GetAbsent", func(b *testing.B) { benchGet(b, latest, absent, false) })
		s.filter.ready.Store(false)
		b.Run("GetAbsentUnfiltered", func(b *testing.B) { benchGet(b, latest, absent, false) })
		s.filter.ready.Store(true)
	}
	b.Run("GetPresent", func(b *testing.B) { benchGet(b, latest, present, true) })
	b.Run("Last", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			r := core.Range{Table: core.TableMessage, Fixed: 1, A: conversationOf(i * 7919 % messages), Reverse: true}
			seq := uint64(0)
			err := latest.Scan(r, func(k core.Key, _ []byte) bool { seq = k.N; return false })
			if err != nil || seq != 1000 {
				b.Fatal(seq, err)
			}
		}
	})
	b.Run("Page100", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			r := core.Range{Table: core.TableMessage, Fixed: 1, A: conversationOf(i * 7919 % messages), From: 801, To: 900}
			n := 0
			if err := latest.Scan(r, func(core.Key, []byte) bool { n++; return true }); err != nil || n != 100 {
				b.Fatal(n, err)
			}
		}
	})
	st := s.Stats()
	b.Logf("disk %d B per message, L0 %d files, %d flushes, %d compactions, filter hits %d misses %d",
		st.DiskBytes/messages, st.L0Files, st.Flushes, st.Compactions, st.FilterHits, st.FilterMisses)
}

// idKeys are keys of message IDs in the conversations of fill, in random order: from
// message `from` on.
func idKeys(from, messages int) []core.Key {
	keys := make([]core.Key, 1<<17)
	var hash [16]byte
	for i := range keys {
		n := i * 7919 % messages
		numberHash(&hash, uint64(from+n))
		keys[i] = core.Key{Table: core.TableMessageID, A: conversationOf(n), B: string(hash[:])}
	}
	return keys
}

func benchGet(b *testing.B, r core.Reader, keys []core.Key, there bool) {
	b.ReportAllocs()
	for i := range b.N {
		if v, err := r.Get(keys[i%len(keys)]); err != nil || (v != nil) != there {
			b.Fatal(v, err)
		}
	}
}

// BenchmarkFilter measures the filter without a store, and how long its scan takes
// after a start.
func BenchmarkFilter(b *testing.B) {
	b.Run("Add", func(b *testing.B) {
		f := newFilter(filterBytesFirst, filterBytesMax)
		for i := range b.N {
			f.add(uint64(i) * 0x9e3779b97f4a7c15)
		}
	})
	for _, keys := range []int{1_000_000, 5_000_000} {
		b.Run(fmt.Sprintf("Build%dM", keys/1_000_000), func(b *testing.B) { benchBuild(b, keys) })
	}
}

func benchBuild(b *testing.B, keys int) {
	dir := b.TempDir()
	var s *Store
	reopen := func() {
		var err error
		if s, err = Open(Options{Dir: dir, Logger: quiet()}); err != nil {
			b.Fatal(err)
		}
	}
	stop := func() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	reopen()
	fill(b, s, keys)
	stop()
	for b.Loop() {
		reopen()
		waitReady(b, s)
		st := s.Stats().MessageIDs
		if st.Keys != int64(keys) {
			b.Fatalf("%+v", st)
		}
		b.ReportMetric(float64(st.BuildTime.Milliseconds()), "ms/build")
		b.ReportMetric(float64(st.Bytes)/float64(keys), "B/key")
		start := time.Now()
		stop()
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/close")
	}
}

// BenchmarkView measures taking and releasing the committed view.
func BenchmarkView(b *testing.B) {
	s := benchStore(b)
	b.Run("Committed", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			s.Committed().Release()
		}
	})
	b.Run("Snapshot", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			s.newView().close()
		}
	})
}
