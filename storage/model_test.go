package storage

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"gannet/core"
)

// model is the store as plain maps.
type model map[core.Key]string

func (m model) apply(ops []core.Op) {
	for _, op := range ops {
		switch {
		case op.To != 0:
			for k := range m {
				if k.Table == op.Key.Table && k.A == op.Key.A && k.B == op.Key.B && k.N >= op.Key.N && k.N < op.To {
					delete(m, k)
				}
			}
		case op.Value == nil:
			delete(m, op.Key)
		default:
			m[op.Key] = string(op.Value)
		}
	}
}

func (m model) scan(r core.Range) (out []string) {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b core.Key) int { return compare(&a, &b) })
	if r.Reverse {
		slices.Reverse(keys)
	}
	for _, k := range keys {
		if k.Table == r.Table && contains(&r, &k) {
			out = append(out, fmt.Sprintf("%+v=%s", k, m[k]))
		}
	}
	return out
}

// modelTables have each shape of key; the last is untracked.
var modelTables = []core.Table{core.TableUser, core.TableFriend, core.TableHidden, core.TableVersionLog, core.TableMessage}

func modelKey(r *rand.Rand) core.Key {
	text := func() string { return [...]string{"", "a", "a\x00", "a\x01", "b", "\xff"}[r.IntN(6)] }
	k := core.Key{Table: modelTables[r.IntN(len(modelTables))], A: text(), B: text(), N: r.Uint64N(5)}
	strip(&k)
	return k
}

func modelOps(r *rand.Rand, serial int) (ops []core.Op) {
	for range 1 + r.IntN(6) {
		op := core.Op{Key: modelKey(r)}
		switch {
		case r.IntN(4) == 0:
		case op.Key.Table == core.TableMessage && r.IntN(4) == 0:
			op.To = op.Key.N + 1 + r.Uint64N(4)
		default:
			op.Value = fmt.Appendf([]byte{}, "%d", serial)
			if r.IntN(10) == 0 {
				op.Value = []byte{}
			}
		}
		ops = append(ops, op)
	}
	return ops
}

// check compares what a reader says with the model.
func (m model) check(t *testing.T, what string, r *rand.Rand, reader core.Reader) {
	t.Helper()
	for range 10 {
		k := modelKey(r)
		want, ok := m[k]
		if got, err := reader.Get(k); err != nil || ok != (got != nil) || string(got) != want {
			t.Fatalf("%s: Get(%+v) = %q (%v), want %q (%v)", what, k, got, err, want, ok)
		}
		q := core.Range{Table: k.Table, A: k.A, B: k.B, Fixed: r.IntN(2), Reverse: r.IntN(2) == 0}
		if rows[k.Table].fields&fieldB != 0 {
			q.Fixed = r.IntN(3)
		}
		if r.IntN(2) == 0 {
			q.After = modelKey(r).A
			q.From, q.To = r.Uint64N(4), r.Uint64N(5)
		}
		wanted := m.scan(q)
		limit := 1 + r.IntN(10)
		var got []string
		err := reader.Scan(q, func(k core.Key, v []byte) bool {
			got = append(got, fmt.Sprintf("%+v=%s", k, v))
			return len(got) < limit
		})
		if wanted = wanted[:min(limit, len(wanted))]; err != nil || !slices.Equal(got, wanted) {
			t.Fatalf("%s: Scan(%+v) limit %d: %v\n got %q\nwant %q", what, q, limit, err, got, wanted)
		}
	}
}

// TestModel compares Latest and Committed with maps, while batches are queued,
// being synced, and committed.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		disk := &testDisk{FS: vfs.NewMem()}
		s := openOn(t, disk)
		durable, decided := model{}, model{}
		serial := 0
		for range 20 {
			held, release := disk.holdSyncs(t)
			var waiting []<-chan error
			for i := range 1 + r.IntN(6) {
				serial++
				ops := modelOps(r, serial)
				waiting = append(waiting, appendOps(t, s, ops...))
				decided.apply(ops)
				if i == 0 {
					<-held // the rest is queued behind a commit
				}
				// Untracked records are shown when committed.
				shown := maps.Clone(decided)
				maps.DeleteFunc(shown, func(k core.Key, _ string) bool { return rows[k.Table].flags&untracked != 0 })
				for k, v := range durable {
					if rows[k.Table].flags&untracked != 0 {
						shown[k] = v
					}
				}
				shown.check(t, "latest", r, s.Latest())
				view := s.Committed()
				durable.check(t, "committed", r, view)
				view.Release()
			}
			release()
			for _, done := range waiting {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			durable = maps.Clone(decided)
			durable.check(t, "latest, all committed", r, s.Latest())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
