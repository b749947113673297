package gateway

import (
	"math"
	"testing"
)

func TestSlabIDs(t *testing.T) {
	var tab slab
	seen := map[uint64]bool{}
	for range 3 {
		var got []*session
		for range 3 * chunkSlots {
			s := tab.alloc(5)
			if s.id == 0 || seen[s.id] || loopOf(s.id) != 5 || tab.find(s.id) != s {
				t.Fatalf("bad id %#x", s.id)
			}
			seen[s.id] = true
			got = append(got, s)
		}
		for _, s := range got {
			id := s.id
			tab.release(s)
			if tab.find(id) != nil {
				t.Fatal("a freed session was found")
			}
		}
	}
	if tab.used != 3*chunkSlots {
		t.Errorf("%d slots used, want them reused", tab.used)
	}
	if tab.find(sessionID(5, 1<<20, 1)) != nil || tab.find(0) != nil {
		t.Error("an unknown id was found")
	}
}

func TestSlabRetiresSlots(t *testing.T) {
	var tab slab
	s := tab.alloc(0)
	slot := slotOf(s.id)
	s.id = sessionID(0, slot, math.MaxUint32)
	tab.release(s)
	if next := tab.alloc(0); slotOf(next.id) == slot {
		t.Error("a slot whose generations are used up was used again")
	}
}

func TestFlightIgnoresAnEarlierSession(t *testing.T) {
	var tab slab
	s := tab.alloc(0)
	old := s.id
	s.enter(9)
	tab.release(s)
	s = tab.alloc(0)
	if !s.enter(1) || s.enter(1) {
		t.Fatal("the bound of one request does not hold")
	}
	s.leave(old)
	if s.enter(1) {
		t.Fatal("a request of an earlier session was counted out of this one")
	}
	s.leave(s.id)
	if !s.enter(1) {
		t.Error("leave did not count")
	}
}

func TestWheel(t *testing.T) {
	var w wheel
	fired := map[uint64]uint32{}
	now := uint32(0)
	for id := uint64(1); id <= 500; id++ {
		w.add(id, uint32(id))
	}
	for now < 600 {
		now++
		w.advance(now, func(id uint64) {
			if uint32(id) > w.at {
				w.add(id, uint32(id))
			} else {
				fired[id] = w.at
			}
		})
	}
	for id := uint64(1); id <= 500; id++ {
		if fired[id] != uint32(id) {
			t.Fatalf("entry %d fired at %d", id, fired[id])
		}
	}
	w.add(1000, 3) // past: the next tick
	w.advance(now+1, func(id uint64) { fired[id] = w.at })
	if fired[1000] != now+1 {
		t.Error("a past deadline did not fire at the next tick")
	}
}

func TestTables(t *testing.T) {
	names := make(map[string]bool)
	for e := range endings {
		if e.String() == "" || names[e.String()] {
			t.Errorf("ending %d has no name of its own: %q", e, e)
		}
		names[e.String()] = true
		if code := endingRules[e].code; code != 0 && (!validCloseCode(code) || !endingRules[e].flush) {
			t.Errorf("%v: close code %d cannot be sent", e, code)
		}
	}
	clear(names)
	for d := range drops {
		if d.String() == "" || names[d.String()] {
			t.Errorf("drop %d has no name of its own: %q", d, d)
		}
		names[d.String()] = true
	}
	clear(names)
	for id, cmd := range commands {
		if cmd.name == "" || names[cmd.name] {
			t.Errorf("command %d has no name of its own: %q", id, cmd.name)
		}
		names[cmd.name] = true
	}
}
