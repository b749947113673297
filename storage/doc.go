// Package storage is the store behind core: it turns batches of records into
// synced writes and reads them back. It implements core.Store on Pebble.
//
// It owns the data folder: the keys on disk (keys.go, docs/storage.md), the format
// version (format.go) and the order of syncs (commit.go).
//
// Goroutines: one committer per Store, started by Open, ended by Close or by the
// first write error, which a goroutine of its own reports (fail); one that fills the
// filter after Open (filter.go) and then ends; Pebble's own. Callers encode and queue
// (Append); the committer syncs, publishes and calls Done.
//
// Locks: Store.mu, a leaf, never held during I/O, a call into the database, or a
// callback; Store.completing, held during calls of Done, which comes before mu; and
// filter.growing, a leaf that nobody waits for.
//
// What a reader sees:
//
//   - Committed is a Pebble snapshot taken by the committer between two commits,
//     right after a sync returned. Only the committer writes, so the snapshot holds
//     exactly what is synced. Reading the database itself would not do: Pebble shows
//     a batch before its sync.
//   - Latest is the same snapshot with the queued writes laid over it. The snapshot
//     is replaced and the overlay dropped in one critical section, so a batch is
//     always visible in one of them.
//
// Start reading at Store in store.go, then run in commit.go.
package storage
