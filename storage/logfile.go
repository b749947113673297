package storage

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// When a memtable is full, Pebble closes its write-ahead log and creates the next
// one, on the committer's goroutine inside Apply. If either fails it panics, and the
// panic unlocks a mutex twice, which ends the process without a word. This file
// catches both failures before Pebble sees them.

// abandon stops the store from inside Apply and never returns.
func (s *Store) abandon(err error) {
	s.stop(err)
	select {}
}

// walCreated is told about each new log.
func (s *Store) walCreated(info pebble.WALCreateInfo) {
	if info.Err != nil && s.running.Load() {
		s.abandon(fmt.Errorf("create write-ahead log: %w", info.Err))
	}
}

// logFS gives Pebble logFiles for its logs.
type logFS struct {
	vfs.FS
	s *Store
}

// Create implements vfs.FS.
func (l logFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, c)
	return l.wrap(f, name, 0, err)
}

// ReuseForWrite implements vfs.FS.
func (l logFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(old, name, c)
	if err != nil {
		return nil, err
	}
	var size int64
	if info, err := f.Stat(); err == nil {
		size = info.Size()
	}
	return l.wrap(f, name, size, nil)
}

// wrap makes a logFile of f, of size bytes, if it is a log.
func (l logFS) wrap(f vfs.File, name string, size int64, err error) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return &logFile{File: f, s: l.s, size: size}, nil
}

// logFile remembers that its writing failed, and keeps zeros ahead of what is
// written: a sync that does not change the file's size or its blocks takes two
// thirds of the time, because the file system has nothing to write of its own.
// Pebble reuses logs, so only the first ones after a start need it; zeros at the
// end of a log are an end to its reader. Pebble's log writer uses it from one
// goroutine at a time.
type logFile struct {
	vfs.File
	s        *Store
	err      error
	at, size int64 // bytes written, bytes there are
}

// zeros is how much a log grows at a time. The sync that follows takes about a
// millisecond.
var zeros [1 << 20]byte

// note keeps the first error.
func (f *logFile) note(err error) error {
	if err != nil && f.err == nil {
		f.err = err
	}
	return err
}

// Write implements vfs.File.
func (f *logFile) Write(p []byte) (int, error) {
	if f.at += int64(len(p)); f.at > f.size {
		from := f.at - int64(len(p))
		if n, err := f.File.WriteAt(zeros[:], from); err == nil {
			f.size = from + int64(n)
		}
		f.size = max(f.size, f.at) // without zeros it goes on as it would
	}
	n, err := f.File.Write(p)
	return n, f.note(err)
}

// Sync implements vfs.File.
func (f *logFile) Sync() error { return f.note(f.File.Sync()) }

// SyncData implements vfs.File.
func (f *logFile) SyncData() error { return f.note(f.File.SyncData()) }

// SyncTo implements vfs.File.
func (f *logFile) SyncTo(length int64) (full bool, err error) {
	full, err = f.File.SyncTo(length)
	return full, f.note(err)
}

// Close implements vfs.File. While the store runs, only the committer closes logs.
func (f *logFile) Close() error {
	f.note(f.File.Close())
	if f.err != nil && f.s.running.Load() {
		f.s.abandon(fmt.Errorf("close write-ahead log: %w", f.err))
	}
	return f.err
}
