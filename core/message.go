package core

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// message is one message on its way: built by its sender's goroutine, decided
// under its conversation's shard lock, durable, then delivered. After decide
// nobody changes it but dups.
type message struct {
	conv     string
	rec      conversationRecord // owners, to create or check the conversation's record
	body     []byte             // MsgData as it came; head aliases it
	head     wire.Msg
	force    wire.Options // options the server turns off
	platform int32        // the sender's platform if not 0, else as in body
	key      string       // keyOf; empty for messages that the server made: they have no resends
	stored   bool         // has history: gets a seq and is kept
	readOwn  bool         // the sender has read it (chat, not notification)
	sender   string       // of head
	receiver string       // of head; empty for a group
	to       []string     // users who get it on all their sessions
	toAnyone bool         // the receiver need not be registered
	toGroup  string       // or: the online members of this group, and to
	size     int64        // taken from the in-flight gate

	// Set by decide.
	st       *convState
	seq      int64
	sendTime int64 // ms
	serverID string
	data     []byte // as stored and pushed; immutable, shared

	trace string   // operationID of the request that made it, when reply is nil
	reply *reply   // the session that waits for the answer to 1003, if any
	dups  []*reply // resends that arrived while this one was pending; changed under the shard's lock until delivered
}

// reply is where the answer to a session's request goes.
type reply struct {
	ref         SessionRef
	msgIncr     []byte
	operationID []byte
}

// keyOf is what resends have in common: a hash of the sender and his clientMsgID.
func keyOf(sendID, clientMsgID []byte) string {
	h := sha256.New()
	h.Write(sendID)
	h.Write([]byte{0})
	h.Write(clientMsgID)
	var sum [sha256.Size]byte
	return string(h.Sum(sum[:0])[:16])
}

// newMessage wraps encoded MsgData.
func newMessage(body []byte) (*message, error) {
	m := new(message)
	return m, m.read(body)
}

// read takes m's encoded MsgData. It scans the bytes and so proves that every
// receiver can decode them.
func (m *message) read(body []byte) error {
	m.body = body
	if err := wire.ScanMsg(body, &m.head); err != nil {
		return im.ErrArgs.With("message: %v", err)
	}
	return nil
}

// messageOverhead is what a message costs in flight beside its bytes.
const messageOverhead = 512

// off returns the options that are false for this message.
func (m *message) off() wire.Options { return m.head.Off | m.force }

// tx collects what one decision writes and sends. All of it becomes durable
// together or not at all. Not safe for concurrent use.
type tx struct {
	c     *Core
	ops   []Op
	bumps map[versionSet]*setBump
	msgs  []*message
	reads []readMove
	holds []string // conversations whose shards are locked though no message goes there
	late  []lateOp
	users []string // whose cached facts go stale
	after []func() // run once queued, still under the stripes: caches that follow the store
	// holdOn keeps the stripes until the change is durable: for changes of stored
	// messages, which Latest does not show while they are queued.
	holdOn bool
	now    bool // decided on an event loop: errWait instead of waiting

	done   chan error // receives the outcome when somebody waits
	batch  Batch
	opBuf  [3]Op // of a message: itself, its ID, a read position now and then
	msgBuf [1]*message
}

// lateOp writes what depends on where the transaction's messages stand: it runs
// when they are placed, with the last seq of conv, whose shard the transaction
// holds.
type lateOp struct {
	conv  string
	write func(maxSeq int64) error
}

func (c *Core) newTx() *tx {
	t := new(tx)
	t.init(c)
	return t
}

func (t *tx) init(c *Core) {
	t.c = c
	t.ops, t.msgs = t.opBuf[:0], t.msgBuf[:0]
}

func (t *tx) put(k Key, v []byte)   { t.ops = append(t.ops, Op{Key: k, Value: v}) }
func (t *tx) del(k Key)             { t.ops = append(t.ops, Op{Key: k}) }
func (t *tx) send(m *message)       { t.msgs = append(t.msgs, m) }
func (t *tx) then(fn func())        { t.after = append(t.after, fn) }
func (t *tx) touch(users ...string) { t.users = append(t.users, users...) }

// putProto writes a protobuf record.
func (t *tx) putProto(k Key, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("core: encode record: %w", err)
	}
	if b == nil {
		b = []byte{}
	}
	t.put(k, b)
	return nil
}

// getProto reads a protobuf record into m; false when there is none.
func getProto(r Reader, k Key, m proto.Message) (bool, error) {
	b, err := r.Get(k)
	if err != nil || b == nil {
		return false, err
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return false, fmt.Errorf("core: record %d/%s/%s is damaged: %w", k.Table, k.A, k.B, err)
	}
	return true, nil
}

// update runs decide holding the stripes of names, queues what it wrote, and
// returns when that is durable. When decide wrote nothing it still waits for
// what was queued before, because decide may have seen it.
func (c *Core) update(names []string, decide func(t *tx) error) error {
	t := c.newTx()
	t.done = make(chan error, 1)
	size := int64(0)
	c.inFlight.wait()
	// A panic in decide is its request's error: it must not leave stripes locked.
	unlock := sync.OnceFunc(c.stripes.lock(names...))
	defer unlock()
	err := decide(t)
	if err == nil {
		for _, m := range t.msgs {
			m.size = int64(len(m.body)) + messageOverhead
			size += m.size
		}
		c.inFlight.force(size)
		if err = t.append(); err != nil {
			c.inFlight.give(size)
		}
	}
	if err != nil {
		return err
	}
	if !t.holdOn {
		unlock()
	}
	return <-t.done
}

// append decides the messages and queues the batch. On error nothing was queued.
func (t *tx) append() error {
	t.writeBumps()
	unlock, err := t.decide()
	if err != nil {
		return err
	}
	defer unlock()
	return t.queue()
}

// queue hands the batch to the store and brings the caches up to it. The caller
// holds the stripes and shards of what the batch changes.
func (t *tx) queue() error {
	t.batch = Batch{Ops: t.ops, Done: t.committed, Now: t.now}
	if err := t.c.store.Append(&t.batch); err != nil {
		return err
	}
	for _, u := range t.users {
		t.c.pairs.of(u).Add(1)
	}
	for _, fn := range t.after {
		fn()
	}
	return nil
}

// decide gives every message its place. On success it returns with the shards
// locked, so that batches are queued in the order of their seqs.
func (t *tx) decide() (unlock func(), err error) {
	locked := make([]int, 0, 4)
	for _, m := range t.msgs {
		locked = append(locked, shardIndex(m.conv))
	}
	for _, r := range t.reads {
		locked = append(locked, shardIndex(r.conv))
	}
	for _, conv := range t.holds {
		locked = append(locked, shardIndex(conv))
	}
	slices.Sort(locked)
	locked = slices.Compact(locked)
	for _, i := range locked {
		t.c.shards.all[i].mu.Lock()
	}
	unlock = func() {
		for _, i := range locked {
			t.c.shards.all[i].mu.Unlock()
		}
	}
	placed := false
	defer func() {
		if !placed {
			unlock()
		}
	}()
	if err := t.placeAll(); err != nil {
		return nil, err
	}
	placed = true
	return unlock, nil
}

// placeAll is decide under the locks. Whatever can fail comes before the first
// seq is given, because a seq given and not stored would be missing for ever.
func (t *tx) placeAll() error {
	pin := make(pins)
	defer pin.release()
	for _, m := range t.msgs {
		st, err := t.pinned(pin, m.conv)
		if err != nil {
			return err
		}
		m.st = st
		if err := checkOwners(st, m); err != nil {
			return err
		}
		if m.stored && m.readOwn {
			if _, err := t.c.readSeqLocked(st, m.sender); err != nil {
				return err
			}
		}
	}
	for _, l := range t.late {
		if _, err := t.pinned(pin, l.conv); err != nil {
			return err
		}
	}
	for _, r := range t.reads {
		if _, err := t.pinned(pin, r.conv); err != nil {
			return err
		}
		if err := t.moveRead(r); err != nil {
			return err
		}
	}
	now := t.c.nowMS()
	for _, m := range t.msgs {
		if err := t.c.place(t, m, now); err != nil {
			return err
		}
	}
	for _, l := range t.late {
		if err := l.write(pin[l.conv].maxSeq); err != nil {
			return err
		}
	}
	return nil
}

// pins are the states that one decision uses. Until it ends they stay in memory:
// a state that was dropped between its loading and its use would go on beside a
// second one, and both would give the same seqs.
type pins map[string]*convState

func (p pins) release() {
	for _, st := range p {
		st.inFlight--
	}
}

// pinned loads conv's state and keeps it in p. The caller holds the shard's lock.
func (t *tx) pinned(p pins, conv string) (*convState, error) {
	if st := p[conv]; st != nil {
		return st, nil
	}
	st, err := t.c.conversationLocked(&t.c.shards.all[shardIndex(conv)], conv)
	if err != nil {
		return nil, err
	}
	st.inFlight++
	p[conv] = st
	return st, nil
}

// checkOwners refuses a conversation ID that already belongs to others: user IDs
// may contain '_', so {a, b_c} and {a_b, c} would share one.
func checkOwners(st *convState, m *message) error {
	if m.stored && st.rec.kind != kindNone && !st.rec.sameOwners(m.rec) {
		return im.ErrArgs.With("conversation %s already belongs to other users", m.conv)
	}
	return nil
}

// step is the decision about one message on plain state: where it stands in its
// conversation. now is in ms.
func (st *convState) step(stored bool, now int64) (seq, sendTime int64) {
	if !stored {
		return 0, now
	}
	st.maxSeq++
	st.lastTime = max(now, st.lastTime+1)
	return st.maxSeq, st.lastTime
}

// place decides m in its conversation and adds its writes. The caller holds the
// shard's lock.
func (c *Core) place(t *tx, m *message, now int64) error {
	st := m.st
	var pos readPos
	var err error
	if m.stored && m.readOwn {
		if pos, err = c.readSeqLocked(st, m.sender); err != nil {
			return err
		}
	}
	c.stats.sent.Add(1)
	m.seq, m.sendTime = st.step(m.stored, now)
	m.serverID = c.newID()
	m.data = m.encode()
	if !m.stored {
		return nil
	}
	if st.rec.kind == kindNone {
		st.rec = m.rec
		t.put(Key{Table: TableConversation, A: m.conv}, m.rec.encode())
		if m.rec.kind == kindPair && im.IsNotification(m.conv) {
			t.put(Key{Table: TableNotice, A: m.rec.a, B: m.conv}, []byte{})
			t.put(Key{Table: TableNotice, A: m.rec.b, B: m.conv}, []byte{})
		}
	}
	t.put(Key{Table: TableMessage, A: m.conv, N: uint64(m.seq)}, m.data)
	if m.readOwn {
		// Sending does not read what others sent before.
		if gap := pos.now != m.seq-1; gap {
			pos.own++
		} else {
			pos.now = m.seq
		}
		if pos.own > 0 || pos.now-pos.stored >= readRunMax {
			pos.stored = pos.now
			t.ops = append(t.ops, readOp(m.sender, m.conv, pos))
		}
		st.reads[m.sender] = pos
	}
	st.inFlight++
	if m.key != "" {
		id := binary.AppendUvarint(m.data, uint64(m.seq))[len(m.data):] // encode left room for it
		t.put(Key{Table: TableMessageID, A: m.conv, B: m.key}, id)
		if st.pending == nil {
			st.pending = make(map[string]*message)
		}
		st.pending[m.key] = m
	}
	return nil
}

// delivered ends m's time in flight: from now on m.dups stays as it is.
func (c *Core) delivered(m *message) {
	if !m.stored {
		return
	}
	sh := &c.shards.all[shardIndex(m.conv)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m.st.inFlight--
	if m.key != "" {
		delete(m.st.pending, m.key)
	}
}

// encode appends the server's fields to the sender's bytes: the last value of a
// protobuf field wins.
func (m *message) encode() []byte {
	f := wire.ServerFields{
		Seq: m.seq, SendTime: m.sendTime, ServerMsgID: m.serverID,
		Status: im.MsgStatusSent, SenderPlatformID: m.platform, Off: m.force,
	}
	if m.platform == 0 {
		f.SenderPlatformID = m.head.SenderPlatformID
	}
	data := make([]byte, 0, len(m.body)+serverFieldsRoom)
	data = append(data, m.body...)
	return wire.AppendServerFields(data, &f)
}

// serverFieldsRoom is enough for AppendServerFields, mostly, and one number more.
const serverFieldsRoom = 96 + binary.MaxVarintLen64

// committed is the batch's Done: on the committer's goroutine, in order.
func (t *tx) committed(err error) {
	for _, m := range t.msgs {
		if err != nil {
			t.c.inFlight.give(m.size) // the store is gone; who waits for room must learn it
			continue
		}
		if m.stored {
			m.st.committed.Store(m.seq)
			m.st.committedTime.Store(m.sendTime)
		}
		t.c.delivererOf(m.conv).push(m)
	}
	t.end(err)
}

// end tells who waits for the transaction, if anybody does.
func (t *tx) end(err error) {
	if t.done != nil {
		t.done <- err
	}
}
