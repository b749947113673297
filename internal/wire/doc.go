// Package wire holds the bytes of OpenIM's protocol: the gob and JSON envelopes
// of WebSocket requests and answers, gzip on both ways, server frames, the
// surgery on protobuf-encoded MsgData, and the content of notifications. It
// knows nothing of sockets, stores or rules; every function works on bytes in
// memory, with hard bounds on what hostile input can make it allocate.
//
// All functions are safe for concurrent use. Where the package decodes by hand,
// its tests compare it with the library it stands in for: encoding/gob,
// encoding/json, compress/gzip, proto.Unmarshal. Start with envelope.go; msg.go
// stands on its own.
package wire
