package gateway

// ending says why a connection ended. The table is closed: each connection ends
// for exactly one of these reasons, and each is counted.
type ending uint8

const (
	endNone ending = iota
	endPeerClosed
	endPeerGone
	endShutdown
	endKicked
	endLoggedOut
	endHeartbeat
	endSlow
	endStalled
	endFlood
	endInboundFull
	endProtocol
	endNotUTF8
	endTooBig
	endBadText
	endBadEnvelope
	endWrongSender
	endUnknownCommand
	endPanic
	endRefused
	endBadHandshake
	endHandshakeTimeout
	endOverLimit
	endings
)

// endingRule is what an ending does. Code is the WebSocket close code, 0 for no
// close frame. Flush lets what was written leave (at most Options.LingerTimeout)
// before the socket closes. Reconnect says whether coming back is of use to the
// client; OpenIM's SDK does so by itself unless it was told 2002 or logged out.
type endingRule struct {
	name      string
	code      uint16
	flush     bool
	reconnect bool
}

var endingRules = [endings]endingRule{
	endNone:             {name: "none"},
	endPeerClosed:       {"peer_closed", 0, true, true},
	endPeerGone:         {"peer_gone", 0, false, true},
	endShutdown:         {"shutdown", 1001, true, true},
	endKicked:           {"kicked", 1000, true, false},
	endLoggedOut:        {"logged_out", 1000, true, false},
	endHeartbeat:        {"heartbeat_missed", 0, false, true},
	endSlow:             {"slow", 0, false, true},
	endStalled:          {"stalled", 0, false, true},
	endFlood:            {"flood", 1008, true, true},
	endInboundFull:      {"inbound_full", 1013, true, true},
	endProtocol:         {"protocol_error", 1002, true, true},
	endNotUTF8:          {"not_utf8", 1007, true, true},
	endTooBig:           {"too_big", 1009, true, true},
	endBadText:          {"bad_text", 1003, true, true},
	endBadEnvelope:      {"bad_envelope", 1003, true, true},
	endWrongSender:      {"wrong_sender", 1008, true, true},
	endUnknownCommand:   {"unknown_command", 1003, true, true},
	endPanic:            {"panic", 1011, true, true},
	endRefused:          {"handshake_refused", 0, true, true},
	endBadHandshake:     {"bad_handshake", 0, true, false},
	endHandshakeTimeout: {"handshake_timeout", 0, false, true},
	endOverLimit:        {"over_limit", 0, false, true},
}

func (e ending) String() string { return endingRules[e].name }

// drop says why a frame or a request was not carried out. Closed and counted,
// like the endings.
type drop uint8

const (
	dropGone      drop = iota // the session had ended
	dropSlow                  // the frame would have passed the session's outbound bound
	dropInbox                 // the loop's inbox was full
	dropLaneFull              // request: its lane was full; answered busy
	dropReadsFull             // request: the readers' queue was full; answered busy
	dropSession               // request: the session has too many under way; answered busy
	dropBytes                 // request: too many queued bytes; answered busy
	dropDraining              // request: the server is shutting down; answered busy
	dropTooLarge              // answer: replaced by an error
	drops
)

var dropNames = [drops]string{
	"gone", "slow", "loop_inbox_full", "lane_full", "readers_full", "session_requests",
	"queued_bytes", "draining", "answer_too_large",
}

func (d drop) String() string { return dropNames[d] }
