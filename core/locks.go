package core

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
)

// hashSeed spreads names over stripes, shards and epochs. It differs between
// processes; nothing derived from it is stored.
var hashSeed = maphash.MakeSeed()

func hashOf(s string) uint64 { return maphash.String(hashSeed, s) }

const stripeCount = 1024

// stripes serialise decisions about users and groups: whoever reads records of
// one to change them holds its stripe until the change is queued in the store.
// Lock order: stripes (ascending), then conversation shards (ascending), then
// the store's queue. Event loops never take them, because a holder may wait for
// the disk.
type stripes [stripeCount]sync.Mutex

// lock takes the stripes of all names and returns the function that releases them.
func (s *stripes) lock(names ...string) (unlock func()) {
	idx := make([]int, 0, len(names))
	for _, n := range names {
		idx = append(idx, int(hashOf(n)%stripeCount))
	}
	slices.Sort(idx)
	idx = slices.Compact(idx)
	for _, i := range idx {
		s[i].Lock()
	}
	return func() {
		for _, i := range idx {
			s[i].Unlock()
		}
	}
}

// epochs tell when cached facts about a user went stale: a writer bumps the
// user's epoch after queueing the change, a reader remembers the epoch it saw
// before reading the facts. Two users may share one; that only costs a reload.
type epochs [1 << 14]atomic.Uint32

func (e *epochs) of(user string) *atomic.Uint32 { return &e[hashOf(user)%uint64(len(e))] }

// gate bounds the bytes of messages that were decided but not yet handed to the
// sink. Everything behind it (the store's queue, the deliverers' queues) is
// bounded by it, so that no completion ever has to block.
type gate struct {
	mu   sync.Mutex
	cond sync.Cond
	// Guarded by mu.
	free int64
	max  int64
}

func (g *gate) init(limit int64) {
	g.free, g.max = limit, limit
	g.cond.L = &g.mu
}

// try takes n bytes if there is room. One message larger than the whole gate
// passes when the gate is empty.
func (g *gate) try(n int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free < n && g.free < g.max {
		return false
	}
	g.free -= n
	return true
}

// wait returns when there is any room.
func (g *gate) wait() {
	g.mu.Lock()
	for g.free <= 0 {
		g.cond.Wait()
	}
	g.mu.Unlock()
}

// force takes n bytes even when they are not free, for changes whose size is
// known only after waiting; each caller overdraws by one change at most.
func (g *gate) force(n int64) {
	g.mu.Lock()
	g.free -= n
	g.mu.Unlock()
}

func (g *gate) give(n int64) {
	g.mu.Lock()
	g.free += n
	g.mu.Unlock()
	g.cond.Broadcast()
}
