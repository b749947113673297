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

// route is one path of the v3 dialect.
type route struct {
	access access
	run    endpoint
}

// errNoRoute is no request error: it is answered as HTTP 404.
var errNoRoute = errors.New("no such route")

// serve answers one request; otherwise is the dialect of those that do not tell.
func (s *Server) serve(ctx *fasthttp.RequestCtx, otherwise core.Dialect) {
	s.requests.Add(1)
	setCORS(&ctx.Response.Header)
	switch {
	case ctx.IsOptions():
		ctx.Response.Header.SetContentType(mimeJSON)
		ctx.Response.SetBodyString(`"Options Request!"`)
	case !ctx.IsPost():
		notFound(ctx)
	default:
		s.dispatch(ctx, otherwise)
	}
}

// dispatch chooses the dialect: a path that only one of them has decides alone.
func (s *Server) dispatch(ctx *fasthttp.RequestCtx, otherwise core.Dialect) {
	name := string(routePath(ctx.Path()))
	p := s.routes[name]
	switch {
	case p.v2 == nil:
		s.serveV3(ctx, p.v3)
	case p.v3 == nil:
		s.serveV2(ctx, p.v2)
	default:
		if dialectOf(name, ctx, otherwise) == core.DialectV2 {
			s.serveV2(ctx, p.v2)
			return
		}
		s.serveV3(ctx, p.v3)
	}
}

func notFound(ctx *fasthttp.RequestCtx) {
	ctx.Response.SetStatusCode(fasthttp.StatusNotFound)
	ctx.Response.Header.SetContentType(mimeText)
	ctx.Response.SetBodyString("404 page not found")
}

// serveV3 is the v3 dialect: operationID in the header, the answer in an envelope
// and HTTP 200 whatever it is. r is nil for an unknown path.
func (s *Server) serveV3(ctx *fasthttp.RequestCtx, r *route) {
	start := time.Now()
	from := core.Caller{OperationID: string(ctx.Request.Header.Peek("operationID"))}
	data, err := s.callV3(ctx, r, &from)
	if errors.Is(err, errNoRoute) {
		notFound(ctx)
		return
	}
	var answer *im.Error
	if err != nil && !errors.As(err, &answer) {
		answer = im.ErrInternal
	}
	s.write(ctx, from.OperationID, data, answer)
	switch {
	case answer == nil:
		s.record(ctx, &from, start, 0, "", nil)
	case answer.Code == im.ErrInternal.Code:
		s.record(ctx, &from, start, answer.Code, "", err)
	default:
		s.record(ctx, &from, start, answer.Code, answer.Detail, nil)
	}
}

// callV3 checks the header and runs the endpoint, in the order that OpenIM's
// clients expect the failures in: operationID, token, path, body. It fills from.
func (s *Server) callV3(ctx *fasthttp.RequestCtx, r *route, from *core.Caller) (data any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.panics.Add(1)
			data, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if from.OperationID == "" {
		return nil, im.ErrArgs.With("header must have operationID")
	}
	asked := accessToken
	if r != nil {
		asked = r.access
	}
	var tokenErr error
	if asked != accessNone {
		if tokenErr = s.identify(ctx.Request.Header.Peek("token"), from); tokenErr != nil && asked == accessToken {
			return nil, tokenErr
		}
	}
	if r == nil {
		return nil, errNoRoute
	}
	data, err = r.run(*from, ctx.PostBody())
	if asked == accessMaybe && tokenErr != nil && len(ctx.Request.Header.Peek("token")) > 0 && errors.Is(err, im.ErrNoPermission) {
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
	body, err := appendEnvelope(ctx.Response.SwapBody(nil)[:0], data, answer)
	if err != nil {
		s.log.Error("answer not encodable", "operationID", operationID, "error", err)
		body, _ = appendEnvelope(body[:0], nil, im.ErrInternal)
	}
	finish(ctx, body)
}

// finish makes body, which is JSON, the answer's.
func finish(ctx *fasthttp.RequestCtx, body []byte) {
	ctx.Response.Header.SetContentType(mimeJSON)
	if len(body) >= gzipFrom && ctx.Request.Header.HasAcceptEncoding("gzip") {
		ctx.Response.Header.SetContentEncoding("gzip")
		ctx.Response.SetBodyRaw(fasthttp.AppendGzipBytesLevel(nil, body, fasthttp.CompressBestSpeed))
		return
	}
	ctx.Response.SwapBody(body)
}

// record writes a call's line in the log: what failed at info, what is the
// server's own fault as an error with its cause, the rest at debug.
func (s *Server) record(ctx *fasthttp.RequestCtx, from *core.Caller, start time.Time, code int, detail string, cause error) {
	level := slog.LevelDebug
	if code != 0 {
		s.failed.Add(1)
		level = slog.LevelInfo
	}
	if cause != nil {
		level, detail = slog.LevelError, cause.Error()
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
