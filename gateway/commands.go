package gateway

import (
	"encoding/json"
	"errors"

	"google.golang.org/protobuf/proto"

	"gannet/core"
	"gannet/internal/im"
	"gannet/internal/wire"
)

// command is one request identifier.
type command struct {
	name    string
	ordered bool // keeps the session's order: runs in its lane, else on any reader
	maxData int  // bytes of Data; more is answered with ErrArgs. 0: the frame bound holds
	// handle runs on a worker and returns the answer's Data. A nil handle answers
	// ErrArgs at once.
	handle func(c Core, j *job) ([]byte, error)
	// try, if not nil, is handle without waiting, for the loop itself; done is false
	// when handle must do it.
	try func(c Core, from core.Caller, ref core.SessionRef, req *wire.Request) (done bool, err error)
	// async says that handle's success is answered through the Sink later.
	async bool
	// then ends the session after a successful answer.
	then ending
}

const (
	maxQuery = 512 << 10 // lists of conversations, ranges, users
	maxSmall = 4 << 10
)

// commands is the whole table of what clients may ask (sdk-websocket contract §2.1).
var commands = map[int32]*command{
	wire.ReqNewestSeq:   {name: "newest_seq", maxData: maxSmall, handle: call(Core.GetMaxSeq)},
	wire.ReqPullByRange: {name: "pull_by_range", maxData: maxQuery, handle: call(Core.PullMessageBySeqs)},
	wire.ReqSendMsg:     {name: "send_msg", ordered: true, async: true, handle: sendMsg, try: Core.TrySend},
	wire.ReqSignal:      {name: "signal"}, // voice and video signalling: not part of the open protocol
	wire.ReqPullBySeqs:  {name: "pull_by_seqs", maxData: maxQuery, handle: call(Core.GetSeqMessage)},
	wire.ReqMaxReadSeq:  {name: "max_read_seq", maxData: maxQuery, handle: call(Core.GetConversationsHasReadAndMaxSeq)},
	wire.ReqLastMessage: {name: "last_message", maxData: maxQuery, handle: call(Core.GetLastMessage)},
	wire.ReqLogout:      {name: "logout", maxData: maxSmall, handle: tell(Core.Logout), then: endLoggedOut},
	wire.ReqBackground:  {name: "background", maxData: maxSmall, handle: tell(Core.SetBackground)},
	wire.ReqSubscribe:   {name: "subscribe", maxData: maxQuery, handle: callSession(Core.Subscribe)},
}

// request checks one envelope and queues its command. What no honest client sends
// closes the connection without an answer.
func (l *loop) request(s *session, payload []byte) {
	req, err := wire.DecodeRequest(payload, s.variant, l.srv.opt.MaxFrameBytes)
	if err != nil {
		l.srv.log.Debug("gateway: bad envelope", "user", s.userID, "error", err)
		l.end(s, endBadEnvelope)
		return
	}
	cmd := commands[req.ReqIdentifier]
	switch {
	case string(req.SendID) != s.userID:
		l.end(s, endWrongSender)
	case cmd == nil:
		l.end(s, endUnknownCommand)
	case !l.afford(s, len(req.Data)):
		l.end(s, endFlood)
	case cmd.handle == nil:
		l.stats.requests.Add(1)
		l.refuse(s, &req, im.ErrArgs.With("%s is not supported", cmd.name))
	case cmd.maxData > 0 && len(req.Data) > cmd.maxData:
		l.stats.requests.Add(1)
		l.refuse(s, &req, im.ErrArgs.With("more than %d bytes of data", cmd.maxData))
	default:
		l.stats.requests.Add(1)
		if l.try(s, cmd, &req) {
			return
		}
		if why := l.srv.submit(s, cmd, req); why != drops {
			l.stats.drops[why].Add(1)
			l.refuse(s, &req, im.ErrBusy)
		}
	}
}

// try runs a request on the loop when that needs no waiting and nothing that s
// asked before is still under way. It reports whether the request is done with.
func (l *loop) try(s *session, cmd *command, req *wire.Request) bool {
	if cmd.try == nil || !s.idle() || l.srv.draining.Load() {
		return false
	}
	from := s.caller(req)
	done, err := l.srv.tried(cmd, from, s.ref(), req)
	if err != nil {
		l.refuse(s, req, l.srv.failed(cmd, from, err))
	}
	return done
}

// refuse answers a request on the loop.
func (l *loop) refuse(s *session, req *wire.Request, e *im.Error) {
	l.sendBuilt(s, func(dst []byte) []byte {
		return wire.AppendResponse(dst, s.variant, errorResponse(req, e))
	})
}

// errorResponse is the answer that carries e. Clients show ErrMsg to people, and
// there is no field for the detail.
func errorResponse(req *wire.Request, e *im.Error) *wire.Response {
	r := &wire.Response{
		ReqIdentifier: req.ReqIdentifier, MsgIncr: req.MsgIncr, OperationID: req.OperationID,
		ErrCode: e.Code, ErrMsg: e.Name,
	}
	if e.Detail != "" {
		r.ErrMsg += ": " + e.Detail
	}
	return r
}

// classify is the answer to err. Only a known error's own text leaves the process.
func classify(err error) (e *im.Error, known bool) {
	if errors.As(err, &e) {
		return e, e.Code != im.ErrInternal.Code
	}
	return im.ErrInternal, false
}

func sendMsg(c Core, j *job) ([]byte, error) { return nil, c.Send(j.caller, j.ref, &j.req) }

// message is a pointer to a generated type.
type message[T any] interface {
	*T
	proto.Message
}

// call makes a handler of a core method with an answer.
func call[Q, R any, PQ message[Q], PR message[R]](f func(Core, core.Caller, PQ) (PR, error)) func(Core, *job) ([]byte, error) {
	return callSession(func(c Core, from core.Caller, _ core.SessionRef, req PQ) (PR, error) { return f(c, from, req) })
}

// callSession makes a handler of a core method that wants to know the session.
func callSession[Q, R any, PQ message[Q], PR message[R]](f func(Core, core.Caller, core.SessionRef, PQ) (PR, error)) func(Core, *job) ([]byte, error) {
	return func(c Core, j *job) ([]byte, error) {
		req := PQ(new(Q))
		if err := proto.Unmarshal(j.req.Data, req); err != nil {
			return nil, im.ErrArgs.With("malformed request")
		}
		resp, err := f(c, j.caller, j.ref, req)
		if err != nil || resp == nil {
			return nil, err
		}
		return proto.Marshal(resp)
	}
}

// tell makes a handler of a core method without an answer.
func tell[Q any, PQ message[Q]](f func(Core, core.Caller, core.SessionRef, PQ) error) func(Core, *job) ([]byte, error) {
	return func(c Core, j *job) ([]byte, error) {
		req := PQ(new(Q))
		if err := proto.Unmarshal(j.req.Data, req); err != nil {
			return nil, im.ErrArgs.With("malformed request")
		}
		return nil, f(c, j.caller, j.ref, req)
	}
}

// text handles a text message: a ping in JSON, which browsers send because they
// cannot send control frames.
func (l *loop) text(s *session, payload []byte) {
	var m struct {
		Type string          `json:"type"`
		Body json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(payload, &m); err != nil || (m.Type != "ping" && m.Type != "pong") {
		l.end(s, endBadText)
		return
	}
	if m.Type == "pong" {
		return
	}
	if m.Body == nil {
		m.Body = json.RawMessage("null")
	}
	answer := append([]byte(`{"type":"pong","body":`), m.Body...)
	answer = append(answer, '}')
	l.sendBuilt(s, func(dst []byte) []byte { return wire.AppendTextFrame(dst, answer) })
}
