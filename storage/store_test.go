package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"gannet/core"
)

func openOn(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(Options{Dir: "data", FS: fs, Logger: quiet(), CacheBytes: 8 << 20, memTableBytes: 512 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openMem(t *testing.T) *Store {
	s := openOn(t, vfs.NewMem())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// appendWait appends ops as one batch and waits until they are durable.
func appendWait(t *testing.T, s *Store, ops ...core.Op) {
	t.Helper()
	if err := <-appendOps(t, s, ops...); err != nil {
		t.Fatal(err)
	}
}

func appendOps(t *testing.T, s *Store, ops ...core.Op) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	if err := s.Append(&core.Batch{Ops: ops, Done: func(err error) { done <- err }}); err != nil {
		t.Fatal(err)
	}
	return done
}

func set(k core.Key, v string) core.Op { return core.Op{Key: k, Value: []byte(v)} }

// get returns the value as text, "-" if there is none.
func get(t *testing.T, r core.Reader, k core.Key) string {
	t.Helper()
	v, err := r.Get(k)
	if err != nil {
		t.Fatal(err)
	}
	if v == nil {
		return "-"
	}
	return string(v)
}

func committed(t *testing.T, s *Store, k core.Key) string {
	t.Helper()
	v := s.Committed()
	defer v.Release()
	return get(t, v, k)
}

var (
	user    = core.Key{Table: core.TableUser, A: "anna"}
	message = core.Key{Table: core.TableMessage, A: "si_a_b", N: 1}
)

// TestUnsyncedIsNotCommitted proves that Committed never shows what is applied but
// not synced, that Latest shows it, and that Done waits for the sync.
func TestUnsyncedIsNotCommitted(t *testing.T) {
	disk := &testDisk{FS: vfs.NewMem()}
	s := openOn(t, disk)
	appendWait(t, s, set(user, "old"))
	held, release := disk.holdSyncs(t)
	done := appendOps(t, s, set(user, "new"), set(message, "hi"))
	<-held
	for applied := false; !applied; { // Pebble itself already shows the write
		v, closer, err := s.db.Get(appendKey(nil, &message))
		if applied = err == nil; applied {
			if string(v) != "hi" {
				t.Fatalf("applied %q", v)
			}
			_ = closer.Close()
		}
	}
	if got := committed(t, s, user); got != "old" {
		t.Errorf("committed user is %q before the sync", got)
	}
	if got := committed(t, s, message); got != "-" {
		t.Errorf("committed message is %q before the sync", got)
	}
	if got := get(t, s.Latest(), user); got != "new" {
		t.Errorf("latest user is %q", got)
	}
	if got := get(t, s.Latest(), message); got != "-" {
		t.Errorf("latest message is %q: its table is core's to track", got)
	}
	later := appendOps(t, s, core.Op{Key: user}) // queued behind the commit
	if got := get(t, s.Latest(), user); got != "-" {
		t.Errorf("latest user is %q after a queued delete", got)
	}
	select {
	case err := <-done:
		t.Fatalf("Done(%v) before the sync", err)
	default:
	}
	before := s.Committed()
	release()
	if err := errors.Join(<-done, <-later); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, s, message); got != "hi" {
		t.Errorf("committed message is %q after Done", got)
	}
	if got := committed(t, s, user); got != "-" {
		t.Errorf("committed user is %q after its delete", got)
	}
	if got := get(t, before, user); got != "old" {
		t.Errorf("an older view changed to %q", got)
	}
	before.Release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestQueueBound fills the open group while a sync is held: Append must wait, count
// it, and go on when the group is taken.
func TestQueueBound(t *testing.T) {
	disk := &testDisk{FS: vfs.NewMem()}
	s := openOn(t, disk)
	held, release := disk.holdSyncs(t)
	appendOps(t, s, set(user, "first"))
	<-held
	big := string(make([]byte, 1<<20))
	blocked := make(chan error)
	go func() {
		for i := range 8 {
			if err := s.Append(&core.Batch{Ops: []core.Op{set(core.Key{Table: core.TableGroup, A: fmt.Sprint(i)}, big)}}); err != nil {
				blocked <- err
			}
		}
		blocked <- nil
	}()
	for s.Stats().AppendWaits == 0 {
		select {
		case err := <-blocked:
			t.Fatalf("8 MiB went into a queue of %d bytes: %v", groupBytesMax, err)
		default:
		}
	}
	if st := s.Stats(); st.QueueBytes > groupBytesMax+1<<20 || st.QueueBatches != 4 || st.Overlay != 5 {
		t.Errorf("full queue: %d bytes, %d batches, overlay %d", st.QueueBytes, st.QueueBatches, st.Overlay)
	}
	release()
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Batches != 9 || st.Overlay != 0 || st.QueueBatches != 0 {
		t.Errorf("after close: %+v", st)
	}
}

func TestClose(t *testing.T) {
	fs := vfs.NewMem()
	s := openOn(t, fs)
	var last error = errors.New("not done")
	for range 100 {
		if err := s.Append(&core.Batch{Ops: []core.Op{set(user, "x")}, Done: func(err error) { last = err }}); err != nil {
			t.Fatal(err)
		}
	}
	s.closeWait = time.Minute
	view := s.Committed()
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	<-s.done
	if last != nil {
		t.Errorf("the queue did not drain: %v", last)
	}
	if err := s.Append(&core.Batch{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	get(t, view, user) // a view stays good until its release
	view.Release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Latest().Get(user); !errors.Is(err, ErrClosed) {
		t.Errorf("Latest after Close: %v", err)
	}
	v := s.Committed()
	defer v.Release()
	if err := v.Scan(core.Range{Table: core.TableUser}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Committed after Close: %v", err)
	}
	id := s.ID()
	s = openOn(t, fs)
	if got := committed(t, s, user); got != "x" || s.ID() != id || len(id) != 24 {
		t.Errorf("reopened: %q, ID %s, was %s", got, s.ID(), id)
	}
	s.closeWait = 0
	leak := s.Committed()
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "1 views were not released") {
		t.Errorf("Close with a leaked view: %v", err)
	}
	leak.Release()
}

func TestSecondOpen(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": vfs.Default} {
		dir := t.TempDir()
		s, err := Open(Options{Dir: dir, FS: fs, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: dir, FS: fs, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "in use by another gannet process") {
			t.Errorf("%s: second Open: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFormats opens a store as newer and older gannets would.
func TestFormats(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{Dir: "data", FS: fs, Logger: quiet()}
	s := openOn(t, fs)
	id := s.ID()
	appendWait(t, s, set(user, "one"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken step")
	grow := func(more string) upgrade {
		return func(db *pebble.DB, b *pebble.Batch) error {
			v, closer, err := db.Get(appendKey(nil, &user))
			if err != nil {
				return err
			}
			defer closer.Close()
			return b.Set(appendKey(nil, &user), append(slices.Clone(v), more...), nil)
		}
	}
	fails := func(*pebble.DB, *pebble.Batch) error { return broken }
	if _, err := open(o, format+2, map[int]upgrade{format: grow(" two"), format + 1: fails}); !errors.Is(err, broken) {
		t.Fatalf("broken upgrade: %v", err)
	}
	if _, err := open(o, format+3, map[int]upgrade{format + 1: grow(" three")}); err == nil {
		t.Fatal("an upgrade without a step was accepted")
	}
	s, err := open(o, format+3, map[int]upgrade{format + 2: grow(" four")})
	if err != nil {
		t.Fatal(err)
	}
	if got := committed(t, s, user); got != "one two three four" || s.ID() != id {
		t.Errorf("after the upgrades: %q, ID %s, was %s", got, s.ID(), id)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("written by a newer gannet: store format %d, this gannet knows up to %d", format+3, format)
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("newer store: %v", err)
	}
}

func TestForeignDatabase(t *testing.T) {
	fs := vfs.NewMem()
	db, err := pebble.Open("data", &pebble.Options{FS: fs, Logger: engineLogger{&Store{log: quiet()}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Set([]byte("k"), []byte("v"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: "data", FS: fs, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "not a store of gannet") {
		t.Errorf("foreign database: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	s := openMem(t)
	for _, op := range []core.Op{
		{Key: core.Key{Table: 0, A: "a"}}, {Key: core.Key{Table: 99, A: "a"}},
		{Key: core.Key{Table: core.TableUser, A: "a"}, To: 5},
		{Key: message, To: 5, Value: []byte("v")},
	} {
		if err := s.Append(&core.Batch{Ops: []core.Op{set(user, "x"), op}}); err == nil {
			t.Errorf("%+v was accepted", op)
		}
	}
	if got := get(t, s.Latest(), user); got != "-" {
		t.Errorf("a refused batch left %q", got)
	}
}

// TestConcurrent lets appenders and readers run free: each appender must always read
// its own last write from Latest, and find it in Committed once it is done. Done
// must come in the order of Append.
func TestConcurrent(t *testing.T) {
	s := openMem(t)
	var wg sync.WaitGroup
	for a := range 8 {
		wg.Go(func() {
			k := core.Key{Table: core.TableReadSeq, A: "owner", B: fmt.Sprint(a)}
			var durable uint64 // written by the committer
			done := make(chan struct{}, 1000)
			for i := uint64(1); i <= 1000; i++ {
				err := s.Append(&core.Batch{
					Ops: []core.Op{{Key: k, Value: binary.BigEndian.AppendUint64(nil, i)}},
					Done: func(err error) {
						if err != nil || i != durable+1 {
							t.Errorf("Done %d after %d: %v", i, durable, err)
						}
						durable = i
						done <- struct{}{}
					},
				})
				if err != nil {
					t.Error(err)
					return
				}
				if v, err := s.Latest().Get(k); err != nil || binary.BigEndian.Uint64(v) != i {
					t.Errorf("latest of %d is %v, %v", i, v, err)
					return
				}
				if i%10 != 0 {
					continue
				}
				for range 10 {
					<-done
				}
				view := s.Committed()
				v, err := view.Get(k)
				view.Release()
				if err != nil || binary.BigEndian.Uint64(v) != i {
					t.Errorf("committed of %d is %v, %v", i, v, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
