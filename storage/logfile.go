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
	return l.wrap(f, name, err)
}

// ReuseForWrite implements vfs.FS.
func (l logFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(old, name, c)
	return l.wrap(f, name, err)
}

func (l logFS) wrap(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return &logFile{File: f, s: l.s}, nil
}

// logFile remembers that its writing failed. Pebble's log writer uses it from one
// goroutine at a time.
type logFile struct {
	vfs.File
	s   *Store
	err error
}

// note keeps the first error.
func (f *logFile) note(err error) error {
	if err != nil && f.err == nil {
		f.err = err
	}
	return err
}

// Write implements vfs.File.
func (f *logFile) Write(p []byte) (int, error) {
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
