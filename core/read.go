package core

import (
	"slices"
	"strings"

	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// receiptMax bounds the seqs one read receipt names; a reader of more gets the
// newest named, and hasReadSeq covers the rest.
const receiptMax = 5000

func isSingle(conv string) bool { return strings.HasPrefix(conv, "si_") }

// mustSee is see for one call about one conversation: ErrRecordNotFound when it
// is not the user's.
func (c *Core) mustSee(user, conv string) (window, error) {
	view := c.store.Committed()
	defer view.Release()
	w, ok, err := c.see(view, user, conv)
	if err == nil && !ok {
		err = im.ErrRecordNotFound.With("user %s has no conversation %s", user, conv)
	}
	return w, err
}

// MarkConversationAsRead moves a user's read position up to hasReadSeq. In a
// single chat the peer gets a receipt (2200) that names what became read; in
// others the user's own devices learn the position.
func (c *Core) MarkConversationAsRead(from Caller, req *msg.MarkConversationAsReadReq) (*msg.MarkConversationAsReadResp, error) {
	if req.HasReadSeq < 1 {
		return nil, im.ErrArgs.With("hasReadSeq must be at least 1")
	}
	err := c.markRead(from, req.UserID, req.ConversationID, req.HasReadSeq, req.Seqs, true)
	if err != nil {
		return nil, err
	}
	return &msg.MarkConversationAsReadResp{}, nil
}

// MarkMsgsAsRead marks single messages of a chat read; the read position follows
// the last of them.
func (c *Core) MarkMsgsAsRead(from Caller, req *msg.MarkMsgsAsReadReq) (*msg.MarkMsgsAsReadResp, error) {
	if len(req.Seqs) == 0 || slices.Min(req.Seqs) < 1 {
		return nil, im.ErrArgs.With("seqs must be at least 1")
	}
	w, err := c.mustSeeAs(from, req.UserID, req.ConversationID)
	if err != nil {
		return nil, err
	}
	last := slices.Max(req.Seqs)
	if last > w.maxSeq {
		return nil, im.ErrArgs.With("seq %d is above the last seq %d", last, w.maxSeq)
	}
	if err := c.markRead(from, req.UserID, req.ConversationID, last, req.Seqs, false); err != nil {
		return nil, err
	}
	return &msg.MarkMsgsAsReadResp{}, nil
}

func (c *Core) mustSeeAs(from Caller, user, conv string) (window, error) {
	if err := from.self(user); err != nil {
		return window{}, err
	}
	return c.mustSee(user, conv)
}

// markRead is the common part: to is the new position, seqs what was marked by
// name; with run everything between the old position and to counts as marked.
func (c *Core) markRead(from Caller, user, conv string, to int64, seqs []int64, run bool) error {
	w, err := c.mustSeeAs(from, user, conv)
	if err != nil {
		return err
	}
	to = min(to, w.maxSeq)
	return c.update([]string{userName(user)}, func(t *tx) error {
		old, err := c.readSeq(conv, user)
		if err != nil {
			return err
		}
		t.reads = append(t.reads, readMove{conv: conv, user: user, seq: to})
		tips := &sdkws.MarkAsReadTips{MarkAsReadUserID: user, ConversationID: conv, Seqs: []int64{}, HasReadSeq: max(to, old)}
		n := notice{kind: im.NotifyHasRead, from: user, to: user, detail: tips, rule: &noticeRule{}, trace: from.OperationID}
		if isSingle(conv) {
			if tips.Seqs = readSeqs(old, to, seqs, w.maxSeq, run); len(tips.Seqs) == 0 {
				return nil
			}
			if peer := w.rec.peer(user); peer != user {
				n.to, n.rule = peer, nil
			}
		}
		return t.notify(n)
	})
}

// readSeqs lists what a receipt names: the run old+1..to, and seqs, without
// repetition, ascending, at most the receiptMax newest.
func readSeqs(old, to int64, seqs []int64, maxSeq int64, run bool) []int64 {
	out := make([]int64, 0, len(seqs))
	for _, s := range seqs {
		if s >= 1 && s <= maxSeq {
			out = append(out, s)
		}
	}
	if run {
		for s := max(old+1, to-receiptMax+1); s <= to; s++ {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[max(0, len(out)-receiptMax):]
}

// SetConversationHasReadSeq sets a user's read position, also backwards, and
// tells the user's other devices.
func (c *Core) SetConversationHasReadSeq(from Caller, req *msg.SetConversationHasReadSeqReq) (*msg.SetConversationHasReadSeqResp, error) {
	if req.HasReadSeq < 1 {
		return nil, im.ErrArgs.With("hasReadSeq must be at least 1")
	}
	w, err := c.mustSeeAs(from, req.UserID, req.ConversationID)
	if err != nil {
		return nil, err
	}
	if req.HasReadSeq > w.maxSeq {
		return nil, im.ErrArgs.With("hasReadSeq %d is above the last seq %d", req.HasReadSeq, w.maxSeq)
	}
	err = c.update([]string{userName(req.UserID)}, func(t *tx) error {
		t.reads = append(t.reads, readMove{conv: req.ConversationID, user: req.UserID, seq: req.HasReadSeq, lower: true})
		return t.notify(notice{
			kind: im.NotifyHasRead, from: req.UserID, to: req.UserID, rule: &noticeRule{}, trace: from.OperationID,
			detail: &sdkws.MarkAsReadTips{
				MarkAsReadUserID: req.UserID, ConversationID: req.ConversationID, Seqs: []int64{}, HasReadSeq: req.HasReadSeq,
			},
		})
	})
	if err != nil {
		return nil, err
	}
	return &msg.SetConversationHasReadSeqResp{}, nil
}
