package gateway

import (
	"fmt"
	"runtime/debug"

	"gannet/core"
	"gannet/internal/im"
	"gannet/internal/wire"
)

// job is one request on its way through a worker.
type job struct {
	cmd    *command
	s      *session // only for leave; the slot may be another session's by now
	ref    core.SessionRef
	caller core.Caller
	req    wire.Request
	size   int64
}

// maxAnswer is the size from which on OpenIM's SDK refuses a frame, and then asks
// for it again for ever.
const maxAnswer = 1 << 20

// submit queues a request for a worker, or says why it cannot. It never waits.
// Requests of one session that are ordered run one after another, as they came.
func (s *Server) submit(from *session, cmd *command, req wire.Request) drop {
	if s.draining.Load() {
		return dropDraining
	}
	if !from.enter(s.opt.SessionRequests) {
		return dropSession
	}
	j := &job{cmd: cmd, s: from, ref: from.ref(), caller: from.caller(&req), req: req, size: int64(len(req.Data)) + frameCost}
	s.inFlight.Add(1)
	queue, full := s.reads, dropReadsFull
	if cmd.ordered {
		queue, full = s.lanes[int(slotOf(j.ref.ID))%len(s.lanes)], dropLaneFull
	}
	if s.queued.Add(j.size) > s.opt.QueueBytes {
		s.finish(j)
		return dropBytes
	}
	select {
	case queue <- j:
		return drops
	default:
		s.finish(j)
		return full
	}
}

// finish takes a job out of the counts.
func (s *Server) finish(j *job) {
	s.queued.Add(-j.size)
	j.s.leave(j.ref.ID)
	s.inFlight.Add(-1)
}

func (s *Server) startWorkers() {
	for _, lane := range s.lanes {
		s.workers.Go(func() { s.serve(lane) })
	}
	for range s.opt.Readers {
		s.workers.Go(func() { s.serve(s.reads) })
	}
}

func (s *Server) serve(queue <-chan *job) {
	for j := range queue {
		s.do(j)
		s.finish(j)
	}
}

// do runs one request and sends its answer.
func (s *Server) do(j *job) {
	data, err := s.handle(j)
	if err == nil && j.cmd.async {
		return
	}
	end := j.cmd.then
	resp := &wire.Response{ReqIdentifier: j.req.ReqIdentifier, MsgIncr: j.req.MsgIncr, OperationID: j.req.OperationID, Data: data}
	if err != nil {
		end, resp = endNone, s.failure(j, err)
	}
	frame := wire.AppendResponse(nil, j.ref.Variant, resp)
	if len(frame) >= maxAnswer {
		s.loops[loopOf(j.ref.ID)].stats.drops[dropTooLarge].Add(1)
		err := fmt.Errorf("answer of %d bytes: %w", len(frame), im.ErrInternal.With("answer too large"))
		frame = wire.AppendResponse(nil, j.ref.Variant, s.failure(j, err))
	}
	s.answer(j.ref.ID, frame, end)
}

// handle runs the command; a panic is this request's error.
func (s *Server) handle(j *job) (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(j.cmd, j.caller, p)
		}
	}()
	return j.cmd.handle(s.core, j)
}

// tried is handle for command.try.
func (s *Server) tried(cmd *command, from core.Caller, ref core.SessionRef, req *wire.Request) (done bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			done, err = true, s.panicked(cmd, from, p)
		}
	}()
	return cmd.try(s.core, from, ref, req)
}

// panicked logs what a request's goroutine recovered, and returns its answer.
func (s *Server) panicked(cmd *command, from core.Caller, p any) error {
	s.log.Error("gateway: panic in request", "command", cmd.name, "user", from.UserID,
		"operationID", from.OperationID, "panic", p, "stack", string(debug.Stack()))
	return im.ErrInternal
}

// failure is the answer to err.
func (s *Server) failure(j *job, err error) *wire.Response {
	return errorResponse(&j.req, s.failed(j.cmd, j.caller, err))
}

// failed logs err, unknown causes as errors, and returns what is answered.
func (s *Server) failed(cmd *command, from core.Caller, err error) *im.Error {
	e, known := classify(err)
	log := s.log.Debug
	if !known {
		log = s.log.Error
	}
	log("gateway: request failed", "command", cmd.name, "user", from.UserID, "operationID", from.OperationID, "error", err)
	return e
}
