package core

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/openimsdk/protocol/conversation"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
)

const (
	// answerMax bounds the message bytes of one answer, so that the frame stays
	// under the 1 MiB that SDK clients accept (contract §1.6) also as JSON, whose
	// base64 adds a third.
	answerMax = 640 << 10
	// pullMax bounds the messages one conversation contributes to one answer.
	pullMax = 1000
	// seekMax bounds how many deleted messages the search for the last visible one
	// passes over.
	seekMax = 1000
	// placeholderSize is about what a placeholder takes in an answer, in bytes.
	placeholderSize = 200
)

// window is what a user may see of a conversation: lo..hi, empty when lo > hi.
type window struct {
	position
	lo, hi int64
	row    *conversation.Conversation // the user's row; nil for notification conversations
}

// see returns user's window on conv; ok is false when the conversation is not
// the user's (then nothing of it may be answered).
func (c *Core) see(view Reader, user, conv string) (w window, ok bool, err error) {
	// Whose it is comes first: a state is loaded for conversations of the user's
	// only, or he could fill the memory with names.
	if im.IsNotification(conv) {
		b, err := view.Get(Key{Table: TableConversation, A: conv})
		if err != nil || b == nil {
			return w, false, err
		}
		rec, err := decodeConversationRecord(b)
		if err != nil {
			return w, false, err
		}
		if rec.kind == kindNotice {
			b, err = view.Get(Key{Table: TableMember, A: rec.a, B: user})
			ok = b != nil
		} else {
			ok = rec.has(user)
		}
		if err != nil || !ok {
			return w, false, err
		}
	} else {
		w.row = new(conversation.Conversation)
		ok, err = getProto(view, Key{Table: TableInbox, A: user, B: conv}, w.row)
		if err != nil || !ok {
			return w, false, err
		}
	}
	if w.position, err = c.position(conv); err != nil {
		return w, false, err
	}
	w.lo, w.hi = max(1, w.rec.minSeq), w.maxSeq
	if w.row == nil {
		return w, true, nil
	}
	switch {
	case w.rec.kind == kindNone: // in the list, but no message yet
		w.rec = rowRecord(w.row)
	case w.rec.kind == kindPair && !w.rec.has(user):
		// Another pair's, whose ID is the same: it came into being after the row.
		return w, false, nil
	}
	w.lo = max(w.lo, w.row.MinSeq)
	if w.row.MaxSeq != 0 {
		w.hi = max(0, min(w.hi, w.row.MaxSeq))
	}
	return w, true, nil
}

// seeRead is see with the read position that clients compute unread numbers from:
// w.hi - read is how much there is to read. What the user cannot see any more,
// because it was cleared or removed, or was before him, is not unread.
func (c *Core) seeRead(view Reader, user, conv string) (w window, read int64, ok bool, err error) {
	if w, ok, err = c.see(view, user, conv); err != nil || !ok {
		return window{}, 0, false, err
	}
	read, err = c.readSeqShown(conv, user)
	return w, min(max(read, w.lo-1), w.hi), true, err
}

// rowRecord tells the owners of a conversation from one of its rows.
func rowRecord(row *conversation.Conversation) conversationRecord {
	if row.GroupID != "" {
		return conversationRecord{kind: kindGroup, a: row.GroupID}
	}
	return pairRecord(row.OwnerUserID, row.UserID)
}

// inbox lists the IDs of user's conversations.
func inbox(r Reader, user string) (ids []string, err error) {
	err = r.Scan(Range{Table: TableInbox, Fixed: 1, A: user}, func(k Key, _ []byte) bool {
		ids = append(ids, k.B)
		return true
	})
	return ids, err
}

// GetMaxSeq answers the last seq of each of the user's conversations and of his
// notification conversations (1001).
func (c *Core) GetMaxSeq(from Caller, req *sdkws.GetMaxSeqReq) (*sdkws.GetMaxSeqResp, error) {
	if err := from.self(req.UserID); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	ids, err := inbox(view, req.UserID)
	if err != nil {
		return nil, err
	}
	resp := &sdkws.GetMaxSeqResp{MaxSeqs: make(map[string]int64), MinSeqs: make(map[string]int64)}
	add := func(conv string) error {
		w, ok, err := c.see(view, req.UserID, conv)
		if err == nil && ok && w.hi > 0 {
			resp.MaxSeqs[conv] = w.hi
		}
		return err
	}
	err = view.Scan(Range{Table: TableNotice, Fixed: 1, A: req.UserID}, func(k Key, _ []byte) bool {
		ids = append(ids, k.B)
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := add(id); err != nil {
			return nil, err
		}
		if group, ok := strings.CutPrefix(id, im.GroupID("")); ok {
			if err := add(im.NotifyGroupID(group)); err != nil {
				return nil, err
			}
		}
	}
	return resp, nil
}

// puller collects the messages of one answer.
type puller struct {
	c      *Core
	view   View
	user   string
	budget int
}

// pull returns user's view of lo..hi of w's conversation, ascending, at most the
// last num. It stops before what the answer has no room for, keeping the newest.
func (p *puller) pull(conv string, w window, lo, hi, num int64) ([]*sdkws.MsgData, error) {
	lo, hi = max(lo, w.lo), min(hi, w.hi)
	if lo > hi || num < 1 || p.budget < 0 {
		return nil, nil
	}
	lo = max(lo, hi-num+1)
	hidden, err := p.hidden(conv, lo, hi)
	if err != nil {
		return nil, err
	}
	var out []*sdkws.MsgData
	var damaged error
	next := int64(0) // 0: nothing found yet. The view may be older than hi, so nothing above its first row is missing
	err = p.view.Scan(Range{Table: TableMessage, Fixed: 1, A: conv, From: uint64(lo), To: uint64(hi), Reverse: true},
		func(k Key, v []byte) bool {
			if p.budget -= len(v); p.budget < 0 {
				return false
			}
			m := new(sdkws.MsgData)
			if damaged = proto.Unmarshal(v, m); damaged != nil {
				return false
			}
			for ; next > int64(k.N); next-- { // removed by retention
				if p.budget -= placeholderSize; p.budget < 0 {
					return false
				}
				out = append(out, placeholder(conv, next, w.rec, m.SendTime+1))
			}
			next = int64(k.N) - 1
			if hidden[m.Seq] {
				m.Content, m.Status = nil, im.MsgStatusDeleted
			}
			out = append(out, m)
			return true
		})
	if err = firstError(err, damaged); err != nil {
		return nil, fmt.Errorf("pull %s %d..%d: %w", conv, lo, hi, err)
	}
	slices.Reverse(out)
	for _, m := range out {
		p.quote(conv, m)
	}
	return out, p.markRead(conv, w, out)
}

// hidden returns which of lo..hi the user deleted for himself.
func (p *puller) hidden(conv string, lo, hi int64) (map[int64]bool, error) {
	var set map[int64]bool
	err := p.view.Scan(Range{Table: TableHidden, Fixed: 2, A: p.user, B: conv, From: uint64(lo), To: uint64(hi)},
		func(k Key, _ []byte) bool {
			if set == nil {
				set = make(map[int64]bool)
			}
			set[int64(k.N)] = true
			return true
		})
	return set, err
}

// markRead sets isRead on messages of a single chat: a message is read when the
// other user's read position has reached it.
func (p *puller) markRead(conv string, w window, msgs []*sdkws.MsgData) error {
	if w.rec.kind != kindPair || w.row == nil || len(msgs) == 0 {
		return nil
	}
	a, err := p.c.readSeq(conv, w.rec.a)
	if err != nil {
		return err
	}
	b, err := p.c.readSeq(conv, w.rec.b)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if m.SendID == w.rec.a {
			m.IsRead = m.Seq <= b
		} else {
			m.IsRead = m.Seq <= a
		}
	}
	return nil
}

// placeholder stands for a message that no longer exists: unique, stable, dated,
// so that clients neither repeat the question nor merge it with another.
func placeholder(conv string, seq int64, rec conversationRecord, sendTime int64) *sdkws.MsgData {
	sum := sha256.Sum256([]byte(conv))
	id := fmt.Sprintf("del_%s_%d", hex.EncodeToString(sum[:6]), seq)
	m := &sdkws.MsgData{
		Seq: seq, Status: im.MsgStatusDeleted, ClientMsgID: id, ServerMsgID: id, SendTime: sendTime, CreateTime: sendTime,
		SendID: rec.a, RecvID: rec.b, SessionType: im.SingleChat,
	}
	switch {
	case rec.kind != kindPair:
		m.SendID, m.RecvID, m.GroupID, m.SessionType = "", "", rec.a, im.GroupChat
	case strings.HasPrefix(conv, "sn_"):
		m.SessionType = im.NotificationChat
	}
	return m
}

// quote rewrites a quoting message whose quoted message was revoked.
func (p *puller) quote(conv string, m *sdkws.MsgData) {
	if m.ContentType != im.ContentQuote {
		return
	}
	var content, quoted map[string]json.RawMessage
	var seq int64
	if json.Unmarshal(m.Content, &content) != nil || json.Unmarshal(content["quoteMessage"], &quoted) != nil ||
		json.Unmarshal(quoted["seq"], &seq) != nil || seq <= 0 {
		return // not the SDK's form: passed on as it is
	}
	data, err := p.view.Get(Key{Table: TableMessage, A: conv, N: uint64(seq)})
	var original sdkws.MsgData
	if err != nil || data == nil || proto.Unmarshal(data, &original) != nil || original.ContentType != im.NotifyRevoke {
		return
	}
	text, _ := json.Marshal(string(original.Content))
	quoted["contentType"] = json.RawMessage(fmt.Sprint(im.NotifyRevoke))
	quoted["content"] = text
	if raw, err := json.Marshal(quoted); err == nil {
		content["quoteMessage"] = raw
		if raw, err = json.Marshal(content); err == nil {
			m.Content = raw
		}
	}
}

// PullMessageBySeqs answers ranges of seqs (1002). Conversations that are not
// the user's are left out. Of chats it answers the last num of a range, of
// notifications all that fit, the newest first to be kept.
func (c *Core) PullMessageBySeqs(from Caller, req *sdkws.PullMessageBySeqsReq) (*sdkws.PullMessageBySeqsResp, error) {
	if err := checkList(len(req.SeqRanges), "ranges"); err != nil {
		return nil, err
	}
	if err := from.self(req.UserID); err != nil {
		return nil, err
	}
	p := &puller{c: c, view: c.store.Committed(), user: req.UserID, budget: answerMax}
	defer p.view.Release()
	resp := &sdkws.PullMessageBySeqsResp{
		Msgs: make(map[string]*sdkws.PullMsgs), NotificationMsgs: make(map[string]*sdkws.PullMsgs),
	}
	for _, r := range req.SeqRanges {
		if r == nil {
			continue
		}
		w, ok, err := c.see(p.view, req.UserID, r.ConversationID)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		into, num := resp.Msgs, min(r.Num, pullMax)
		if im.IsNotification(r.ConversationID) {
			into, num = resp.NotificationMsgs, 1<<40
		}
		msgs, err := p.pull(r.ConversationID, w, r.Begin, r.End, num)
		if err != nil {
			return nil, err
		}
		if im.IsNotification(r.ConversationID) { // clients would take a placeholder for one of its kind
			msgs = slices.DeleteFunc(msgs, func(m *sdkws.MsgData) bool { return m.Status == im.MsgStatusDeleted })
		}
		if len(msgs) > 0 {
			into[r.ConversationID] = &sdkws.PullMsgs{Msgs: msgs, EndSeq: r.End}
		}
	}
	return resp, nil
}

// GetSeqMessage answers single seqs (1005): one element per asked seq in the
// user's window, ascending, placeholders included. isEnd says that the list
// reached the window's border in the direction asked.
func (c *Core) GetSeqMessage(from Caller, req *msg.GetSeqMessageReq) (*msg.GetSeqMessageResp, error) {
	if err := from.self(req.UserID); err != nil {
		return nil, err
	}
	asked := len(req.Conversations)
	for _, q := range req.Conversations {
		asked += len(q.GetSeqs())
	}
	if err := checkList(asked, "seqs"); err != nil {
		return nil, err
	}
	p := &puller{c: c, view: c.store.Committed(), user: req.UserID, budget: answerMax}
	defer p.view.Release()
	resp := &msg.GetSeqMessageResp{Msgs: make(map[string]*sdkws.PullMsgs), NotificationMsgs: make(map[string]*sdkws.PullMsgs)}
	for _, q := range req.Conversations {
		if q == nil {
			continue
		}
		w, ok, err := c.see(p.view, req.UserID, q.ConversationID)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		list := &sdkws.PullMsgs{}
		if list.Msgs, err = p.pick(q.ConversationID, w, q.Seqs); err != nil {
			return nil, err
		}
		for _, s := range q.Seqs {
			switch {
			case req.Order == sdkws.PullOrder_PullOrderDesc && s < w.lo:
				list.IsEnd, list.EndSeq = true, w.lo
			case req.Order == sdkws.PullOrder_PullOrderAsc && s > w.hi:
				list.IsEnd, list.EndSeq = true, w.hi
			}
		}
		if im.IsNotification(q.ConversationID) {
			resp.NotificationMsgs[q.ConversationID] = list
		} else {
			resp.Msgs[q.ConversationID] = list
		}
	}
	return resp, nil
}

// pick returns the asked seqs in ascending order, run by run.
func (p *puller) pick(conv string, w window, seqs []int64) ([]*sdkws.MsgData, error) {
	seqs = slices.Clone(seqs)
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	if len(seqs) > pullMax {
		seqs = seqs[len(seqs)-pullMax:]
	}
	var out []*sdkws.MsgData
	for i := 0; i < len(seqs); {
		j := i + 1
		for j < len(seqs) && seqs[j] == seqs[j-1]+1 {
			j++
		}
		run, err := p.pull(conv, w, seqs[i], seqs[j-1], int64(j-i))
		if err != nil {
			return nil, err
		}
		out = append(out, run...)
		i = j
	}
	return out, nil
}

// GetLastMessage answers the newest message of each conversation that the user
// can still see (1007).
func (c *Core) GetLastMessage(from Caller, req *msg.GetLastMessageReq) (*msg.GetLastMessageResp, error) {
	if err := checkList(len(req.ConversationIDs), "conversations"); err != nil {
		return nil, err
	}
	if err := from.self(req.UserID); err != nil {
		return nil, err
	}
	p := &puller{c: c, view: c.store.Committed(), user: req.UserID, budget: answerMax}
	defer p.view.Release()
	resp := &msg.GetLastMessageResp{Msgs: make(map[string]*sdkws.MsgData)}
	for _, conv := range req.ConversationIDs {
		m, err := p.last(conv)
		if err != nil {
			return nil, err
		}
		if m != nil {
			resp.Msgs[conv] = m
		}
	}
	return resp, nil
}

// last returns the newest message of conv that the user can see, or nil.
func (p *puller) last(conv string) (*sdkws.MsgData, error) {
	w, ok, err := p.c.see(p.view, p.user, conv)
	if err != nil || !ok {
		return nil, err
	}
	const step = 16
	left := p.budget // only what is answered counts
	defer func() { p.budget = left }()
	num := int64(1) // nearly always the first look finds it
	for hi := w.hi; left >= 0 && hi >= w.lo && hi > w.hi-seekMax; {
		p.budget = answerMax
		msgs, err := p.pull(conv, w, hi-num+1, hi, num)
		if err != nil {
			return nil, err
		}
		for i := len(msgs) - 1; i >= 0; i-- {
			if msgs[i].Status < im.MsgStatusDeleted {
				if left -= proto.Size(msgs[i]); left < 0 {
					return nil, nil
				}
				return msgs[i], nil
			}
		}
		hi -= num
		num = step
	}
	return nil, nil
}

// GetConversationsHasReadAndMaxSeq answers read positions (1006); an empty list
// asks for all of the user's chats.
func (c *Core) GetConversationsHasReadAndMaxSeq(from Caller, req *msg.GetConversationsHasReadAndMaxSeqReq) (*msg.GetConversationsHasReadAndMaxSeqResp, error) {
	if err := checkList(len(req.ConversationIDs), "conversations"); err != nil {
		return nil, err
	}
	if err := from.self(req.UserID); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	ids := req.ConversationIDs
	if len(ids) == 0 {
		var err error
		if ids, err = inbox(view, req.UserID); err != nil {
			return nil, err
		}
	}
	resp := &msg.GetConversationsHasReadAndMaxSeqResp{Seqs: make(map[string]*msg.Seqs), PinnedConversationIDs: []string{}}
	for _, conv := range ids {
		w, read, ok, err := c.seeRead(view, req.UserID, conv)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		resp.Seqs[conv] = &msg.Seqs{MaxSeq: w.hi, HasReadSeq: read, MaxSeqTime: w.maxTime}
		if req.ReturnPinned && w.row != nil && w.row.IsPinned {
			resp.PinnedConversationIDs = append(resp.PinnedConversationIDs, conv)
		}
	}
	return resp, nil
}
