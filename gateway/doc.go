// Package gateway is the room between sockets and core: it accepts WebSocket
// clients, turns their bytes into commands for core, and writes core's frames.
//
// It owns the sockets, the parse state, the outgoing bytes and the timers of every
// session. It knows no rule of IM: who may do what, who is online and who gets
// which frame is core's business. It implements core.Sink; what it needs of core
// is the interface Core.
//
// Goroutines. Each event loop (gnet's goroutine, one per core) owns its sessions
// alone, in a slab. A loop never waits: not for a disk, not for a worker, not for
// another loop. Beside each loop stands a pump that queues the next task of a long
// fan-out. Lanes run sends (1003), each session always in the same lane, so that
// its order holds; readers run the other commands. gnet's ticker drives the clocks.
// All start in Start and have ended when Shutdown returns nil.
//
// Locks. Server.mu pairs gnet's loops with ours; loop.mu guards a loop's inbox.
// Both are leaves, held for nanoseconds (and, in the inbox, for the wake-up of the
// loop). Everything else crosses goroutines through bounded queues or atomics.
//
// A frame's way in: OnTraffic → frames.next → loop.request (envelope, common
// checks, table in commands.go) → lane or reader → core. Its way out: Deliver →
// inbox → one task per loop → settle, one write per session however many frames
// wait. Kicks and answers use the same inbox, so they keep their order with pushes.
//
// A session's ending has exactly one reason out of disconnects.go, decided by
// loop.end: presence is told at once, the last frames and the close frame leave,
// the socket is shut for writing, and closes when the peer has closed or after
// Options.LingerTimeout.
//
// What a client can cost is bounded in Options, and each bound has a counter in
// Stats: inbound and outbound bytes, work per tick, requests under way, queues.
//
// Start reading at loop.go, then commands.go; frame.go and wheel.go stand alone.
package gateway
