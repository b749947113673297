package gateway

import (
	"math"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"

	"gannet/core"
	"gannet/internal/im"
	"gannet/internal/wire"
)

// phase is how far a connection has come.
type phase uint8

const (
	phaseFree      phase = iota // the slot is not in use
	phaseHandshake              // accepted, upgrade request not yet complete
	phaseOpen                   // logged in
	phaseClosing                // ending decided; what was written may still leave
)

// session is one connection, from accept to close. At rest it holds no goroutine,
// no buffer and no timer. Sessions live in their loop's slab and are reused.
type session struct {
	// Set when the handshake succeeds, read-only until the slot is freed.
	userID   string
	token    core.TokenID
	platform im.Platform
	variant  wire.Variant
	admin    bool

	// Owned by the loop.
	id        uint64 // loop, slot and generation; see sessionID
	conn      gnet.Conn
	frames    frames
	handed    uint64 // bytes given to the connection since it opened
	seen      uint32 // tick of the last frame received; while closing, tick of the ending
	spent     uint32 // cost of what was received during spentTick
	spentTick uint32
	first     int32 // frames that wait to be written: places in loop.out, 0 for none
	last      int32
	waiting   int32 // their bytes
	phase     phase
	why       ending
	dirty     bool // in loop.touched
	inLine    bool // in loop.line
	online    bool // core was told Connect and not yet Disconnect
	pinged    bool // a ping went out since seen
	stalled   bool // in loop.stalls

	// Atomic: generation in the upper half, requests under way in the lower.
	flight atomic.Uint64
}

// ref is the session as core knows it.
func (s *session) ref() core.SessionRef {
	return core.SessionRef{ID: s.id, Platform: uint8(s.platform), Variant: s.variant, Token: s.token}
}

// caller is who asks with req.
func (s *session) caller(req *wire.Request) core.Caller {
	return core.Caller{UserID: s.userID, Platform: s.platform, Admin: s.admin, OperationID: string(req.OperationID)}
}

// idle reports that no request is under way. Loop only.
func (s *session) idle() bool { return uint32(s.flight.Load()) == 0 }

// enter counts one more request under way unless there are max already. Loop only.
func (s *session) enter(max int) bool {
	if uint32(s.flight.Load()) >= uint32(max) {
		return false
	}
	s.flight.Add(1)
	return true
}

// leave ends what enter began. The slot may belong to another session by now: then
// there is nothing to count. Any goroutine.
func (s *session) leave(id uint64) {
	for {
		now := s.flight.Load()
		if now>>32 != id&math.MaxUint32 || uint32(now) == 0 || s.flight.CompareAndSwap(now, now-1) {
			return
		}
	}
}

// A session ID holds the loop in its upper 8 bits, the slot in the next 24 and
// the slot's generation in the lower 32. Generations start at 1 and never repeat,
// so an ID names one connection for the life of the process.
const (
	maxLoops   = 64
	slotBits   = 24
	chunkBits  = 8
	chunkSlots = 1 << chunkBits
)

func sessionID(loop uint8, slot, generation uint32) uint64 {
	return uint64(loop)<<56 | uint64(slot)<<32 | uint64(generation)
}

func loopOf(id uint64) int    { return int(id >> 56) }
func slotOf(id uint64) uint32 { return uint32(id>>32) & (1<<slotBits - 1) }

// slab holds the sessions of one loop in chunks that never move, so that the
// collector sees one object per 256 sessions and IDs resolve without a map.
type slab struct {
	chunks []*[chunkSlots]session
	free   []uint32
	used   uint32 // slots ever used
}

// alloc returns a fresh session, or nil when the loop has 16 million already.
func (t *slab) alloc(loop uint8) *session {
	var slot uint32
	if n := len(t.free); n > 0 {
		slot, t.free = t.free[n-1], t.free[:n-1]
	} else {
		if t.used == 1<<slotBits {
			return nil
		}
		slot = t.used
		t.used++
		if slot%chunkSlots == 0 {
			t.chunks = append(t.chunks, new([chunkSlots]session))
		}
	}
	s := &t.chunks[slot>>chunkBits][slot%chunkSlots]
	s.id = sessionID(loop, slot, uint32(s.id)+1)
	s.phase = phaseHandshake
	s.flight.Store(s.id << 32)
	return s
}

// find returns the session that id names, in whatever phase, or nil.
func (t *slab) find(id uint64) *session {
	slot := slotOf(id)
	if slot >= t.used {
		return nil
	}
	s := &t.chunks[slot>>chunkBits][slot%chunkSlots]
	if s.id != id || s.phase == phaseFree {
		return nil
	}
	return s
}

// release frees the slot. Only the generation stays; a slot whose generations
// are used up is not used again.
func (t *slab) release(s *session) {
	id := s.id
	s.userID, s.token, s.platform, s.variant, s.admin = "", core.TokenID{}, 0, 0, false
	s.conn, s.frames, s.handed = nil, frames{}, 0
	s.seen, s.spent, s.spentTick = 0, 0, 0
	s.first, s.last, s.waiting = 0, 0, 0
	s.phase, s.why = phaseFree, endNone
	s.dirty, s.inLine, s.online, s.pinged, s.stalled = false, false, false, false, false
	if uint32(id) != math.MaxUint32 {
		t.free = append(t.free, slotOf(id))
	}
}

// all calls fn for every session in use.
func (t *slab) all(fn func(*session)) {
	for slot := range t.used {
		if s := &t.chunks[slot>>chunkBits][slot%chunkSlots]; s.phase != phaseFree {
			fn(s)
		}
	}
}
