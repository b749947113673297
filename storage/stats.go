package storage

import (
	"math/bits"
	"time"
)

// syncBuckets is the number of buckets of Stats.SyncTimes.
const syncBuckets = 20

// counts are the counters kept under Store.mu.
type counts struct {
	Commits     uint64 // synced groups
	Batches     uint64 // committed batches
	Ops         uint64 // committed writes
	Bytes       uint64 // encoded bytes committed, as written to the log
	AppendWaits uint64 // times an Append found the queue full

	SyncSum, SyncLast, SyncMax time.Duration // write and sync of a group
	// SyncTimes counts commits by duration: entry i those below 32 µs << i, the last
	// one all longer ones.
	SyncTimes [syncBuckets]uint64
}

// committed counts one synced group.
func (c *counts) committed(g *group, took time.Duration) {
	c.Commits++
	c.Batches += uint64(len(g.dones))
	c.Ops += uint64(g.ops)
	c.Bytes += uint64(g.batch.Len())
	c.SyncSum += took
	c.SyncLast = took
	c.SyncMax = max(c.SyncMax, took)
	c.SyncTimes[min(bits.Len64(uint64(took.Microseconds())>>5), syncBuckets-1)]++
}

// Stats is what the store has done and holds now.
type Stats struct {
	counts

	QueueBatches, QueueBytes int // open group
	Overlay                  int // queued writes that Latest shows
	Views                    int // snapshots open, the current one included

	MessageIDs FilterStats

	Stalls      uint64 // times Pebble held back writes
	Corruptions uint64 // reads that found corrupt data

	Compactions, Flushes int64
	CompactionDebt       uint64 // bytes
	MemTableBytes        uint64
	L0Files, L0Sublevels int64
	WALBytes             uint64
	DiskBytes            uint64
	CacheBytes           int64
	CacheHits, CacheMisses,
	FilterHits, FilterMisses int64
}

// Stats returns the counters. It costs some microseconds; not for a hot path.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	out := Stats{
		counts: s.counts, Views: s.views, MessageIDs: s.filter.stats(),
		QueueBatches: len(s.open.dones), QueueBytes: s.open.batch.Len(), Overlay: len(s.open.writes),
		Stalls: s.stalls.Load(), Corruptions: s.corrupt.Load(),
	}
	if s.committing != nil {
		out.Overlay += len(s.committing.writes)
	}
	v := s.current
	if v != nil {
		v.refs.Add(1) // keeps the database open
	}
	s.mu.Unlock()
	if v == nil {
		return out
	}
	defer v.Release()
	m := s.db.Metrics()
	out.Compactions, out.Flushes = m.Compact.Count, m.Flush.Count
	out.CompactionDebt = m.Compact.EstimatedDebt
	out.MemTableBytes = m.MemTable.Size
	out.L0Files, out.L0Sublevels = m.Levels[0].TablesCount, int64(m.Levels[0].Sublevels)
	out.WALBytes = m.WAL.Size
	out.DiskBytes = m.DiskSpaceUsage()
	out.CacheBytes = m.BlockCache.Size
	out.CacheHits, out.CacheMisses = m.BlockCache.Hits, m.BlockCache.Misses
	out.FilterHits, out.FilterMisses = m.Filter.Hits, m.Filter.Misses
	return out
}
