// Package core holds the rules of instant messaging: tokens, users, friends,
// groups, conversations, messages, presence and who is told of what. It decides;
// what it needs from outside is said in ports.go, and it does no I/O of its own.
//
// It owns the state of every conversation in use (next seq, last sendTime, what is
// in flight), the states of tokens, presence and its watchers, and the members of
// the groups in use. All of it can be rebuilt from the store and the live sessions.
//
// A change is a tx: decided under locks, queued in the store as one batch, and
// promised to anybody only when the batch's Done says that it is durable. Messages
// of sessions go through submit (send.go), everything else through update
// (message.go); both give messages their seq in place.
//
// Goroutines, started by New and ended by Close: the deliverers (deliver.go), one
// per Options.Deliverers, each with its own conversations; two workers for kicks
// that an event loop started, and one for at-marks (jobs.go). Done runs on the
// store's committer and never blocks.
//
// Locks, in the order in which they may be taken:
//
//	stripes (locks.go)          users, groups, conversations' edits; ascending
//	shards (conversation.go)    conversation states; ascending
//	the store's queue           inside Store.Append, which may wait for room
//
// A holder of a stripe or a shard may wait for the disk, so event loops take
// neither. The others are short, never held over I/O or a call out of core:
// groupState.mu, under which presence parts may be read, and the leaves: presence
// parts, groupStates.mu, userGroups.mu, tokens, the gate, a deliverer's queue.
//
// What is decided on Latest must be read under the stripe (or shard) that all its
// writers hold. Messages are the exception: Latest does not show queued ones, so
// the state of a conversation with messages in flight stays in memory, and who
// changes a stored message holds his stripe until it is durable (tx.holdOn).
//
// Core never answers a caller from Latest, never pushes what is not durable
// (but online-only messages, which never will be), and never blocks in a Done.
// An *im.Error is an answer; any other error is for the log, and adapters say 500.
//
// Start reading at ports.go, then submit in send.go, tx in message.go, and
// deliver.go; testdata/*.txt show in scripts what each rule does.
package core
