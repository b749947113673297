package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// openEngine locks the folder and opens Pebble in it.
func (s *Store) openEngine(o *Options) error {
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("create data folder %s: %w", o.Dir, err)
	}
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lock data folder %s: %w", o.Dir, err)
	}
	if err != nil {
		return fmt.Errorf("data folder %s is in use by another gannet process: %w", o.Dir, err)
	}
	options := engineOptions(o)
	s.memTableBytes = options.MemTableSize
	options.FS = logFS{o.FS, s}
	options.Lock = lock
	options.Logger = engineLogger{s}
	options.EventListener = s.listener()
	options.BlockPropertyCollectors = []func() pebble.BlockPropertyCollector{s.newGiveWay}
	db, err := pebble.Open(o.Dir, options)
	if err != nil {
		return errors.Join(fmt.Errorf("open data folder %s: %w", o.Dir, err), lock.Close())
	}
	s.db, s.lock = db, lock
	return nil
}

func (s *Store) closeEngine() error {
	return errors.Join(s.db.Close(), s.lock.Close())
}

// engineOptions are Pebble's settings. Figures are in docs/storage.md.
func engineOptions(o *Options) *pebble.Options {
	p := &pebble.Options{
		CacheSize: cmp.Or(o.CacheBytes, 256<<20),
		// Pinned, so that a newer Pebble library alone does not change the files.
		FormatMajorVersion: pebble.FormatValueSeparation,
		MemTableSize:       cmp.Or(o.memTableBytes, 64<<20),
		// Up to 4 memtables may wait for their flush before commits stall.
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		// A commit stalls when a read would have to look at so many layers of L0.
		L0StopWritesThreshold: 32,
		CompactionConcurrencyRange: func() (lower, upper int) {
			return 1, max(2, runtime.GOMAXPROCS(0)/2)
		},
		LBaseMaxBytes: 256 << 20,
		BytesPerSync:  1 << 20,
	}
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return p
}

// listener turns Pebble's events into the store's error rule, counters and log.
func (s *Store) listener() *pebble.EventListener {
	return &pebble.EventListener{
		// A flush or compaction that failed. Pebble would try again without end.
		BackgroundError: func(err error) {
			if s.running.Load() {
				s.stop(fmt.Errorf("pebble in the background: %w", err))
			}
		},
		// The reader gets the error too.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.corrupt.Add(1)
			s.log.Error("data corruption", "info", info.String())
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			s.stalls.Add(1)
			s.log.Warn("writes stalled", "reason", info.Reason)
		},
		WriteStallEnd: func() { s.log.Info("writes resumed") },
		WALCreated:    s.walCreated,
	}
}

// engineLogger is Pebble's log.
type engineLogger struct{ s *Store }

func (l engineLogger) Infof(format string, args ...any)  { l.debug(format, args) }
func (l engineLogger) Errorf(format string, args ...any) { l.debug(format, args) }

func (l engineLogger) debug(format string, args []any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

// Fatalf is called when the log could not be synced (on the committer's goroutine,
// from Apply) or the manifest could not be written (on one of Pebble's). Pebble
// expects that it does not return: Apply would report success, and the manifest
// would be written again behind its broken tail. So it stops the store and ends the
// goroutine, whose deferred calls release Pebble's locks. During Open it returns,
// since Open then fails with the same error.
func (l engineLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if !l.s.running.Load() {
		l.s.log.Error("pebble", "error", err)
		return
	}
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			err = fmt.Errorf("pebble: fatal: %w", cause)
		}
	}
	l.s.stop(err)
	runtime.Goexit()
}
