package core

import (
	"errors"
	"sort"

	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// Removing messages for everybody, silently, is the administrator's: to meet a
// rule about how long messages are kept, or to take single ones out.

// empty takes out of a stored message what it said. Its row stays as a
// placeholder with the true sender and times, so that no seq is missing.
func (t *tx) empty(conv string, m *sdkws.MsgData) error {
	m.Content, m.Status, m.AttachedInfo, m.Ex, m.OfflinePushInfo = nil, im.MsgStatusDeleted, "", "", nil
	return t.putProto(Key{Table: TableMessage, A: conv, N: uint64(m.Seq)}, m)
}

// DeleteMsgPhysicalBySeq removes single messages of a conversation for
// everybody. Those that do not exist, or were removed before, are left out.
func (c *Core) DeleteMsgPhysicalBySeq(from Caller, req *msg.DeleteMsgPhysicalBySeqReq) (*msg.DeleteMsgPhysicalBySeqResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if len(req.Seqs) == 0 || len(req.Seqs) > receiptMax {
		return nil, im.ErrArgs.With("seqs must hold 1 to %d elements", receiptMax)
	}
	err := c.update([]string{conversationName(req.ConversationID)}, func(t *tx) error {
		t.holdOn = true
		w, err := c.windowFor(from, from.UserID, req.ConversationID)
		if err != nil {
			return err
		}
		for _, seq := range req.Seqs {
			m, err := c.storedMessage(c.store.Latest(), w, req.ConversationID, seq)
			if errors.Is(err, im.ErrRecordNotFound) {
				continue
			}
			if err := firstError(err, t.empty(req.ConversationID, m)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &msg.DeleteMsgPhysicalBySeqResp{}, nil
}

// DeleteMsgPhysical removes what is older than timestamp (an age in seconds) from
// the given conversations, for everybody. Conversations without messages are left
// out. Each is a change of its own. OpenIM does not look at the list and removes
// from all conversations; here an empty list is an error.
func (c *Core) DeleteMsgPhysical(from Caller, req *msg.DeleteMsgPhysicalReq) (*msg.DeleteMsgPhysicalResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if len(req.ConversationIDs) == 0 {
		return nil, im.ErrArgs.With("conversationIDs is empty")
	}
	if err := checkList(len(req.ConversationIDs), "conversations"); err != nil {
		return nil, err
	}
	if req.Timestamp < 0 {
		return nil, im.ErrArgs.With("timestamp is an age in seconds")
	}
	now := c.nowMS()
	before := now - min(req.Timestamp, now/1000)*1000
	for _, conv := range req.ConversationIDs {
		err := c.update([]string{conversationName(conv)}, func(t *tx) error { return t.removeBefore(from, conv, before) })
		if err != nil {
			return nil, err
		}
	}
	return &msg.DeleteMsgPhysicalResp{}, nil
}

// removeBefore removes conv's messages with a sendTime before a time in ms, and
// moves its first visible seq past them.
func (t *tx) removeBefore(from Caller, conv string, before int64) error {
	t.holdOn = true
	w, err := t.c.windowFor(from, from.UserID, conv)
	if errors.Is(err, im.ErrRecordNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r := t.c.store.Latest()
	// sendTime rises with seq. Rows below an earlier removal are missing, so the
	// first one at or above a seq answers for it.
	var failed error
	young := sort.Search(int(w.maxSeq), func(i int) bool {
		head, err := firstRow(r, conv, int64(i)+1)
		failed = firstError(failed, err)
		return err != nil || head.SendTime >= before
	})
	if failed != nil {
		return failed
	}
	last := int64(young) // the newest that goes
	if last < 1 {
		return nil
	}
	m := new(sdkws.MsgData)
	if _, err := getProto(r, Key{Table: TableMessage, A: conv, N: uint64(last)}, m); err != nil {
		return err
	}
	head, err := firstRow(r, conv, 1)
	if err != nil || (head.Seq == last && head.Status == im.MsgStatusDeleted) {
		return err // removed before
	}
	// The newest row stays, empty: if it is the conversation's last, the next seq
	// and sendTime follow from it.
	t.ops = append(t.ops, Op{Key: Key{Table: TableMessage, A: conv}, To: uint64(last)})
	if err := t.empty(conv, m); err != nil {
		return err
	}
	rec := w.rec
	rec.minSeq = max(rec.minSeq, last+1)
	t.saveConversation(conv, rec)
	return nil
}

// firstRow reads the head of the first stored message at or above seq; only its
// numbers are valid.
func firstRow(r Reader, conv string, seq int64) (head wire.Msg, err error) {
	var damaged error
	err = r.Scan(Range{Table: TableMessage, Fixed: 1, A: conv, From: uint64(seq)}, func(_ Key, v []byte) bool {
		damaged = wire.ScanMsg(v, &head)
		return false
	})
	return head, firstError(err, damaged)
}

// saveConversation changes the record of a conversation that has messages, in the
// store and in memory. The caller holds the stripe of the conversation's changes.
func (t *tx) saveConversation(conv string, rec conversationRecord) {
	t.holds = append(t.holds, conv)
	t.put(Key{Table: TableConversation, A: conv}, rec.encode())
	t.then(func() {
		sh := &t.c.shards.all[shardIndex(conv)]
		if st := sh.states[conv]; st != nil {
			st.rec = rec
		}
	})
}
