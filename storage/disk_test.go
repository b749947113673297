package storage

import (
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Operations that a testDisk can be told about.
const (
	opCreate = "create"
	opWrite  = "write"
	opSync   = "sync"
)

// testDisk is a file system whose writes and syncs a test can hold up or fail.
type testDisk struct {
	vfs.FS
	mu sync.Mutex
	// hook, guarded by mu, runs around each operation: before it (done false) and
	// after it (done true). An error fails the operation.
	hook func(op, name string, done bool) error
}

func (d *testDisk) setHook(hook func(op, name string, done bool) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = hook
}

func (d *testDisk) around(op, name string, do func() error) error {
	d.mu.Lock()
	hook := d.hook
	d.mu.Unlock()
	if hook == nil {
		return do()
	}
	name = path.Base(name)
	if err := hook(op, name, false); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return hook(op, name, true)
}

func (d *testDisk) Create(name string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = d.around(opCreate, name, func() error { f, err = d.FS.Create(name, c); return err })
	return d.wrap(f, name, err)
}

func (d *testDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = d.around(opCreate, name, func() error { f, err = d.FS.ReuseForWrite(old, name, c); return err })
	return d.wrap(f, name, err)
}

func (d *testDisk) wrap(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &testFile{f, d, name}, nil
}

type testFile struct {
	vfs.File
	disk *testDisk
	name string
}

func (f *testFile) Write(p []byte) (n int, err error) {
	err = f.disk.around(opWrite, f.name, func() error { n, err = f.File.Write(p); return err })
	return n, err
}

func (f *testFile) Sync() error { return f.disk.around(opSync, f.name, f.File.Sync) }

func (f *testFile) SyncData() error { return f.disk.around(opSync, f.name, f.File.SyncData) }

func (f *testFile) SyncTo(length int64) (full bool, err error) {
	err = f.disk.around(opSync, f.name, func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// holdSyncs makes syncs of the log wait until release is called. held receives once
// for each sync that waits.
func (d *testDisk) holdSyncs(t *testing.T) (held chan struct{}, release func()) {
	held = make(chan struct{}, 1000)
	free := make(chan struct{})
	d.setHook(func(op, name string, done bool) error {
		if op == opSync && isLog(name) && !done {
			held <- struct{}{}
			<-free
		}
		return nil
	})
	release = sync.OnceFunc(func() { d.setHook(nil); close(free) })
	t.Cleanup(release)
	return held, release
}
