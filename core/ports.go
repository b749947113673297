package core

import (
	"time"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// This file is the only place where core says what it needs from outside: a
// store, a sink that delivers to live sessions, and a clock.

// Table names one family of records in the store. Which of a Key's fields a
// table uses, their order and the prefix byte on disk are storage's business
// (storage/keys.go, docs/storage.md).
type Table uint8

// The tables. The comment gives the key fields in sorting order → value.
const (
	TableUser          Table = iota + 1 // A=userID → sdkws.UserInfo
	TableToken                          // A=userID, B=platform byte + 16-byte token hash → tokenRecord
	TableConversation                   // A=conversationID → conversationRecord (who it belongs to, minSeq)
	TableMessage                        // A=conversationID, N=seq → sdkws.MsgData
	TableMessageID                      // A=conversationID, B=16-byte hash of (sender, clientMsgID) → seq
	TableInbox                          // A=owner, B=conversationID → conversation.Conversation
	TableNotice                         // A=userID, B=n_ conversation of a pair he is in → empty
	TableReadSeq                        // A=owner, B=conversationID → last seq read, own messages above it
	TableHidden                         // A=owner, B=conversationID, N=seq → empty: deleted for this owner
	TableVersion                        // A=versioned set → its current version
	TableVersionLog                     // A=versioned set, N=version → what changed at that version
	TableCommand                        // A=userID, B=type and uuid → user.CommandInfoResp
	TableFriend                         // A=owner, B=friend → sdkws.FriendInfo
	TableFriendOf                       // A=friend, B=owner → empty: finds the lists a user is in
	TableBlack                          // A=owner, B=blocked user → sdkws.BlackInfo
	TableFriendRequest                  // A=to, B=from → sdkws.FriendRequest
	TableFriendAsked                    // A=from, B=to → empty: finds the requests a user sent
	TableGroup                          // A=groupID → sdkws.GroupInfo
	TableMember                         // A=groupID, B=userID → sdkws.GroupMemberFullInfo
	TableJoined                         // A=userID, B=groupID → empty: finds the groups of a user
	TableGroupRequest                   // A=groupID, B=userID → sdkws.GroupRequest
	TableGroupAsked                     // A=userID, B=groupID → empty: finds the applications of a user
	TableProfile                        // A=userID → the v2 dialect's extra profile fields
	tableEnd                            // one past the last table
)

// Tables lists every table, for the test that storage's key table is complete.
func Tables() []Table {
	all := make([]Table, 0, tableEnd-1)
	for t := TableUser; t < tableEnd; t++ {
		all = append(all, t)
	}
	return all
}

// Key names one record. A and B may hold any bytes; tables sort by A, then B,
// then N, in byte and numeric order. Fields that a table does not use are zero.
type Key struct {
	Table Table
	A, B  string
	N     uint64
}

// Op is one write of a Batch.
type Op struct {
	Key   Key
	Value []byte // owned by the batch once appended; nil deletes
	// To, if not zero, makes the op delete every N in [Key.N, To) under
	// (Table, A, B); Value is nil then. Store.Latest shows range deletions only
	// once they are committed, so only records that no decision reads again
	// (trimmed logs, expired messages) may go this way.
	To uint64
}

// Batch is what one decision writes: all of it becomes durable, or none of it.
type Batch struct {
	Ops []Op
	// Done is called exactly once, in the order of Append, one at a time: with nil,
	// on the committer's goroutine, after the batch is on disk (fsynced) and shown
	// by Committed; or with an error, perhaps on another goroutine, after the store
	// failed: the batch is not shown, but may be found at the next start. It MUST
	// NOT block and MUST NOT call Append.
	Done func(error)
	// Now lets the batch into a full queue instead of waiting for room; for event
	// loops, which look at Crowded first.
	Now bool
}

// Store is the durable state behind core (implemented by storage).
type Store interface {
	// Append queues b for the next commit and makes its writes visible to Latest
	// (except TableMessage and TableMessageID, whose pending entries core tracks
	// itself). Batches become durable in the order of Append. It blocks while the
	// queue is full, unless b.Now is set. After a write error or
	// Close it returns the error and never calls Done.
	Append(b *Batch) error
	// Crowded reports that the queue is half full or fuller: then an event loop leaves
	// deciding to those who may wait for room. It never waits.
	Crowded() bool
	// Absent reports that k is certainly in no view and not queued; it knows that of
	// most absent records of TableMessageID only. It never waits.
	Absent(k Key) bool
	// Latest reads decided state: committed records and those still queued. For
	// deciding, under the lock that serialises writers of the records read; never
	// for answering a caller.
	Latest() Reader
	// Committed is a consistent snapshot of what is durable. The caller MUST
	// Release it soon: it pins disk space.
	Committed() View
	// ID is a random text of 24 hex digits made when the store was created.
	ID() string
}

// Reader reads records. Its methods may wait for the disk, so an event loop MUST
// NOT call them. Safe for concurrent use. Errors are I/O errors, never "absent".
type Reader interface {
	// Get returns the value of k as bytes the caller owns, or nil if there is none
	// (a present but empty value is non-nil).
	Get(k Key) ([]byte, error)
	// Scan calls fn for the records of r in order until fn returns false. The
	// value is valid only during the call.
	Scan(r Range, fn func(k Key, value []byte) bool) error
}

// View is a Reader of one moment.
type View interface {
	Reader
	Release()
}

// Range selects records of one table whose leading key fields are fixed.
type Range struct {
	Table Table
	Fixed int    // how many of A, B are fixed: 0, 1 or 2
	A, B  string // the fixed fields
	// After leaves out records whose first free text field (A if Fixed is 0, else
	// B) is ≤ After; "" leaves out nothing. Ignored with Reverse.
	After string
	// From and To bound N, both inclusive, when N follows the fixed fields; To 0
	// means no upper bound.
	From, To uint64
	Reverse  bool
}

// Sink delivers frames to live sessions (implemented by gateway).
type Sink interface {
	// Deliver hands over one round of frames. It MUST NOT block. Frames to one
	// session leave in the order given, over all rounds of one calling goroutine.
	// The sink keeps the round's slices; the caller MUST NOT touch them again.
	// A session that is gone or too slow (its outbound bound is reached) loses the
	// frame; the client then finds the gap by seq.
	Deliver(round []Delivery)
	// Close writes last (if any) to each session, lets it leave, then closes the
	// connections. It MUST NOT block.
	Close(to []SessionRef, last LastFrame)
}

// Delivery is one frame, ready for the socket, and the sessions that get it; all
// of them use the encoding the frame is in.
type Delivery struct {
	Frame []byte
	To    []SessionRef
}

// LastFrame says what a session is told before it is closed.
type LastFrame uint8

// The reasons of Sink.Close.
const (
	LastNone   LastFrame = iota // nothing: the client reconnects
	LastKicked                  // 2002: replaced by another login, or logged out by force
)

// SessionRef names one live session. The zero value names none. It holds no
// pointer, so that large presence tables cost the garbage collector nothing.
type SessionRef struct {
	ID       uint64 // the gateway's; unique for the life of the process
	Platform uint8  // im.Platform
	Variant  wire.Variant
	// Background is set for sessions whose app said so (2004). iOS sessions in the
	// background stay online but get no pushes.
	Background bool
	Token      TokenID
}

// PlatformID is Platform as the noun.
func (r SessionRef) PlatformID() im.Platform { return im.Platform(r.Platform) }

// Clock tells the time; tests drive their own.
type Clock interface {
	Now() time.Time
}
