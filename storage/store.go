package storage

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"gannet/core"
)

// ErrClosed is returned by everything that needs a store after its Close.
var ErrClosed = errors.New("storage: store is closed")

// Options of Open.
type Options struct {
	// Dir is the data folder; it is created if missing.
	Dir string
	// CacheBytes bounds Pebble's block cache, which also accounts for memtables.
	// 0 means 256 MiB.
	CacheBytes int64
	// FilterBytes bounds the memory of the filter that answers look-ups of messages
	// not sent before: 1.5 to 3 bytes per stored message. 0 means 128 MiB, enough for
	// 87 million messages. With more of them ever fewer look-ups are spared.
	FilterBytes int64
	// Logger gets what an operator must know; nil means slog.Default(). Pebble's own
	// log goes there at level debug.
	Logger *slog.Logger
	// OnFatal is called once, on a goroutine of its own, with the error that stopped
	// the store. The process should then end: restart from disk is the way back.
	OnFatal func(error)
	// FS is the file system; nil means the machine's. For tests.
	FS vfs.FS

	memTableBytes uint64 // tests make it small, to have flushes; 0 means 64 MiB
}

// The queue: the open group takes batches until one of these is reached, and
// Append waits while it is. Larger groups bring no more throughput, only latency.
const (
	groupBytesMax   = 4 << 20 // encoded; the batch that reaches it may go beyond
	groupBatchesMax = 8192
)

const (
	// closeWait bounds how long Close waits for readers to release their views.
	closeWait = 5 * time.Second
	// flushWait bounds how long it waits for memtables to become tables.
	flushWait = 20 * time.Second
	// CloseWait bounds what Close waits for once the queue has drained.
	CloseWait = closeWait + flushWait
)

// Store implements core.Store.
type Store struct {
	// Immutable after Open.
	db        *pebble.DB
	lock      *pebble.Lock
	log       *slog.Logger
	onFatal   func(error)
	id        string
	filter    *filter
	done      chan struct{} // closed when nothing waits any more and nothing will
	failed    chan struct{} // closed when err is set
	idle      chan struct{} // closed when the last view is gone
	closeWait time.Duration

	memTableBytes uint64

	// Atomic.
	running atomic.Bool // from the end of Open to the end of Close: failures count
	stalls  atomic.Uint64
	corrupt atomic.Uint64
	crowded atomic.Bool // written under mu: open.crowded()

	behind     atomic.Bool  // isBehind, as of behindLook
	behindLook atomic.Int64 // UnixNano

	// completing is held while Done functions are called, by the committer or by
	// fail. Whoever holds it may take mu.
	completing sync.Mutex

	endOnce   sync.Once // closes done
	closeOnce sync.Once
	closeErr  error

	// mu guards what follows.
	mu         sync.Mutex
	work       sync.Cond // the committer waits: open got a batch, or closing, or err
	room       sync.Cond // appenders wait: open was taken, or closing, or err
	open       *group    // takes batches
	committing *group    // being synced; nil between commits
	spare      *group    // empty; becomes open when open is taken
	current    *view     // what is committed; nil after Close
	views      int       // views not yet closed, current included
	err        error     // why the store stopped; set once
	closing    bool
	scratch    []byte // Append encodes keys here
	counts     counts
}

var _ core.Store = (*Store)(nil)

// Open opens the store in o.Dir and creates it if the folder is empty. It refuses a
// folder in use by another process and a store written by a newer gannet.
func Open(o Options) (*Store, error) { return open(o, format, upgrades) }

func open(o Options, format int, steps map[int]upgrade) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Store{
		log: o.Logger, onFatal: o.OnFatal, closeWait: closeWait,
		done: make(chan struct{}), failed: make(chan struct{}), idle: make(chan struct{}),
	}
	s.work.L, s.room.L = &s.mu, &s.mu
	if err := s.openEngine(&o); err != nil {
		return nil, err
	}
	id, err := prepare(s.db, format, steps)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open data folder %s: %w", o.Dir, err), s.closeEngine())
	}
	s.id = id
	s.open, s.spare = newGroup(s.db), newGroup(s.db)
	s.filter = newFilter(filterBytesFirst, cmp.Or(o.FilterBytes, filterBytesMax))
	s.current, s.views = s.newView(), 1
	s.current.refs.Add(1) // build's
	s.running.Store(true)
	go s.build(s.filter, s.current)
	go s.run()
	return s, nil
}

// ID implements core.Store.
func (s *Store) ID() string { return s.id }

// Append implements core.Store. While it waits for room it needs nothing but the
// committer, which needs nothing but the disk and the Done functions: so the caller
// may hold any lock that no Done takes.
func (s *Store) Append(b *core.Batch) error {
	for i := range b.Ops {
		op := &b.Ops[i]
		if !known(op.Key.Table) {
			return errBadTable
		}
		if op.To != 0 && (op.Value != nil || rows[op.Key.Table].fields&fieldN == 0) {
			return errBadRange
		}
		if rows[op.Key.Table].flags&filtered != 0 && op.Value != nil {
			s.filter.add(s.filter.hash(&op.Key))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && !s.closing && !b.Now && s.open.full() {
		s.counts.AppendWaits++
		s.room.Wait()
	}
	if s.err != nil {
		return s.err
	}
	if s.closing {
		return ErrClosed
	}
	if len(s.open.dones) == 0 {
		s.work.Signal()
	}
	var err error
	s.scratch, err = s.open.add(b, s.scratch)
	if s.open.crowded() && !s.crowded.Load() {
		s.crowded.Store(true)
	}
	return err
}

// Crowded implements core.Store.
func (s *Store) Crowded() bool { return s.crowded.Load() }

// Absent implements core.Store.
func (s *Store) Absent(k core.Key) bool { return known(k.Table) && s.filter.excludes(&k) }

// FilterBuilt returns a channel that is closed when the filter of stored message IDs
// has read what was stored before the start, or has given up; Stats tells which.
func (s *Store) FilterBuilt() <-chan struct{} { return s.filter.built }

// Close lets the queue drain (each batch appended gets its Done), waits a short
// while for views to be released, then closes the files. If an error has stopped the
// store it returns that, and leaves the files, locked, to the end of the process:
// Pebble may be stuck or hold its locks for ever.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.mu.Lock()
	s.closing = true
	s.work.Signal()
	s.room.Broadcast()
	s.mu.Unlock()
	s.filter.end()
	<-s.done

	s.mu.Lock()
	last, failure := s.current, s.err
	s.current = nil
	s.mu.Unlock()
	last.Release()
	wait := time.NewTimer(s.closeWait)
	defer wait.Stop()
	select {
	case <-s.idle:
	case <-wait.C:
		s.mu.Lock()
		defer s.mu.Unlock()
		return errors.Join(failure, fmt.Errorf("storage: close: %d views were not released", s.views))
	}
	if failure != nil {
		return failure
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.running.Store(false)
	return s.closeEngine()
}

// flush makes tables of what only the logs hold, so that the next start has nothing
// to replay: up to 200 MiB, some seconds' work there. What is not ready in time, or
// not at all, stays in the logs.
func (s *Store) flush() error {
	done, err := s.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("storage: close: flush: %w", err)
	}
	wait := time.NewTimer(flushWait)
	defer wait.Stop()
	select {
	case <-done:
	case <-s.failed:
	case <-wait.C:
		s.log.Warn("close: memtables not flushed in time; the next start replays the logs")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
