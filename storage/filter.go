package storage

import (
	"errors"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gannet/core"
)

// filter answers most look-ups of absent records without the database. It holds a
// superset of the keys of the tables with flag filtered: what it does not have is
// certainly in no view. It is a Bloom filter whose bits for one key are all in one
// line, so a look-up is one cache miss per segment.
//
// It lives in memory only. Open starts a scan that fills it (build); until that is
// done it knows nothing and every look-up goes to the database. Append adds the keys
// of a batch before the batch is queued.
//
// Reading and adding take no lock: segments only get more bits, and their list only
// gets longer.
type filter struct {
	// Immutable.
	seed  maphash.Seed  // so that nobody can make keys that meet in one line
	max   int           // lines of all segments
	built chan struct{} // closed when build ends

	// Atomic; read by each look-up.
	segments atomic.Pointer[[][]line] // the last one takes new keys
	ready    atomic.Bool              // filled; false again from Close on
	_        [64]byte                 // keeps the counters off the look-ups' cache line

	// Atomic; written by each add and by look-ups that go to the database.
	keys   atomic.Int64 // added, those of refused and failed batches included
	room   atomic.Int64 // keys to have before the next segment is made
	passed atomic.Uint64
	wrong  atomic.Uint64

	stop    atomic.Bool // the scan ends early
	took    atomic.Int64
	growing sync.Mutex // held while a segment is made; a leaf
}

// line is one cache line. A key has one bit in each of its words.
type line [8]atomic.Uint64

const (
	lineBytes = 64
	// keysPerLine makes 12 bits a key: a segment that holds its share gives 0.5 %
	// false positives.
	keysPerLine = 42
	// filterBytesFirst is the size of the first segment; each further one has twice
	// the size of the one before.
	filterBytesFirst = 1 << 20
	filterBytesMax   = 128 << 20 // default of Options.FilterBytes
)

// newFilter makes an empty filter of `first` bytes that grows up to limit bytes.
func newFilter(first, limit int64) *filter {
	f := &filter{seed: maphash.MakeSeed(), built: make(chan struct{}), max: int(max(1, limit/lineBytes))}
	lines := make([]line, max(1, min(int(first/lineBytes), f.max)))
	f.segments.Store(&[][]line{lines})
	f.room.Store(int64(len(lines)) * keysPerLine)
	return f
}

// add makes mayHave true for the key with hash h.
func (f *filter) add(h uint64) {
	segments := *f.segments.Load()
	l := lineOf(segments[len(segments)-1], h)
	g := spread(h)
	for i := range l {
		l[i].Or(1 << (g & 63))
		g >>= 6
	}
	if f.keys.Add(1) >= f.room.Load() {
		f.grow()
	}
}

// mayHave reports whether the key with hash h may have been added; false is certain.
func (f *filter) mayHave(h uint64) bool {
	g := spread(h)
	for _, lines := range *f.segments.Load() {
		if lineOf(lines, h).has(g) {
			return true
		}
	}
	return false
}

func (l *line) has(g uint64) bool {
	for i := range l {
		if l[i].Load()&(1<<(g&63)) == 0 {
			return false
		}
		g >>= 6
	}
	return true
}

// lineOf picks a line by the high bits of h.
func lineOf(lines []line, h uint64) *line {
	i, _ := bits.Mul64(h, uint64(len(lines)))
	return &lines[i]
}

// spread makes of h the 8 numbers of 6 bits that say which bit of each word is the
// key's. They depend on the low bits too, which lineOf does not use.
func spread(h uint64) uint64 { return h * 0x9e3779b97f4a7c15 >> 16 }

// grow adds a segment, or lets the last one take all further keys when the bound on
// memory is reached. Who finds another at it goes on with the present segments.
func (f *filter) grow() {
	if !f.growing.TryLock() {
		return
	}
	defer f.growing.Unlock()
	if f.keys.Load() < f.room.Load() {
		return
	}
	segments := *f.segments.Load()
	last := len(segments[len(segments)-1])
	next := min(2*last, f.max-f.lines())
	if next < last {
		f.room.Store(math.MaxInt64)
		return
	}
	longer := append(slices.Clip(segments), make([]line, next))
	f.segments.Store(&longer)
	f.room.Add(int64(next) * keysPerLine)
}

// lines is the size of all segments.
func (f *filter) lines() (n int) {
	for _, lines := range *f.segments.Load() {
		n += len(lines)
	}
	return n
}

// filterKeyBytes is room for the key of any look-up that core makes: two user IDs of
// 64 bytes and a hash. Longer keys cost an allocation.
const filterKeyBytes = 192

// hash is the filter's hash of k. REQUIRES: known(k.Table).
func (f *filter) hash(k *core.Key) uint64 {
	var buf [filterKeyBytes]byte
	return maphash.Bytes(f.seed, appendKey(buf[:0], k))
}

// excludes reports whether k is certainly in no view. REQUIRES: known(k.Table).
func (f *filter) excludes(k *core.Key) bool {
	return rows[k.Table].flags&filtered != 0 && f.ready.Load() && !f.mayHave(f.hash(k))
}

// judged counts a look-up of a filtered table that went to the database.
func (f *filter) judged(found bool) {
	f.passed.Add(1)
	if !found && f.ready.Load() {
		f.wrong.Add(1)
	}
}

// build fills the filter with the keys of v and releases v. Keys that came later
// than v are Append's to add. A scan that fails or is stopped leaves the filter
// unused.
func (s *Store) build(f *filter, v *view) {
	defer close(f.built)
	defer v.Release()
	start := time.Now()
	for i := range rows {
		if rows[i].flags&filtered == 0 {
			continue
		}
		if err := f.scan(v, []byte{rows[i].prefix}); err != nil {
			s.log.Error("filter of stored keys not built: look-ups stay slow", "table", rows[i].name, "error", err)
			return
		}
	}
	if f.stop.Load() {
		return
	}
	f.took.Store(int64(time.Since(start)))
	f.ready.Store(true)
}

// scan adds the keys of v that start with prefix.
func (f *filter) scan(v *view, prefix []byte) (err error) {
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: successor(prefix)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && !f.stop.Load(); ok = it.Next() {
		f.add(maphash.Bytes(f.seed, it.Key()))
	}
	return it.Error()
}

// end makes the filter unused and stops its scan.
func (f *filter) end() {
	f.stop.Store(true)
	f.ready.Store(false)
}

// FilterStats is the state of the filter of stored message IDs.
type FilterStats struct {
	Ready     bool          // filled; until then each look-up goes to the database
	BuildTime time.Duration // of the scan that filled it
	Keys      int64
	Bytes     int64
	// Excess is the number of keys beyond those that Bytes is meant for: each adds to
	// the false positives. FilterBytes bounds the filter too tightly when it grows.
	Excess int64
	Passed uint64 // look-ups that went to the database
	Wrong  uint64 // of these, since Ready: false positives
}

func (f *filter) stats() FilterStats {
	lines := int64(f.lines())
	keys := f.keys.Load()
	return FilterStats{
		Ready: f.ready.Load(), BuildTime: time.Duration(f.took.Load()),
		Keys: keys, Bytes: lines * lineBytes, Excess: max(0, keys-lines*keysPerLine),
		Passed: f.passed.Load(), Wrong: f.wrong.Load(),
	}
}
