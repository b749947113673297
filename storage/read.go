package storage

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"gannet/core"
)

// view is one committed state. The store holds a reference while the view is the
// current one, each caller of Committed one more; the last to let go closes the
// snapshot.
type view struct {
	s    *Store
	snap *pebble.Snapshot
	refs atomic.Int64
}

// newView takes a snapshot. Only the committer (or Open, before it starts) may call
// it, between commits: then the database holds nothing that is not synced.
func (s *Store) newView() *view {
	v := &view{s: s, snap: s.db.NewSnapshot()}
	v.refs.Store(1)
	return v
}

// Committed implements core.Store.
func (s *Store) Committed() core.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return closedView{}
	}
	s.current.refs.Add(1)
	return s.current
}

// Release implements core.View.
func (v *view) Release() {
	n := v.refs.Add(-1)
	if n > 0 {
		return
	}
	if n < 0 {
		panic("storage: view released twice")
	}
	v.close()
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if v.s.views--; v.s.views == 0 {
		close(v.s.idle)
	}
}

func (v *view) close() {
	if err := v.snap.Close(); err != nil {
		v.s.log.Error("close snapshot", "error", err)
	}
}

// keyBuffers holds scratch space for encoding the key of a Get.
var keyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 128); return &b }}

// Get implements core.Reader.
func (v *view) Get(k core.Key) ([]byte, error) {
	if !known(k.Table) {
		return nil, errBadTable
	}
	if v.s.filter.excludes(&k) {
		return nil, nil
	}
	return v.get(&k)
}

// get is Get without the filter. REQUIRES: known(k.Table).
func (v *view) get(k *core.Key) ([]byte, error) {
	buf := keyBuffers.Get().(*[]byte)
	defer keyBuffers.Put(buf)
	*buf = appendKey((*buf)[:0], k)
	if rows[k.Table].flags&filtered != 0 {
		value, err := v.seek(*buf)
		v.s.filter.judged(value != nil)
		return value, err
	}
	value, closer, err := v.snap.Get(*buf)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", formatKey(*buf), err)
	}
	owned := append(make([]byte, 0, len(value)), value...)
	return owned, closer.Close()
}

// allFilters makes an iterator consult the bloom filters of the last level too, where
// nearly all keys are. Pebble's Get does not.
var allFilters = pebble.IterOptions{UseL6Filters: true}

// seek is Get for a table whose look-ups often find nothing.
func (v *view) seek(key []byte) (value []byte, err error) {
	it, err := v.snap.NewIter(&allFilters)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.SeekPrefixGE(key) {
		return nil, it.Error()
	}
	found, err := it.ValueAndErr()
	return append(make([]byte, 0, len(found)), found...), err
}

// Scan implements core.Reader.
func (v *view) Scan(r core.Range, fn func(core.Key, []byte) bool) (err error) {
	b, err := boundsOf(&r)
	if err != nil {
		return err
	}
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: b.lower, UpperBound: b.upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	k := core.Key{Table: r.Table}
	if r.Fixed > 0 {
		k.A = r.A
	}
	if r.Fixed > 1 {
		k.B = r.B
	}
	first, next := it.First, it.Next
	if r.Reverse {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		if err := decodeFields(&k, r.Fixed, it.Key()[b.shared:]); err != nil {
			return err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if !fn(k, value) {
			return nil
		}
	}
	return it.Error()
}

// closedView answers after Close.
type closedView struct{}

func (closedView) Get(core.Key) ([]byte, error)                       { return nil, ErrClosed }
func (closedView) Scan(core.Range, func(core.Key, []byte) bool) error { return ErrClosed }
func (closedView) Release()                                           {}

// latest reads the committed view with the queued writes laid over it.
type latest struct{ s *Store }

// Latest implements core.Store.
func (s *Store) Latest() core.Reader { return latest{s} }

// Get implements core.Reader.
func (l latest) Get(k core.Key) ([]byte, error) {
	if !known(k.Table) {
		return nil, errBadTable
	}
	if l.s.filter.excludes(&k) {
		return nil, nil
	}
	strip(&k)
	w, queued, v := l.s.lookup(k)
	if queued {
		if w.value == nil {
			return nil, nil
		}
		return append(make([]byte, 0, len(w.value)), w.value...), nil
	}
	if v == nil {
		return nil, ErrClosed
	}
	defer v.Release()
	return v.get(&k)
}

// lookup returns the newest queued write of k or, if there is none, the view of the
// same moment, which the caller releases; no view after Close.
func (s *Store) lookup(k core.Key) (w write, queued bool, v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return w, false, nil
	}
	if s.open.perTable[k.Table] > 0 {
		if w, queued = s.open.writes[k]; queued {
			return w, true, nil
		}
	}
	if s.committing != nil && s.committing.perTable[k.Table] > 0 {
		if w, queued = s.committing.writes[k]; queued {
			return w, true, nil
		}
	}
	s.current.refs.Add(1)
	return w, false, s.current
}

// queuedWrite is one record of the overlay.
type queuedWrite struct {
	key core.Key
	write
}

// Scan implements core.Reader. It looks at each queued write of the table, so it is
// cheap only because the queue is bounded.
func (l latest) Scan(r core.Range, fn func(core.Key, []byte) bool) error {
	if !known(r.Table) {
		return errBadTable
	}
	queued, v := l.s.overlay(&r)
	defer v.Release()
	if len(queued) == 0 {
		return v.Scan(r, fn)
	}
	sign := 1
	if r.Reverse {
		sign = -1
	}
	slices.SortFunc(queued, func(a, b queuedWrite) int { return sign * compare(&a.key, &b.key) })
	more := true
	// upTo emits the queued writes before k, or all if k is nil.
	upTo := func(k *core.Key) {
		for more && len(queued) > 0 && (k == nil || sign*compare(&queued[0].key, k) < 0) {
			if queued[0].value != nil {
				more = fn(queued[0].key, queued[0].value)
			}
			queued = queued[1:]
		}
	}
	err := v.Scan(r, func(k core.Key, value []byte) bool {
		if upTo(&k); !more {
			return false
		}
		if len(queued) > 0 && queued[0].key == k { // replaced or deleted
			w := queued[0].write
			if queued = queued[1:]; w.value == nil {
				return true
			}
			value = w.value
		}
		more = fn(k, value)
		return more
	})
	if err != nil {
		return err
	}
	upTo(nil)
	return nil
}

// overlay collects the queued writes in r, unsorted, and the view of the same
// moment, which the caller releases.
func (s *Store) overlay(r *core.Range) (found []queuedWrite, v core.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil, closedView{}
	}
	s.current.refs.Add(1)
	if s.open.perTable[r.Table] > 0 {
		found = s.open.collect(r, nil, found)
	}
	if s.committing != nil && s.committing.perTable[r.Table] > 0 {
		found = s.committing.collect(r, s.open.writes, found)
	}
	return found, s.current
}

// collect appends g's writes in r, except those that newer has too.
func (g *group) collect(r *core.Range, newer map[core.Key]write, found []queuedWrite) []queuedWrite {
	for k, w := range g.writes {
		if k.Table != r.Table || !contains(r, &k) {
			continue
		}
		if _, replaced := newer[k]; !replaced {
			found = append(found, queuedWrite{k, w})
		}
	}
	return found
}
