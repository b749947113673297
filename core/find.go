package core

import (
	"gannet/internal/im"
	"gannet/internal/wire"
)

// findMax is how many of a conversation's messages FindMessages reads, the newest
// first.
const findMax = 10_000

// FindMessages returns the seqs of messages by their clientMsgIDs, for an
// administrator. Unknown ones, and those older than the newest 10,000, are left
// out.
func (c *Core) FindMessages(from Caller, conversationID string, clientMsgIDs []string) (map[string]int64, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(clientMsgIDs))
	for _, id := range clientMsgIDs {
		wanted[id] = true
	}
	found := make(map[string]int64, len(wanted))
	if len(wanted) == 0 {
		return found, nil
	}
	view := c.store.Committed()
	defer view.Release()
	left, read := len(wanted), 0
	var damaged error
	err := view.Scan(Range{Table: TableMessage, Fixed: 1, A: conversationID, Reverse: true}, func(k Key, v []byte) bool {
		var head wire.Msg
		if damaged = wire.ScanMsg(v, &head); damaged != nil {
			return false
		}
		if id := string(head.ClientMsgID); wanted[id] && head.ContentType != im.NotifyRevoke {
			found[id] = int64(k.N)
			wanted[id] = false
			left--
		}
		read++
		return left > 0 && read < findMax
	})
	return found, firstError(err, damaged)
}
