package storage

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gannet/core"
)

// hashes yields n different hashes as random as those of real keys.
func hashes(seed uint64, n int) func(func(uint64) bool) {
	r := rand.New(rand.NewPCG(seed, 11))
	return func(yield func(uint64) bool) {
		for range n {
			if !yield(r.Uint64()) {
				return
			}
		}
	}
}

// rates adds keys to f and returns how many of them it lost and which part of others
// it wrongly has.
func rates(f *filter, keys int) (lost int, wrong float64) {
	for h := range hashes(1, keys) {
		f.add(h)
	}
	for h := range hashes(1, keys) {
		if !f.mayHave(h) {
			lost++
		}
	}
	const others = 200_000
	n := 0
	for h := range hashes(2, others) {
		if f.mayHave(h) {
			n++
		}
	}
	return lost, float64(n) / others
}

// TestFilterRates checks that a filter has each key it was given, and what part of
// other keys: as it grows, and beyond its bound.
func TestFilterRates(t *testing.T) {
	const share = 16384 / lineBytes * keysPerLine // of a segment of 16 KiB
	for _, c := range []struct {
		what     string
		limit    int64
		keys     int
		bytes    int64
		excess   int64
		min, max float64
	}{
		{"empty", 1 << 20, 0, 16384, 0, 0, 0},
		{"full segment", 1 << 20, share - 1, 16384, 0, 0.003, 0.007},
		{"grown", 1 << 20, 7*share - 1, 7 * 16384, 0, 0.009, 0.021},
		{"odd bound", 6 * 16384, 6*share - 1, 6 * 16384, 0, 0.009, 0.021},
		{"rest too small for a segment", 4 * 16384, 3 * share, 3 * 16384, 0, 0.006, 0.014},
		{"twice too many", 16384, 2 * share, 16384, share, 0.05, 0.15},
		{"far too many", 16384, 10 * share, 16384, 9 * share, 0.9, 1},
		{"bound below the first segment", 1000, 100, 15 * lineBytes, 0, 0, 0.001},
		{"bound below a line", 1, 10 * keysPerLine, lineBytes, 9 * keysPerLine, 0.9, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := newFilter(16384, c.limit)
			lost, wrong := rates(f, c.keys)
			if lost != 0 || wrong < c.min || wrong > c.max {
				t.Errorf("%d keys lost, %.4f of others found, want %.4f to %.4f", lost, wrong, c.min, c.max)
			}
			if st := f.stats(); st.Keys != int64(c.keys) || st.Bytes != c.bytes || st.Excess != c.excess {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestFilterAddsMeet adds from several goroutines while the filter grows.
func TestFilterAddsMeet(t *testing.T) {
	f := newFilter(lineBytes, 1<<20)
	const adders, each = 4, 20_000
	var wg sync.WaitGroup
	for a := range uint64(adders) {
		wg.Go(func() {
			for h := range hashes(a, each) {
				f.add(h)
				if !f.mayHave(h) {
					t.Errorf("%x was added and is not there", h)
					return
				}
			}
		})
	}
	wg.Wait()
	for a := range uint64(adders) {
		for h := range hashes(a, each) {
			if !f.mayHave(h) {
				t.Fatalf("%x is lost", h)
			}
		}
	}
	if st := f.stats(); st.Keys != adders*each || st.Excess != 0 {
		t.Errorf("%+v", st)
	}
}

func idKey(i uint64) core.Key {
	var hash [16]byte
	numberHash(&hash, i)
	return core.Key{Table: core.TableMessageID, A: fmt.Sprintf("si_%d_\x00b", i%7), B: string(hash[:])}
}

func idOp(i uint64) core.Op {
	return core.Op{Key: idKey(i), Value: binary.BigEndian.AppendUint64(nil, i)}
}

// checkID reports what is wrong with r's answer about message i, of which it must
// have a record or not.
func checkID(r core.Reader, i uint64, there bool) error {
	v, err := r.Get(idKey(i))
	if err != nil || there != (v != nil) || there && binary.BigEndian.Uint64(v) != i {
		return fmt.Errorf("message ID %d: got %x, %v; there: %v", i, v, err, there)
	}
	return nil
}

func checkIDs(t *testing.T, r core.Reader, from, to uint64, there bool) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := checkID(r, i, there); err != nil {
			t.Fatal(err)
		}
	}
}

func waitReady(tb testing.TB, s *Store) {
	tb.Helper()
	<-s.FilterBuilt()
	if st := s.Stats().MessageIDs; !st.Ready {
		tb.Fatalf("the filter was not built: %+v", st)
	}
}

// unfilter gives s, which nobody else uses and whose own scan has ended, a filter as
// at the start of Open, and returns what is left to be done.
func unfilter(s *Store, limit int64) (build func()) {
	f, v := newFilter(lineBytes, limit), s.Committed().(*view)
	s.filter = f
	return func() { s.build(f, v) }
}

// TestFilterBeforeBuild looks up while the filter knows only what was appended since
// the start, and then with a scan that was stopped half-way.
func TestFilterBeforeBuild(t *testing.T) {
	s := openMem(t)
	var ops []core.Op
	for i := range uint64(1000) {
		ops = append(ops, idOp(i))
	}
	appendWait(t, s, ops...)
	waitReady(t, s)
	build := unfilter(s, 1<<20)
	appendWait(t, s, idOp(1000))
	check := func() {
		t.Helper()
		checkIDs(t, s.Latest(), 0, 1001, true)
		checkIDs(t, s.Latest(), 1001, 2000, false)
		v := s.Committed()
		defer v.Release()
		checkIDs(t, v, 0, 1001, true)
		checkIDs(t, v, 1001, 2000, false)
	}
	check()
	if st := s.Stats().MessageIDs; st.Ready || st.Keys != 1 || st.Passed != 4000 || st.Wrong != 0 {
		t.Errorf("before the scan: %+v", st)
	}
	s.filter.stop.Store(true)
	build()
	check()
	if st := s.Stats().MessageIDs; st.Ready || st.Keys != 1 {
		t.Errorf("after a stopped scan: %+v", st)
	}

	build = unfilter(s, 1<<20)
	build()
	check()
	st := s.Stats().MessageIDs
	if !st.Ready || st.Keys != 1001 || st.Passed < 2002 || st.Passed > 2102 || st.Wrong != st.Passed-2002 {
		t.Errorf("after the scan: %+v", st)
	}
}

// TestFilterConcurrent appends and looks up while the filter is built, with room for
// all keys and with too little: no answer may be wrong at any moment, nor after a
// reopen.
func TestFilterConcurrent(t *testing.T) {
	for seed, limit := range []int64{1 << 20, 4096, 512} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) { testFilterConcurrent(t, uint64(seed), limit) })
	}
}

func testFilterConcurrent(t *testing.T, seed uint64, limit int64) {
	const stored, appenders, each, absent = 4000, 3, 300, 1 << 40
	fs := vfs.NewMem()
	s := openOn(t, fs)
	for i := uint64(0); i < stored; i += 1000 {
		var ops []core.Op
		for j := range uint64(1000) {
			ops = append(ops, idOp(i+j))
		}
		appendWait(t, s, ops...)
	}
	waitReady(t, s)
	build := unfilter(s, limit)
	var wg sync.WaitGroup
	var writing atomic.Int32
	for a := range uint64(appenders) {
		writing.Add(1)
		wg.Go(func() {
			defer writing.Add(-1)
			r := rand.New(rand.NewPCG(seed, a))
			first := uint64(stored) + a*each
			done := make(chan error, 1)
			for i := first; i < first+each; i++ {
				err := checkID(s.Latest(), i, false)
				if err == nil {
					err = s.Append(&core.Batch{Ops: []core.Op{idOp(i)}, Done: func(err error) { done <- err }})
				}
				if err == nil {
					err = <-done
				}
				if err == nil {
					err = checkID(s.Latest(), i, true)
				}
				if err == nil {
					err = checkID(s.Latest(), first+r.Uint64N(i-first+1), true)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		r := rand.New(rand.NewPCG(seed, 99))
		for writing.Load() > 0 {
			v := s.Committed()
			for range 20 {
				if err := checkID(v, r.Uint64N(stored), true); err != nil {
					t.Error(err)
				}
				if err := checkID(v, absent+r.Uint64N(stored), false); err != nil {
					t.Error(err)
				}
			}
			v.Release()
		}
	})
	wg.Go(build)
	wg.Wait()
	const all = stored + appenders*each
	if st := s.Stats().MessageIDs; !st.Ready || st.Keys != all {
		t.Errorf("built: %+v", st)
	}
	checkIDs(t, s.Latest(), 0, all, true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openOn(t, fs)
	checkIDs(t, s.Latest(), 0, all, true)
	waitReady(t, s)
	if st := s.Stats().MessageIDs; st.Keys != all {
		t.Errorf("reopened: %+v", st)
	}
	checkIDs(t, s.Latest(), 0, all, true)
	checkIDs(t, s.Latest(), all, all+500, false)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats().MessageIDs; st.Ready {
		t.Error("the filter still answers after Close")
	}
}

// TestFilterOldView: a view finds records that were deleted after it was taken.
func TestFilterOldView(t *testing.T) {
	s := openMem(t)
	appendWait(t, s, idOp(1))
	waitReady(t, s)
	build := unfilter(s, 1<<20)
	old := s.Committed()
	defer old.Release()
	appendWait(t, s, core.Op{Key: idKey(1)})
	build()
	checkIDs(t, old, 1, 2, true)
	checkIDs(t, s.Latest(), 1, 2, false)
}

// TestFilterLookUpAllocates nothing when the filter answers.
func TestFilterLookUpAllocates(t *testing.T) {
	s := openMem(t)
	waitReady(t, s)
	k, latest := idKey(1), s.Latest()
	k.A = "si_" + string(make([]byte, 64)) // escaped: twice as long in the key
	allocs := testing.AllocsPerRun(1000, func() {
		if v, err := latest.Get(k); v != nil || err != nil {
			t.Fatal(v, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
