package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gannet/core"
)

// numbered is batch i of the crash tests: it writes the number i in three tables.
func numbered(i uint64, padding []byte) []core.Op {
	n := binary.BigEndian.AppendUint64(nil, i)
	return []core.Op{
		{Key: core.Key{Table: core.TableMessage, A: "c", N: i}, Value: append(n[:8:8], padding...)},
		{Key: core.Key{Table: core.TableMessageID, A: "c", B: string(n)}, Value: n},
		{Key: core.Key{Table: core.TableVersion, A: "newest"}, Value: n},
	}
}

// survivors checks that s holds batches 1 to m wholly and nothing of a later one,
// and returns m.
func survivors(t *testing.T, s *Store) (m uint64) {
	t.Helper()
	v := s.Committed()
	defer v.Release()
	err := v.Scan(core.Range{Table: core.TableMessage, Fixed: 1, A: "c"}, func(k core.Key, value []byte) bool {
		if m++; k.N != m || binary.BigEndian.Uint64(value) != m {
			t.Errorf("message %d stands where %d should", k.N, m)
		}
		return true
	})
	ids := uint64(0)
	err = errors.Join(err, v.Scan(core.Range{Table: core.TableMessageID, Fixed: 1, A: "c"}, func(k core.Key, _ []byte) bool {
		if ids++; binary.BigEndian.Uint64([]byte(k.B)) != ids {
			t.Errorf("ID %x stands where %d should", k.B, ids)
		}
		return true
	}))
	newest := uint64(0)
	if n, err := v.Get(core.Key{Table: core.TableVersion, A: "newest"}); err != nil || n != nil {
		newest = binary.BigEndian.Uint64(n)
	}
	if err != nil || ids != m || newest != m {
		t.Errorf("%d messages, %d IDs, newest %d: %v", m, ids, newest, err)
	}
	return m
}

// reopen opens what a power cut at this moment leaves of fs, and checks it.
func reopen(t *testing.T, fs *vfs.MemFS, percent int, rng *rand.Rand) (m uint64) {
	t.Helper()
	s := openOn(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
	m = survivors(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return m
}

// TestPowerCut cuts the power again and again while batches are written: each batch
// whose Done(nil) was seen must be there, and batches survive in order.
func TestPowerCut(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openOn(t, fs)
	r := rand.New(rand.NewPCG(5, 5))
	rng := rand.New(rand.NewPCG(5, 5))
	var acked atomic.Uint64
	acks, ended := make(chan struct{}, 1), make(chan struct{})
	tokens := make(chan struct{}, 100) // batches the writer may append
	go func() {
		defer close(ended)
		padding := randomValue(4000)
		for i := uint64(1); ; i++ {
			if _, more := <-tokens; !more {
				return
			}
			err := s.Append(&core.Batch{Ops: numbered(i, padding), Done: func(err error) {
				if err != nil || !acked.CompareAndSwap(i-1, i) {
					t.Errorf("Done of batch %d after %d: %v", i, acked.Load(), err)
				}
				select {
				case acks <- struct{}{}:
				default:
				}
			}})
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 40 {
		batches := 1 + r.Uint64N(100)
		target := acked.Load() + r.Uint64N(batches)
		for range batches {
			tokens <- struct{}{}
		}
		for acked.Load() < target {
			<-acks
		}
		promised := acked.Load()
		if got := reopen(t, fs, r.IntN(3)*50, rng); got < promised {
			t.Errorf("%d batches were promised, %d survived", promised, got)
		}
	}
	close(tokens)
	<-ended
	if st := s.Stats(); st.Commits < 40 || st.Flushes == 0 {
		t.Errorf("only %d commits and %d flushes were cut", st.Commits, st.Flushes)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := reopen(t, fs, 0, nil); got != acked.Load() {
		t.Errorf("%d batches were promised, %d survived the close", acked.Load(), got)
	}
}

var errDisk = errors.New("injected disk error")

// TestFaults fails one operation of the disk, once "failed" and once "failed but was
// persisted". Whatever fails: the store stops, everything that waits and all that
// comes later gets the same error, OnFatal runs once, readers still see what was
// committed, and a restart finds each promised batch.
func TestFaults(t *testing.T) {
	logFile := isLog
	manifest := func(name string) bool { return strings.HasPrefix(name, "MANIFEST") }
	table := func(name string) bool { return strings.HasSuffix(name, ".sst") }
	for _, fault := range []struct {
		name  string
		op    string
		file  func(string) bool
		bytes int // of each batch: a large one spans blocks of the log, many turn it over
	}{
		{"write log", opWrite, logFile, 100},
		{"sync log", opSync, logFile, 100},
		{"write log, large batch", opWrite, logFile, 1 << 20},
		{"sync log, large batch", opSync, logFile, 1 << 20},
		{"create log", opCreate, logFile, 50 << 10},
		{"create table", opCreate, table, 50 << 10},
		{"write table", opWrite, table, 50 << 10},
		{"sync table", opSync, table, 50 << 10},
		{"write manifest", opWrite, manifest, 50 << 10},
		{"sync manifest", opSync, manifest, 50 << 10},
	} {
		for _, persisted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/persisted=%v", fault.name, persisted), func(t *testing.T) {
				testFault(t, fault.bytes, func(op, name string, done bool) error {
					if op == fault.op && fault.file(name) && done == persisted {
						return errDisk
					}
					return nil
				})
			})
		}
	}
}

func testFault(t *testing.T, size int, hook func(op, name string, done bool) error) {
	mem := vfs.NewCrashableMem()
	disk := &testDisk{FS: mem}
	fatal := make(chan error, 2)
	s, err := Open(Options{Dir: "data", FS: disk, Logger: quiet(), memTableBytes: 512 << 10, OnFatal: func(err error) { fatal <- err }})
	if err != nil {
		t.Fatal(err)
	}
	padding := randomValue(size)
	for i := range uint64(3) {
		appendWait(t, s, numbered(i+1, nil)...)
	}
	disk.setHook(hook)
	const most = 1000
	promised, failed := uint64(3), 0
	done := make(chan error, most)
	i := uint64(4)
	for ; i < most; i++ {
		if err = s.Append(&core.Batch{Ops: numbered(i, padding), Done: func(err error) { done <- err }}); err != nil {
			break
		}
	}
	stopped := <-fatal
	<-s.done
	if err != nil && !errors.Is(err, stopped) || !errors.Is(stopped, errDisk) {
		t.Errorf("Append failed with %v, OnFatal with %v", err, stopped)
	}
	for range i - 4 {
		err := <-done
		switch {
		case err == nil && failed > 0:
			t.Error("a batch succeeded after one failed")
		case err == nil:
			promised++
		case err != stopped:
			t.Errorf("Done(%v), stopped with %v", err, stopped)
		default:
			failed++
		}
	}
	if err := s.Append(&core.Batch{Done: func(error) { t.Error("Done of a refused batch") }}); err != stopped {
		t.Errorf("a later Append: %v", err)
	}
	if got := survivors(t, s); got != promised {
		t.Errorf("%d batches were promised, Committed shows %d", promised, got)
	}
	if err := s.Close(); err != stopped {
		t.Errorf("Close: %v", err)
	}
	disk.setHook(nil) // or Pebble tries to flush without end
	if len(fatal) > 0 {
		t.Error("OnFatal ran twice")
	}
	for _, percent := range []int{0, 50, 100} {
		if got := reopen(t, mem, percent, rand.New(rand.NewPCG(9, 9))); got < promised {
			t.Errorf("%d batches were promised, %d survived", promised, got)
		}
	}
}

// TestReadErrors: a read that fails is an error, not "absent", and does not stop the
// store.
func TestReadErrors(t *testing.T) {
	s := openMem(t)
	if _, err := s.Latest().Get(core.Key{}); err == nil {
		t.Error("Get from no table")
	}
	v := s.Committed()
	defer v.Release()
	if _, err := v.Get(core.Key{Table: 77}); err == nil {
		t.Error("Get from an unknown table")
	}
	if err := s.Latest().Scan(core.Range{Table: core.TableUser, Fixed: 2}, nil); err == nil {
		t.Error("Scan of an impossible range")
	}
	appendWait(t, s, set(user, "x"))
}

// TestCloseOnFailingDisk: a stop whose flush cannot be written says so at once, and
// the logs keep all that was promised.
func TestCloseOnFailingDisk(t *testing.T) {
	mem := vfs.NewCrashableMem()
	disk := &testDisk{FS: mem}
	s, err := Open(Options{Dir: "data", FS: disk, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	appendWait(t, s, numbered(1, nil)...)
	disk.setHook(func(op, name string, done bool) error {
		if op == opSync && strings.HasSuffix(name, ".sst") {
			return errDisk
		}
		return nil
	})
	start := time.Now()
	if err := s.Close(); !errors.Is(err, errDisk) {
		t.Errorf("Close: %v", err)
	}
	if took := time.Since(start); took > flushWait/2 {
		t.Errorf("Close took %v", took)
	}
	disk.setHook(nil) // or Pebble tries to flush without end
	if got := reopen(t, mem, 0, rand.New(rand.NewPCG(9, 9))); got != 1 {
		t.Errorf("%d batches survived, want 1", got)
	}
}
