//go:build linux

package main

import (
	"bytes"
	"encoding/binary"

	"gannet/internal/wire"
)

// memoSlots is how many pushed frames are remembered: more than are under way to
// the members of a group at one time.
const memoSlots = 1024

// pushed is one message of a pushed frame.
type pushed struct {
	thread       *thread // nil: of no conversation of the plan
	arrival      arrival // if there is a thread
	conversation string
	msg          wire.Msg
}

// memo remembers pushed frames. The members of a group are pushed the same bytes:
// comparing them costs a hundredth of inflating, decoding and checking them, and
// checks as much.
type memo struct{ slots [memoSlots]memoFrame }

type memoFrame struct {
	payload []byte
	parts   []pushed
}

// slot is where payload is, if it is remembered. Frames end in a checksum, or in
// what the server added to the message: seq, time and ID.
func (m *memo) slot(payload []byte) *memoFrame {
	h, end := uint64(len(payload)), payload[max(0, len(payload)-32):]
	for ; len(end) >= 8; end = end[8:] {
		h = (h ^ binary.LittleEndian.Uint64(end)) * spread
		h ^= h >> 32
	}
	return &m.slots[h%memoSlots]
}

func (f *memoFrame) holds(payload []byte) bool {
	return f.parts != nil && bytes.Equal(f.payload, payload)
}

// hold remembers payload and what is in it.
func (f *memoFrame) hold(payload []byte, parts []pushed) {
	f.payload, f.parts = append(f.payload[:0], payload...), parts
}
