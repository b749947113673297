package bench

import (
	"fmt"
	"testing"

	"gannet/core"
	"gannet/internal/im"
)

// Allocations allowed on the way of a message from core.Send to the frames for
// its receivers, commit included, on a store in memory. They are measured
// figures with room for a growing map or slice now and then: a change that needs
// more must say why.
const (
	pairAllocs  = 45
	groupAllocs = 45 // whatever the number of members
)

func TestPairBudget(t *testing.T) {
	s := newServer(t, "")
	refs := s.register(t, 2)
	from := core.Caller{UserID: name(0), Platform: im.PlatformIOS}
	n := int64(0)
	checkBudget(t, "pair", pairAllocs, func() {
		n++
		if err := s.core.Send(from, refs[0], request(t, name(0), name(1), "", fmt.Sprint("m", n))); err != nil {
			t.Fatal(err)
		}
		s.sink.waitTargets(3 * n)
	})
}

func TestGroupBudget(t *testing.T) {
	const members = 1000
	s := newServer(t, "")
	id, refs := newGroup(t, s, members)
	s.sink.waitTargets(2 * members)
	before := s.sink.targets.Load()
	from := core.Caller{UserID: name(0), Platform: im.PlatformIOS}
	n := int64(0)
	checkBudget(t, "group", groupAllocs, func() {
		n++
		if err := s.core.Send(from, refs[0], request(t, name(0), "", id, fmt.Sprint("m", n))); err != nil {
			t.Fatal(err)
		}
		s.sink.waitTargets(before + n*(members+1))
	})
}

// checkBudget compares the allocations of one run with the budget, less those of
// making the request.
func checkBudget(t *testing.T, what string, budget float64, run func()) {
	t.Helper()
	if raceEnabled {
		t.Log("the race detector allocates: budget not compared")
		run()
		return
	}
	making := testing.AllocsPerRun(200, func() { request(t, name(0), name(1), "", fmt.Sprint("m", 1)) })
	if got := testing.AllocsPerRun(500, run) - making; got > budget {
		t.Errorf("%s: %.1f allocations per message, budget %.0f", what, got, budget)
	} else {
		t.Logf("%s: %.1f allocations per message", what, got)
	}
}
