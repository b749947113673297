package storage

import (
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// giveWayAfter is how long a flush or compaction runs before it lets others run.
// Go's scheduler takes a processor away from who does not ask to after 10 ms, and a
// message needs one at each of its hops: where all processors are busy that is
// the tail of its latency.
const giveWayAfter = time.Millisecond

// giveWay lets the goroutine that writes a table give its processor to others now
// and then. Pebble has no place for that, but it calls a collector of block
// properties after each data block, on that goroutine. The property is empty.
type giveWay struct{ since time.Time }

func newGiveWay() pebble.BlockPropertyCollector { return &giveWay{since: time.Now()} }

func (*giveWay) Name() string { return "gannet.giveWay" }

// FinishDataBlock is called every 4 KiB.
func (g *giveWay) FinishDataBlock(buf []byte) ([]byte, error) {
	if time.Since(g.since) >= giveWayAfter {
		runtime.Gosched()
		g.since = time.Now()
	}
	return buf, nil
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
