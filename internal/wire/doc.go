// Package wire holds the bytes of OpenIM's protocol: the gob and JSON envelopes
// of WebSocket requests and answers, gzip on both ways, server frames, the
// surgery on protobuf-encoded MsgData, and the content of notifications. It
// knows nothing of sockets, stores or rules; every function works on bytes in
// memory, with hard bounds on what hostile input can make it allocate.
package wire
