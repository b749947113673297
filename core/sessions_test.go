package core

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// The table agrees with a map of slices, and uses places again.
func TestSessionTable(t *testing.T) {
	var table sessionTable
	model := make(map[string][]SessionRef)
	rng := rand.New(rand.NewPCG(1, 2))
	most, total := 0, 0
	for i := range 20_000 {
		user := strconv.Itoa(rng.IntN(50))
		refs := slices.Clone(model[user])
		total -= len(refs)
		switch {
		case len(refs) > 0 && rng.IntN(2) == 0:
			at := rng.IntN(len(refs))
			refs = slices.Delete(refs, at, at+1)
		case len(refs) > 0 && rng.IntN(50) == 0:
			refs = nil
		default:
			refs = append(refs, SessionRef{ID: uint64(i), Platform: uint8(rng.IntN(10))})
		}
		table.set(user, refs)
		model[user] = refs
		total += len(refs)
		most = max(most, total)
		if got := table.appendTo(nil, user); !slices.Equal(got, refs) {
			t.Fatalf("%s has %v, want %v", user, got, refs)
		}
	}
	for user, want := range model {
		if got := table.appendTo(nil, user); !slices.Equal(got, want) {
			t.Fatalf("%s has %v, want %v", user, got, want)
		}
		table.set(user, nil)
	}
	if table.size != 0 || len(table.first) != 0 {
		t.Fatalf("%d sessions of %d users are left", table.size, len(table.first))
	}
	if len(table.slab)-1 > most+8 { // set frees a user's places before it takes new ones
		t.Fatalf("%d places for %d sessions at most", len(table.slab)-1, most)
	}
}
