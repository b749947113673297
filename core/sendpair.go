package core

import (
	"encoding/binary"
	"fmt"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// pairFacts is what the rules need to know of the two users of a conversation,
// kept in its state and read again when an epoch moved.
type pairFacts struct {
	rec            conversationRecord // the two: another pair's may share the conversation's ID
	epochA, epochB uint32
	a, b           userFacts
	rows           bool // both have the conversation in their list
}

// userFacts are about one user towards the other.
type userFacts struct {
	exists  bool
	blocks  bool  // has the other in the black list
	friend  bool  // has the other in the friend list
	recvOpt int32 // what he wants to receive here: the stricter of global and conversation
}

// factsLocked returns the facts about the pair of m. The caller holds the
// shard's lock.
func (c *Core) factsLocked(t *tx, st *convState, m *message) (*pairFacts, error) {
	ea, eb := c.pairs.of(m.rec.a).Load(), c.pairs.of(m.rec.b).Load()
	if f := st.facts; f != nil && f.epochA == ea && f.epochB == eb && f.rec == m.rec {
		return f, nil
	}
	if t.now {
		return nil, errWait
	}
	r := c.store.Latest()
	f := &pairFacts{rec: m.rec, epochA: ea, epochB: eb}
	var rowA, rowB bool
	var err error
	if f.a, rowA, err = c.readUserFacts(r, m.rec.a, m.rec.b, m.conv); err != nil {
		return nil, err
	}
	if f.b, rowB, err = c.readUserFacts(r, m.rec.b, m.rec.a, m.conv); err != nil {
		return nil, err
	}
	f.rows = rowA && rowB
	if m.head.SessionType == im.NotificationChat {
		f.rows = (rowA || m.rec.a != m.receiver) && (rowB || m.rec.b != m.receiver)
	}
	st.facts = f
	return f, nil
}

func (c *Core) readUserFacts(r Reader, user, other, conv string) (f userFacts, row bool, err error) {
	u, err := c.user(r, user)
	if err != nil {
		return f, false, err
	}
	if u != nil {
		f.exists, f.recvOpt = true, u.GlobalRecvMsgOpt
	}
	black, err := r.Get(Key{Table: TableBlack, A: user, B: other})
	if err != nil {
		return f, false, err
	}
	f.blocks = black != nil
	if c.opt.FriendVerify {
		friend, err := r.Get(Key{Table: TableFriend, A: user, B: other})
		if err != nil {
			return f, false, err
		}
		f.friend = friend != nil
	}
	var own conversation.Conversation
	row, err = getProto(r, Key{Table: TableInbox, A: user, B: conv}, &own)
	if f.recvOpt == im.RecvNormal || own.RecvMsgOpt == im.RecvNothing {
		f.recvOpt = own.RecvMsgOpt
	}
	return f, row, err
}

// of returns the facts about user.
func (f *pairFacts) of(rec conversationRecord, user string) *userFacts {
	if rec.a == user {
		return &f.a
	}
	return &f.b
}

// submitPair is submit for a conversation of two users.
func (c *Core) submitPair(t *tx, m *message, admin bool) (outcome, error) {
	if out, done, err := c.tryPair(t, m, admin); err != nil || done {
		return out, err
	}
	if t.now {
		return queued, errWait
	}
	// The first message: the conversation enters both users' lists, in the same
	// commit. That changes two versioned lists, so their stripes come first.
	unlock := c.stripes.lock(userName(m.rec.a), userName(m.rec.b))
	defer unlock()
	var err error
	if m.head.SessionType == im.NotificationChat {
		err = t.inboxRow(m.receiver, m)
	} else {
		err = t.pairRows(m.rec.a, m.rec.b)
	}
	if err != nil {
		return queued, err
	}
	t.writeBumps()
	sh := &c.shards.all[shardIndex(m.conv)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	st, err := c.conversationLocked(sh, m.conv)
	if err != nil {
		return queued, err
	}
	if out, err := c.pairRulesLocked(t, st, m, admin); err != nil || out != queued {
		return out, err
	}
	return queued, c.queueLocked(t, st, m)
}

// tryPair is submitPair for a conversation that is in its users' lists already;
// done is false when it is not and m must still be queued.
func (c *Core) tryPair(t *tx, m *message, admin bool) (out outcome, done bool, err error) {
	sh := &c.shards.all[shardIndex(m.conv)]
	if !sh.enter(t, m) {
		return queued, false, errWait
	}
	defer sh.mu.Unlock()
	st, err := c.conversationLocked(sh, m.conv)
	if err != nil {
		return queued, false, err
	}
	if out, err := c.pairRulesLocked(t, st, m, admin); err != nil || out != queued {
		return out, true, err
	}
	if m.stored && !st.facts.rows {
		return queued, false, nil
	}
	return queued, true, c.queueLocked(t, st, m)
}

// pairRulesLocked applies the rules for single chat (contract §6.1, rows 5–10).
func (c *Core) pairRulesLocked(t *tx, st *convState, m *message, admin bool) (outcome, error) {
	// Online-only messages too: the facts about the owners are kept in the state.
	if st.rec.kind != kindNone && !st.rec.sameOwners(m.rec) {
		return queued, im.ErrArgs.With("conversation %s already belongs to other users", m.conv)
	}
	// A resend comes before the rules: what they say now does not change what the
	// first message was told.
	if m.stored {
		if out, err := c.repeatedLocked(t, st, m); err != nil || out != queued {
			return out, err
		}
	}
	f, err := c.factsLocked(t, st, m)
	if err != nil {
		return queued, err
	}
	to := f.of(m.rec, m.receiver)
	if m.reply != nil && !f.of(m.rec, m.sender).exists {
		// Deleted while his session was open: his list must not come to life again.
		return queued, im.ErrUserIDNotFound.With("user %s not found", m.sender)
	}
	if !to.exists && !m.toAnyone {
		return queued, im.ErrRecordNotFound.With("user %s not found", m.receiver)
	}
	if !admin && m.sender != m.receiver {
		if to.blocks {
			return queued, im.ErrBlockedByPeer
		}
		if c.opt.FriendVerify && !to.friend && m.head.SessionType == im.SingleChat {
			return queued, im.ErrNotPeersFriend
		}
	}
	if m.sender != m.receiver {
		switch to.recvOpt {
		case im.RecvNothing:
			// The sender is told "sent", as OpenIM's users expect of a peer who does
			// not want messages; nothing is stored, because seq is shared.
			m.serverID, m.sendTime = c.newID(), c.nowMS()
			t.end(nil)
			return answered, nil
		case im.RecvWithoutPush:
			m.force |= wire.OptOfflinePush
		}
	}
	return queued, nil
}

// repeatedLocked looks for an earlier message of the same sender and clientMsgID
// in the conversation. A durable one is answered from the store; one in flight
// takes m's reply along.
func (c *Core) repeatedLocked(t *tx, st *convState, m *message) (outcome, error) {
	if first := st.pending[m.key]; first != nil {
		c.stats.repeated.Add(1)
		m.serverID, m.sendTime = first.serverID, first.sendTime
		if m.reply != nil {
			first.dups = append(first.dups, m.reply)
			return joined, nil
		}
		// The caller waits for the first message's commit: an empty batch queued
		// behind it completes after it.
		t.batch = Batch{Done: t.committed}
		return joined, c.store.Append(&t.batch)
	}
	k := Key{Table: TableMessageID, A: m.conv, B: m.key}
	if t.now {
		if !c.store.Absent(k) {
			return queued, errWait
		}
		return queued, nil
	}
	r := c.store.Latest()
	b, err := r.Get(k)
	if err != nil || b == nil {
		return queued, err
	}
	seq, w := binary.Uvarint(b)
	if w <= 0 {
		return queued, fmt.Errorf("core: message ID record in %s is damaged", m.conv)
	}
	data, err := r.Get(Key{Table: TableMessage, A: m.conv, N: seq})
	if err != nil {
		return queued, err
	}
	if data == nil {
		// Removed by retention; its ID stays taken.
		return queued, im.ErrRecordNotFound.With("message %s was removed", m.head.ClientMsgID)
	}
	var d sdkws.MsgData
	if err := proto.Unmarshal(data, &d); err != nil {
		return queued, fmt.Errorf("core: message %s/%d is damaged: %w", m.conv, seq, err)
	}
	c.stats.repeated.Add(1)
	m.serverID, m.sendTime, m.seq, m.data = d.ServerMsgID, d.SendTime, d.Seq, data
	t.end(nil)
	return answered, nil
}
