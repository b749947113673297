package storage

import (
	"fmt"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"gannet/core"
)

// write is a queued value; nil is a queued delete.
type write struct{ value []byte }

// group is the batches that one sync makes durable. While it is open, appenders
// fill it under Store.mu; once taken, its batch and dones belong to the committer,
// and its writes may still be read under Store.mu.
type group struct {
	batch    *pebble.Batch
	dones    []func(error) // one per appended batch, in order; entries may be nil
	ops      int
	writes   map[core.Key]write // the newest queued write of each tracked record
	perTable [len(rows)]int     // entries of writes, so that scans skip the rest
}

// overlayKeep is the number of overlay entries a reused group may keep room for:
// clearing a map costs what it once held.
const overlayKeep = 4096

func newGroup(db *pebble.DB) *group {
	return &group{
		batch:  db.NewBatchWithSize(64<<10, pebble.WithMaxRetainedSizeBytes(2*groupBytesMax)),
		writes: make(map[core.Key]write),
	}
}

// full reports whether the next batch has to wait, whatever its size: if only small
// ones still got in, a large one could wait for ever.
func (g *group) full() bool {
	return len(g.dones) >= groupBatchesMax || g.batch.Len() >= groupBytesMax
}

// crowded reports whether g is half full.
func (g *group) crowded() bool {
	return len(g.dones) >= groupBatchesMax/2 || g.batch.Len() >= groupBytesMax/2
}

// add appends b. It returns scratch, grown if need be.
func (g *group) add(b *core.Batch, scratch []byte) ([]byte, error) {
	for i := range b.Ops {
		op := &b.Ops[i]
		k := op.Key
		strip(&k)
		scratch = appendKey(scratch[:0], &k)
		var err error
		switch {
		case op.To != 0:
			start := len(scratch)
			k.N = op.To
			scratch = appendKey(scratch, &k)
			err = g.batch.DeleteRange(scratch[:start], scratch[start:], nil)
		case op.Value == nil:
			err = g.batch.Delete(scratch, nil)
		default:
			err = g.batch.Set(scratch, op.Value, nil)
		}
		if err != nil {
			return scratch, err
		}
		if op.To == 0 && rows[k.Table].flags&untracked == 0 {
			g.show(k, op.Value)
		}
	}
	g.ops += len(b.Ops)
	g.dones = append(g.dones, b.Done)
	return scratch, nil
}

// show makes a queued write visible to Latest.
func (g *group) show(k core.Key, value []byte) {
	n := len(g.writes)
	g.writes[k] = write{value}
	g.perTable[k.Table] += len(g.writes) - n
}

// hide empties the overlay.
func (g *group) hide() {
	if len(g.writes) > overlayKeep {
		g.writes = make(map[core.Key]write)
	} else {
		clear(g.writes)
	}
	clear(g.perTable[:])
}

// run is the committer. It takes everything that waits, commits it with one sync,
// publishes the new view, completes the batches in order, and looks again; while it
// syncs, the next group fills. There is no timer: the disk's pace makes the groups.
//
// A failed commit stops the store for good. Pebble's log cannot be written after an
// error, and after a failed fsync nobody knows what is on disk until it is read
// again at the next start.
func (s *Store) run() {
	for {
		// Let appenders that the last group's Dones woke add to this one: without it
		// 16 appenders that wait for their Dones make commits of 8, and of 1 when other
		// goroutines keep all cores busy.
		runtime.Gosched()
		g := s.take()
		if g == nil {
			return
		}
		start := time.Now()
		if err := s.apply(g.batch); err != nil {
			s.stop(err)
			return
		}
		if !s.complete(g, time.Since(start)) {
			return
		}
	}
}

// take waits for the open group to hold something and puts the spare in its place.
// It returns nil when the store is to end.
func (s *Store) take() *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && !s.closing && len(s.open.dones) == 0 {
		s.work.Wait()
	}
	if s.err != nil {
		return nil
	}
	if len(s.open.dones) == 0 {
		s.endOnce.Do(func() { close(s.done) })
		return nil
	}
	s.committing, s.open, s.spare = s.open, s.spare, nil
	s.crowded.Store(false)
	s.room.Broadcast()
	return s.committing
}

// apply writes and syncs b. Pebble panics when its log fails in the middle of a
// batch, and ends the goroutine (through Fatalf, see engine.go) when the sync fails.
func (s *Store) apply(b *pebble.Batch) (err error) {
	if b.Empty() {
		return nil
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("pebble: %v", cause)
			if e, ok := cause.(error); ok {
				err = fmt.Errorf("pebble: %w", e)
			}
		}
	}()
	return s.db.Apply(b, pebble.Sync)
}

// complete publishes g, which is synced, calls its Done functions and makes it the
// spare. It reports false, having done nothing, if the store has stopped meanwhile:
// then fail takes care of g.
func (s *Store) complete(g *group, took time.Duration) bool {
	s.completing.Lock()
	defer s.completing.Unlock()
	if !s.publish(g, took) {
		return false
	}
	for i, done := range g.dones {
		g.dones[i] = nil
		if done != nil {
			done(nil)
		}
	}
	g.dones, g.ops = g.dones[:0], 0
	g.batch.Reset()
	s.mu.Lock()
	s.spare = g
	s.mu.Unlock()
	return true
}

// publish shows g to readers: as the new committed view, and no more as queued
// writes.
func (s *Store) publish(g *group, took time.Duration) bool {
	next := s.newView()
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		next.close()
		return false
	}
	last := s.current
	s.current = next
	s.views++
	s.counts.committed(g, took)
	g.hide()
	s.committing = nil
	s.mu.Unlock()
	last.Release()
	return true
}

// stop makes err the reason why the store takes nothing more. Any goroutine may call
// it, one that holds Pebble's locks too.
func (s *Store) stop(err error) {
	err = fmt.Errorf("storage stopped: %w", err)
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
		close(s.failed)
		s.work.Signal()
		s.room.Broadcast()
	}
	s.mu.Unlock()
	if first {
		go s.fail(err)
	}
}

// fail completes everything that waits with the error that stopped the store. It has
// a goroutine of its own because the committer may be stuck in Pebble for ever, in a
// commit held back until a flush succeeds, and because whoever called stop may hold
// Pebble's locks. A batch it fails may still be found on disk at the next start.
func (s *Store) fail(err error) {
	s.log.Error("store stopped", "error", err)
	s.completing.Lock()
	s.mu.Lock()
	waiting := [2]*group{s.committing, s.open}
	s.mu.Unlock()
	for _, g := range waiting {
		if g == nil {
			continue
		}
		for _, done := range g.dones {
			if done != nil {
				done(err)
			}
		}
	}
	s.completing.Unlock()
	s.endOnce.Do(func() { close(s.done) })
	if s.onFatal != nil {
		s.onFatal(err)
	}
}
