package storage

import (
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

const (
	// giveWayAfter is how long a flush or compaction runs before it lets others run.
	// Go's scheduler takes a processor away from who does not ask to after 10 ms, and a
	// message needs one at each of its hops: where all processors are busy that is
	// the tail of its latency.
	giveWayAfter = time.Millisecond
	// giveWayBehind holds from memTablesBehind memtables' bytes on, the one that takes
	// writes included, or layersBehind layers of L0: commits that stall for them
	// (engineOptions) would be worse.
	giveWayBehind = 4 * time.Millisecond

	memTablesBehind = 3
	layersBehind    = 8
	behindEvery     = 20 * time.Millisecond // between two looks at these
)

// giveWay lets the goroutine that writes a table give its processor to others now
// and then. Pebble has no place for that, but it calls a collector of block
// properties after each data block, on that goroutine. The property is empty.
type giveWay struct {
	s     *Store
	since time.Time
}

func (s *Store) newGiveWay() pebble.BlockPropertyCollector {
	return &giveWay{s: s, since: time.Now()}
}

func (*giveWay) Name() string { return "gannet.giveWay" }

// FinishDataBlock is called every 4 KiB.
func (g *giveWay) FinishDataBlock(buf []byte) ([]byte, error) {
	now := time.Now()
	ran := now.Sub(g.since)
	if ran < giveWayAfter || ran < giveWayBehind && g.s.isBehind(now) {
		return buf, nil
	}
	runtime.Gosched()
	g.since = time.Now()
	return buf, nil
}

// isBehind reports whether flushes and compactions must hurry, as of the last look
// at Pebble's own figures.
func (s *Store) isBehind(now time.Time) bool {
	last := s.behindLook.Load()
	if !s.running.Load() || now.UnixNano()-last < int64(behindEvery) || !s.behindLook.CompareAndSwap(last, now.UnixNano()) {
		return s.behind.Load()
	}
	m := s.db.Metrics()
	s.behind.Store(m.MemTable.Size >= memTablesBehind*s.memTableBytes || m.Levels[0].Sublevels >= layersBehind)
	return s.behind.Load()
}

func (*giveWay) AddPointKey(pebble.InternalKey, []byte) error { return nil }
func (*giveWay) AddRangeKeys(sstable.Span) error              { return nil }
func (*giveWay) AddPrevDataBlockToIndexBlock()                {}

func (*giveWay) FinishIndexBlock(buf []byte) ([]byte, error) { return buf, nil }
func (*giveWay) FinishTable(buf []byte) ([]byte, error)      { return buf, nil }

func (*giveWay) SupportsSuffixReplacement() bool { return true }
func (*giveWay) AddCollectedWithSuffixReplacement(_ []byte, _, _ []byte) error {
	return nil
}
