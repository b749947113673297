package storage

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"gannet/core"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

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
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			b.ReportMetric(float64(st.Batches)/float64(max(1, st.Commits)), "msgs/commit")
			b.ReportMetric(float64(st.SyncSum.Microseconds())/float64(max(1, st.Commits)), "µs/commit")
		})
	}
}
