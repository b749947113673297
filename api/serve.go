package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"gannet/core"
	"gannet/internal/im"
)

const (
	mimeJSON = "application/json"
	mimeText = "text/plain"
	// gzipFrom is the size in bytes from which an answer is worth compressing.
	gzipFrom = 1 << 10
)

// cors are headers of every answer: web clients send headers of their own, so
// their browser asks first.
var cors = [...][2]string{
	{"Access-Control-Allow-Origin", "*"},
	{"Access-Control-Allow-Methods", "*"},
	{"Access-Control-Allow-Headers", "*"},
	{"Access-Control-Expose-Headers", "Content-Length, Access-Control-Allow-Origin, Access-Control-Allow-Headers, " +
		"Cache-Control, Content-Language, Content-Type, Expires, Last-Modified, Pragma, FooBar"},
	{"Access-Control-Max-Age", "172800"},
	{"Access-Control-Allow-Credentials", "false"},
}

func setCORS(h *fasthttp.ResponseHeader) {
	for i := range cors {
		h.Set(cors[i][0], cors[i][1])
	}
}

// access says what a route asks for before its endpoint runs.
type access uint8

const (
	accessNone  access = iota // nothing: the endpoint checks a secret, or needs none
	accessToken               // a valid token; administrators are told apart by core
	accessMaybe               // a token or a secret in the body: the endpoint decides
)

func (a access) String() string { return [...]string{"none", "token", "token or secret"}[a] }

// route is one path of the API.
type route struct {
	access access
	run    endpoint
}

// errNoRoute is no request error: it is answered as HTTP 404.
var errNoRoute = errors.New("no such route")

// serve answers one request.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	s.requests.Add(1)
	setCORS(&ctx.Response.Header)
	switch {
	case ctx.IsOptions():
		ctx.Response.Header.SetContentType(mimeJSON)
		ctx.Response.SetBodyString(`"Options Request!"`)
	case !ctx.IsPost():
		notFound(ctx)
	default:
		s.serveV3(ctx)
	}
}

func notFound(ctx *fasthttp.RequestCtx) {
	ctx.Response.SetStatusCode(fasthttp.StatusNotFound)
	ctx.Response.Header.SetContentType(mimeText)
	ctx.Response.SetBodyString("404 page not found")
}

// serveV3 is the v3 dialect: operationID in the header, the answer in an envelope
// and HTTP 200 whatever it is.
func (s *Server) serveV3(ctx *fasthttp.RequestCtx) {
	start := time.Now()
	from := core.Caller{OperationID: string(ctx.Request.Header.Peek("operationID"))}
	data, err := s.callV3(ctx, &from)
	if errors.Is(err, errNoRoute) {
		notFound(ctx)
		return
	}
	var answer *im.Error
	cause := err
	if err != nil && !errors.As(err, &answer) {
		answer = im.ErrInternal
	}
	s.write(ctx, from.OperationID, data, answer)
	s.record(ctx, &from, start, answer, cause)
}

// callV3 checks the header and runs the endpoint, in the order that OpenIM's
// clients expect the failures in: operationID, token, path, body. It fills from.
func (s *Server) callV3(ctx *fasthttp.RequestCtx, from *core.Caller) (data any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.panics.Add(1)
			data, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if from.OperationID == "" {
		return nil, im.ErrArgs.With("header must have operationID")
	}
	r, known := s.routes[string(routePath(ctx.Path()))]
	if !known {
		r.access = accessToken
	}
	var tokenErr error
	if r.access != accessNone {
		if tokenErr = s.identify(ctx.Request.Header.Peek("token"), from); tokenErr != nil && r.access == accessToken {
			return nil, tokenErr
		}
	}
	if !known {
		return nil, errNoRoute
	}
	data, err = r.run(*from, ctx.PostBody())
	if r.access == accessMaybe && tokenErr != nil && len(ctx.Request.Header.Peek("token")) > 0 && errors.Is(err, im.ErrNoPermission) {
		err = tokenErr // no secret, so the token would have decided
	}
	return data, err
}

// identify fills from with whom the token names.
func (s *Server) identify(token []byte, from *core.Caller) error {
	if len(token) == 0 {
		return im.ErrArgs.With("header must have token")
	}
	id, err := s.core.VerifyToken(string(token))
	if err != nil {
		return err
	}
	from.UserID, from.Platform, from.Admin = id.UserID, id.Platform, id.Admin
	return nil
}

// routePath is path without the "/api" that deployments put before it: clients
// configured for such a proxy then work without one.
func routePath(path []byte) []byte {
	if len(path) > 5 && string(path[:5]) == "/api/" {
		return path[4:]
	}
	return path
}

// write makes the envelope the answer.
func (s *Server) write(ctx *fasthttp.RequestCtx, operationID string, data any, answer *im.Error) {
	ctx.Response.Header.SetContentType(mimeJSON)
	body, err := appendEnvelope(ctx.Response.SwapBody(nil)[:0], data, answer)
	if err != nil {
		s.log.Error("answer not encodable", "operationID", operationID, "error", err)
		body, _ = appendEnvelope(body[:0], nil, im.ErrInternal)
	}
	if len(body) >= gzipFrom && ctx.Request.Header.HasAcceptEncoding("gzip") {
		ctx.Response.Header.SetContentEncoding("gzip")
		ctx.Response.SetBodyRaw(fasthttp.AppendGzipBytesLevel(nil, body, fasthttp.CompressBestSpeed))
		return
	}
	ctx.Response.SwapBody(body)
}

// record writes a call's line in the log: what failed at info, what is the
// server's own fault as an error with its cause, the rest at debug.
func (s *Server) record(ctx *fasthttp.RequestCtx, from *core.Caller, start time.Time, answer *im.Error, cause error) {
	level, code, detail := slog.LevelDebug, 0, ""
	if answer != nil {
		s.failed.Add(1)
		level, code, detail = slog.LevelInfo, answer.Code, answer.Detail
		if code == im.ErrInternal.Code {
			level, detail = slog.LevelError, cause.Error()
		}
	}
	if !s.log.Enabled(context.Background(), level) {
		return
	}
	attrs := [...]slog.Attr{
		slog.String("operationID", from.OperationID),
		slog.String("path", strings.ToValidUTF8(string(ctx.Path()), "?")),
		slog.Int("code", code),
		slog.Duration("took", time.Since(start)),
		slog.String("user", from.UserID),
		slog.String("detail", detail),
	}
	n := len(attrs)
	if detail == "" {
		n--
	}
	s.log.LogAttrs(context.Background(), level, "api", attrs[:n]...)
}
