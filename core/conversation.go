package core

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// conversationKind says who a conversation belongs to.
type conversationKind byte

const (
	kindNone   conversationKind = iota
	kindPair                    // two users (or one with himself): si_, sn_, n_a_b
	kindGroup                   // a group's chat: sg_
	kindNotice                  // a group's notifications: n_<group>
)

// conversationRecord is what TableConversation keeps: the owners, because user
// IDs may contain '_' and an ID alone does not tell them, and the first visible
// seq for everybody.
type conversationRecord struct {
	kind   conversationKind
	a, b   string // the pair in ascending order, or the group in a
	minSeq int64
}

func (r conversationRecord) encode() []byte {
	out := []byte{byte(r.kind)}
	out = binary.AppendVarint(out, r.minSeq)
	out = binary.AppendUvarint(out, uint64(len(r.a)))
	out = append(out, r.a...)
	return append(out, r.b...)
}

func decodeConversationRecord(b []byte) (r conversationRecord, err error) {
	damaged := fmt.Errorf("core: conversation record is damaged")
	if len(b) < 1 {
		return r, damaged
	}
	r.kind, b = conversationKind(b[0]), b[1:]
	v, w := binary.Varint(b)
	if w <= 0 {
		return r, damaged
	}
	r.minSeq, b = v, b[w:]
	n, w := binary.Uvarint(b)
	if w <= 0 || uint64(len(b)-w) < n {
		return r, damaged
	}
	r.a, r.b = string(b[w:w+int(n)]), string(b[w+int(n):])
	return r, nil
}

// sameOwners reports whether r and o belong to the same users or group.
func (r conversationRecord) sameOwners(o conversationRecord) bool {
	return r.kind == o.kind && r.a == o.a && r.b == o.b
}

// has reports whether userID is one of a pair.
func (r conversationRecord) has(userID string) bool {
	return r.kind == kindPair && (r.a == userID || r.b == userID)
}

// peer returns the other user of a pair.
func (r conversationRecord) peer(userID string) string {
	if r.a == userID {
		return r.b
	}
	return r.a
}

func pairRecord(a, b string) conversationRecord {
	if a > b {
		a, b = b, a
	}
	return conversationRecord{kind: kindPair, a: a, b: b}
}

// convState is what deciding about one conversation needs in memory. It is
// loaded on first use and dropped when cold; everything in it can be read again
// from the store, except messages in flight, which keep it from being dropped.
type convState struct {
	id string // immutable

	// Guarded by the shard's mu.
	rec      conversationRecord  // kind is kindNone until the first message
	maxSeq   int64               // last assigned
	lastTime int64               // sendTime of maxSeq, ms
	inFlight int                 // what keeps it in memory: messages decided but not delivered, decisions at work
	pending  map[string]*message // those of them that may be sent again
	reads    map[string]readPos
	facts    *pairFacts

	// Atomic: written by the committer in order, read by anybody.
	committed     atomic.Int64 // last durable seq
	committedTime atomic.Int64 // its sendTime, ms
}

// readPos is a user's read position in a conversation. A sender has read his own
// message; to save a write per message, his position is stored only when it
// jumps over others' messages or has run ahead of the stored one by
// readRunMax own messages, and is otherwise found again by walking forward.
type readPos struct {
	stored int64
	now    int64
	own    int64 // the user's messages above now: nothing to read for him, though others' lie between
}

const readRunMax = 64

const shardCount = 256

// shards hold the conversation states. A shard's lock is held while a cold state
// is read from the store, so event loops take it only when it is free.
type shards struct {
	all      [shardCount]shard
	perShard int // immutable after init: states kept
}

type shard struct {
	mu sync.Mutex
	// Guarded by mu.
	states map[string]*convState
}

func (s *shards) init(hot int) {
	s.perShard = max(hot/shardCount, 8)
	for i := range s.all {
		s.all[i].states = make(map[string]*convState)
	}
}

func shardIndex(conv string) int { return int(hashOf(conv) % shardCount) }

// conversation returns the state of conv, reading it when cold. The caller holds
// the lock of sh, conv's shard.
func (c *Core) conversationLocked(sh *shard, conv string) (*convState, error) {
	if st := sh.states[conv]; st != nil {
		return st, nil
	}
	r := c.store.Latest()
	st := &convState{id: conv, reads: make(map[string]readPos)}
	b, err := r.Get(Key{Table: TableConversation, A: conv})
	if err != nil {
		return nil, err
	}
	if b != nil {
		if st.rec, err = decodeConversationRecord(b); err != nil {
			return nil, fmt.Errorf("%w: %s", err, conv)
		}
		var scanErr error
		err = r.Scan(Range{Table: TableMessage, Fixed: 1, A: conv, Reverse: true}, func(k Key, v []byte) bool {
			var m wire.Msg
			scanErr = wire.ScanMsg(v, &m)
			st.maxSeq, st.lastTime = int64(k.N), m.SendTime
			return false
		})
		if err = firstError(err, scanErr); err != nil {
			return nil, fmt.Errorf("last message of %s: %w", conv, err)
		}
	}
	st.committed.Store(st.maxSeq)
	st.committedTime.Store(st.lastTime)
	c.evictLocked(sh)
	sh.states[conv] = st
	return st, nil
}

// enter locks sh for a decision about m. For one that must not wait it reports false,
// with sh as it was, unless sh is free and the state of m's conversation is in memory,
// with its sender's read position: then placing m reads nothing.
func (sh *shard) enter(t *tx, m *message) bool {
	if !t.now {
		sh.mu.Lock()
		return true
	}
	if !sh.mu.TryLock() {
		return false
	}
	if st := sh.states[m.conv]; st != nil {
		if _, read := st.reads[m.sender]; read {
			return true
		}
	}
	sh.mu.Unlock()
	return false
}

// evictLocked makes room for one more state. Victims are random among those
// with nothing in flight: a cold one costs a read to come back.
func (c *Core) evictLocked(sh *shard) {
	if len(sh.states) < c.shards.perShard {
		return
	}
	tried := 0
	for id, st := range sh.states {
		if st.inFlight == 0 {
			delete(sh.states, id)
			return
		}
		if tried++; tried == 16 {
			return
		}
	}
}

// peek runs fn with the state of conv under its shard's lock.
func (c *Core) peek(conv string, fn func(*convState) error) error {
	sh := &c.shards.all[shardIndex(conv)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	st, err := c.conversationLocked(sh, conv)
	if err != nil {
		return err
	}
	return fn(st)
}

// position is what readers need to know of a conversation.
type position struct {
	rec     conversationRecord
	maxSeq  int64 // durable
	maxTime int64 // ms
}

func (c *Core) position(conv string) (p position, err error) {
	err = c.peek(conv, func(st *convState) error {
		p = position{rec: st.rec, maxSeq: st.committed.Load(), maxTime: st.committedTime.Load()}
		return nil
	})
	return p, err
}

// readSeqLocked returns user's read position. The caller holds the shard's lock.
func (c *Core) readSeqLocked(st *convState, user string) (readPos, error) {
	if p, ok := st.reads[user]; ok {
		return p, nil
	}
	r := c.store.Latest()
	b, err := r.Get(Key{Table: TableReadSeq, A: user, B: st.id})
	if err != nil {
		return readPos{}, err
	}
	var p readPos
	if b != nil {
		v, w := binary.Uvarint(b)
		if w <= 0 {
			return readPos{}, fmt.Errorf("core: read position of %s in %s is damaged", user, st.id)
		}
		own, _ := binary.Uvarint(b[w:]) // absent: none
		p = readPos{stored: int64(v), now: int64(v), own: int64(own)}
	}
	if p.own == 0 && p.now < st.maxSeq && !im.IsNotification(st.id) {
		var scanErr error
		err = r.Scan(Range{Table: TableMessage, Fixed: 1, A: st.id, From: uint64(p.now + 1), To: uint64(p.now + readRunMax)},
			func(k Key, v []byte) bool {
				var m wire.Msg
				if scanErr = wire.ScanMsg(v, &m); scanErr != nil || !bytes.Equal(m.SendID, []byte(user)) {
					return false
				}
				p.now = int64(k.N)
				return true
			})
		if err = firstError(err, scanErr); err != nil {
			return readPos{}, err
		}
	}
	st.reads[user] = p
	return p, nil
}

// readMove sets a user's read position as part of a transaction.
type readMove struct {
	conv, user string
	seq        int64
	lower      bool // may move back
}

// moveRead adds the write of r. The caller holds the shard's lock.
func (t *tx) moveRead(r readMove) error {
	st, err := t.c.conversationLocked(&t.c.shards.all[shardIndex(r.conv)], r.conv)
	if err != nil {
		return err
	}
	p, err := t.c.readSeqLocked(st, r.user)
	if err != nil {
		return err
	}
	if seq := min(r.seq, st.maxSeq); seq > p.now || (r.lower && seq != p.now) {
		p := readPos{stored: seq, now: seq}
		if p.own, err = t.c.ownAbove(st, r.user, seq); err != nil {
			return err
		}
		st.reads[r.user] = p
		t.ops = append(t.ops, readOp(r.user, r.conv, p))
	}
	return nil
}

// readSeq returns user's read position in conv, never above the last durable seq.
func (c *Core) readSeq(conv, user string) (seq int64, err error) {
	err = c.peek(conv, func(st *convState) error {
		p, err := c.readSeqLocked(st, user)
		seq = min(p.now, st.committed.Load())
		return err
	})
	return seq, err
}

// readSeqShown is the position that clients compute unread numbers from: readSeq,
// moved up by one for each own message above it.
func (c *Core) readSeqShown(conv, user string) (seq int64, err error) {
	err = c.peek(conv, func(st *convState) error {
		p, err := c.readSeqLocked(st, user)
		seq = min(p.now+p.own, st.committed.Load())
		return err
	})
	return seq, err
}

// ownAbove counts user's messages among the last readRunMax above seq.
func (c *Core) ownAbove(st *convState, user string, seq int64) (n int64, err error) {
	if seq >= st.maxSeq || im.IsNotification(st.id) {
		return 0, nil
	}
	var scanErr error
	err = c.store.Latest().Scan(Range{Table: TableMessage, Fixed: 1, A: st.id, From: uint64(max(seq+1, st.maxSeq-readRunMax)), To: uint64(st.maxSeq + 1)},
		func(_ Key, v []byte) bool {
			var m wire.Msg
			if scanErr = wire.ScanMsg(v, &m); bytes.Equal(m.SendID, []byte(user)) {
				n++
			}
			return scanErr == nil
		})
	return n, firstError(err, scanErr)
}

// readOp is the write that stores a read position.
func readOp(user, conv string, p readPos) Op {
	v := binary.AppendUvarint(nil, uint64(p.now))
	if p.own > 0 {
		v = binary.AppendUvarint(v, uint64(p.own))
	}
	return Op{Key: Key{Table: TableReadSeq, A: user, B: conv}, Value: v}
}
