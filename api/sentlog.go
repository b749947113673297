package api

import (
	"crypto/sha256"
	"sync"
)

// sentLogMax is how many operationIDs of send_msg are remembered (about 40 bytes
// each); after that the oldest are forgotten.
const sentLogMax = 64 << 10

// sentLog remembers what became of messages by the operationID of the call that
// sent them. It is lost with the process, as check_msg_is_send_success may be.
type sentLog struct {
	mu sync.Mutex
	// Guarded by mu. ring holds the keys of status in the order they came; next is
	// the place of the next one, and of the oldest once the ring is full.
	status map[sentKey]int32
	ring   []sentKey
	next   int
}

// sentKey is a hash of an operationID, which may be long.
type sentKey [16]byte

func newSentLog(size int) *sentLog {
	return &sentLog{status: make(map[sentKey]int32), ring: make([]sentKey, 0, size)}
}

func sentKeyOf(operationID string) (k sentKey) {
	sum := sha256.Sum256([]byte(operationID))
	copy(k[:], sum[:])
	return k
}

// set notes the status of operationID's message.
func (l *sentLog) set(operationID string, status int32) {
	k := sentKeyOf(operationID)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.status[k]; !known {
		if len(l.ring) < cap(l.ring) {
			l.ring = append(l.ring, k)
		} else {
			delete(l.status, l.ring[l.next])
			l.ring[l.next] = k
			l.next = (l.next + 1) % len(l.ring)
		}
	}
	l.status[k] = status
}

// get returns the status noted for operationID; 0 if none.
func (l *sentLog) get(operationID string) int32 {
	k := sentKeyOf(operationID)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status[k]
}
