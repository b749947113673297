package core

import (
	"slices"

	"gannet/internal/im"
)

// At-marks of a conversation (groupAtType).
const (
	atMe       = 1
	atAll      = 2
	atAllAndMe = 3
)

// atUsersMax is how many users of a message's at-list are looked at, as with
// OpenIM's REST.
const atUsersMax = 1000

// atMarks lists whom a group message addresses: members other than the sender,
// by mark. Called when the message is queued; nil for most messages.
func (m *message) atMarks() (users []string, all bool) {
	if m.head.ContentType != im.ContentAtText || !m.stored {
		return nil, false
	}
	for id := range m.head.AtUserIDs {
		if string(id) == im.AtAllTag {
			all = true
		} else if string(id) != string(m.head.SendID) && len(users) < atUsersMax {
			users = append(users, string(id))
		}
	}
	slices.Sort(users)
	return slices.Compact(users), all
}

// markAt marks the conversation for those whom m addresses and tells them (1300).
// It runs on a job, after m was queued: the message itself carries the list, so a
// mark lost in a crash only leaves a conversation unmarked.
func (c *Core) markAt(groupID, sender, trace string, users []string, all bool) error {
	targets := users
	if all {
		members, err := groupMembers(c.store.Latest(), groupID)
		if err != nil {
			return err
		}
		targets = slices.DeleteFunc(members, func(id string) bool { return id == sender })
	}
	for chunk := range slices.Chunk(targets, groupUsersMax) {
		err := c.changeGroup(Caller{UserID: sender, OperationID: trace}, groupID, chunk, false, func(g *groupTx) error {
			marks := make(map[int32][]string)
			for _, id := range chunk {
				if m, err := g.member(id); err != nil || m == nil {
					if err != nil {
						return err
					}
					continue
				}
				at := int32(atMe)
				if all {
					at = atAll
					if slices.Contains(users, id) {
						at = atAllAndMe
					}
				}
				marks[at] = append(marks[at], id)
			}
			for at, ids := range marks {
				if err := g.markAll(ids, at); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
