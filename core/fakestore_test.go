package core

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
)

// fakeStore is a Store in memory whose commits a test holds back, lets go, or
// loses. Reads of Committed see what was let go; Latest sees everything.
type fakeStore struct {
	mu        sync.Mutex
	committed map[Key][]byte
	latest    map[Key][]byte
	queue     []*Batch
	hold      bool
	failed    error
	crowded   bool
	reads     int // calls of Get and Scan
}

func newFakeStore() *fakeStore {
	return &fakeStore{committed: make(map[Key][]byte), latest: make(map[Key][]byte)}
}

func apply(m map[Key][]byte, b *Batch) {
	for _, op := range b.Ops {
		switch {
		case op.To != 0:
			maps.DeleteFunc(m, func(k Key, _ []byte) bool {
				return k.Table == op.Key.Table && k.A == op.Key.A && k.B == op.Key.B && k.N >= op.Key.N && k.N < op.To
			})
		case op.Value == nil:
			delete(m, op.Key)
		default:
			m[op.Key] = op.Value
		}
	}
}

func (s *fakeStore) Append(b *Batch) error {
	s.mu.Lock()
	if s.failed != nil {
		defer s.mu.Unlock()
		return s.failed
	}
	shown := &Batch{}
	for _, op := range b.Ops {
		// As the port says: pending messages and range deletions are not shown.
		if op.To == 0 && op.Key.Table != TableMessage && op.Key.Table != TableMessageID {
			shown.Ops = append(shown.Ops, op)
		}
	}
	apply(s.latest, shown)
	s.queue = append(s.queue, b)
	hold := s.hold
	s.mu.Unlock()
	if !hold {
		s.release()
	}
	return nil
}

func (s *fakeStore) Crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.crowded
}

func (s *fakeStore) Absent(k Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.committed[k]; ok || k.Table != TableMessageID {
		return false
	}
	for _, b := range s.queue {
		if slices.ContainsFunc(b.Ops, func(op Op) bool { return op.Key == k }) {
			return false
		}
	}
	return true
}

// readsSince returns how often was read since the last call.
func (s *fakeStore) readsSince() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, s.reads = s.reads, 0
	return n
}

// release commits everything that is queued.
func (s *fakeStore) release() {
	s.mu.Lock()
	queue := s.queue
	s.queue = nil
	for _, b := range queue {
		apply(s.committed, b)
		apply(s.latest, b)
	}
	s.mu.Unlock()
	for _, b := range queue {
		b.Done(nil)
	}
}

// fail ends the store: what is queued is lost and nothing is taken any more.
func (s *fakeStore) fail() {
	s.mu.Lock()
	s.failed = errors.New("disk gone")
	queue := s.queue
	s.queue = nil
	s.mu.Unlock()
	for _, b := range queue {
		b.Done(s.failed)
	}
}

// crash returns a store as it is after a power cut: without what was queued.
func (s *fakeStore) crash() *fakeStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &fakeStore{committed: maps.Clone(s.committed), latest: maps.Clone(s.committed)}
}

func (s *fakeStore) ID() string      { return "0123456789abcdef01234567" }
func (s *fakeStore) Latest() Reader  { return fakeReader{s, false} }
func (s *fakeStore) Committed() View { return fakeReader{s.crash(), true} }

type fakeReader struct {
	s         *fakeStore
	committed bool
}

func (r fakeReader) Release() {}

func (r fakeReader) data() map[Key][]byte {
	if r.committed {
		return r.s.committed
	}
	return r.s.latest
}

func (r fakeReader) Get(k Key) ([]byte, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.reads++
	v, ok := r.data()[k]
	if !ok {
		return nil, nil
	}
	if v == nil {
		v = []byte{}
	}
	return bytes.Clone(v), nil
}

func (r fakeReader) Scan(in Range, fn func(Key, []byte) bool) error {
	r.s.mu.Lock()
	r.s.reads++
	data := maps.Clone(r.data())
	r.s.mu.Unlock()
	keys := slices.Collect(maps.Keys(data))
	keys = slices.DeleteFunc(keys, func(k Key) bool {
		to := in.To
		if to == 0 {
			to = 1<<64 - 1
		}
		free := k.A
		if in.Fixed > 0 {
			free = k.B
		}
		return k.Table != in.Table || (in.Fixed > 0 && k.A != in.A) || (in.Fixed > 1 && k.B != in.B) ||
			k.N < in.From || k.N > to || (!in.Reverse && in.After != "" && free <= in.After)
	})
	slices.SortFunc(keys, func(a, b Key) int {
		if c := strings.Compare(a.A, b.A); c != 0 {
			return c
		}
		if c := strings.Compare(a.B, b.B); c != 0 {
			return c
		}
		switch {
		case a.N < b.N:
			return -1
		case a.N > b.N:
			return 1
		}
		return 0
	})
	if in.Reverse {
		slices.Reverse(keys)
	}
	for _, k := range keys {
		if !fn(k, data[k]) {
			return nil
		}
	}
	return nil
}
