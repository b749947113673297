package api

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/bytedance/sonic/encoder"
	"github.com/valyala/fasthttp"

	"gannet/core"
	"gannet/internal/im"
)

// mouth is an endpoint of the v2 dialect. read takes what it needs from the body
// and returns the call to core, which runs only when the body and the caller
// passed their checks.
type mouth struct {
	who   who
	empty members // what an answer with HTTP 200 and an errCode has beside it
	// lost and denied replace the common answers to a bad token and to a caller
	// who is no administrator, if set.
	lost, denied *failure
	read         func(*object) spoken
}

// spoken is a request that was understood.
type spoken func(core.Caller) (members, error)

// who says what a v2 endpoint asks of its caller.
type who uint8

const (
	whoKnowsSecret who = iota // the endpoint checks it
	whoHasToken
	whoIsAdmin
	whoIsAdminOrKnowsSecret
)

func (w who) String() string { return [...]string{"secret", "token", "admin", "admin or secret"}[w] }

// members are named values of an answer, beside errCode and errMsg.
type members []struct {
	name  string
	value any
}

func as(name string, value any) members { return members{{name, value}} }

// failure is an answer of the v2 dialect that is no success. It is an error.
type failure struct {
	status, code int
	text         string
	more         members // nil: those of mouth.empty when status is 200
}

func (f *failure) Error() string { return fmt.Sprintf("%d: %s", f.code, f.text) }

// Codes of the v2 dialect (contract §2.3, §2.6).
const (
	v2GroupMissing = 201
	v2NotInGroup   = 202
	v2SessionType  = 203
	v2BadRequest   = 400
	v2NoSecret     = 401
	v2Internal     = 500
	v2Blocked      = 600
	v2NotFriend    = 601
	v2NoPermission = 801
	v2DBFailed     = 802
	v2ArgsFailed   = 803
	v2Dismissed    = 804
	v2NoUIDs       = 999
)

func badRequest(text string) *failure {
	return &failure{status: http.StatusBadRequest, code: v2BadRequest, text: text}
}

func refused(code int, text string) *failure {
	return &failure{status: http.StatusOK, code: code, text: text}
}

func wrongSecret() *failure {
	return &failure{status: http.StatusBadRequest, code: v2NoSecret, text: "not authorized"}
}

// explain makes any error an answer; core's request errors get their v2 code.
func explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var e *im.Error
	if !errors.As(err, &e) {
		e = im.ErrInternal
	}
	switch e.Code {
	case im.ErrArgs.Code:
		return badRequest(e.Detail)
	case im.ErrNoPermission.Code:
		return refused(v2NoPermission, "no permission: "+e.Detail)
	case im.ErrRegisteredAlready.Code:
		return &failure{status: http.StatusInternalServerError, code: v2Internal, text: "db failed: " + e.Detail}
	case im.ErrGroupIDNotFound.Code:
		return refused(v2DBFailed, "record not found: "+e.Detail)
	case im.ErrDismissedAlready.Code:
		return refused(v2Dismissed, "group status is dismissed: "+e.Detail)
	case im.ErrInternal.Code, im.ErrBusy.Code:
		return &failure{status: http.StatusInternalServerError, code: v2Internal, text: e.Name}
	}
	return refused(v2DBFailed, "db failed: "+e.Error())
}

// tokenReasons are the words of the v2 dialect for what is wrong with a token.
var tokenReasons = map[int]string{
	im.ErrTokenExpired.Code:     "token is timed out, please log in again",
	im.ErrTokenInvalid.Code:     "token has been invalidated",
	im.ErrTokenMalformed.Code:   "that's not even a token",
	im.ErrTokenNotValidYet.Code: "token not active yet",
	im.ErrTokenUnknown.Code:     "couldn't handle this token",
	im.ErrTokenKicked.Code:      "user has been kicked",
	im.ErrTokenNotExist.Code:    "couldn't handle this token",
	im.ErrArgs.Code:             "parse token failed", // there is none
}

func tokenFailed(operationID string, err error) *failure {
	reason := tokenReasons[im.ErrTokenUnknown.Code]
	var e *im.Error
	if errors.As(err, &e) {
		reason = tokenReasons[e.Code]
	}
	return &failure{
		status: http.StatusBadRequest, code: v2Internal, text: operationID + " GetUserIDFromToken failed " + reason,
	}
}

// dialectOf tells which dialect a request to a path of both speaks (contract
// §1.1). The body is read only where it may decide.
func dialectOf(path string, ctx *fasthttp.RequestCtx, otherwise core.Dialect) core.Dialect {
	byHeader := len(ctx.Request.Header.Peek("operationID")) > 0
	if byHeader && path != "/auth/user_token" {
		return core.DialectV3
	}
	o, err := parseObject(ctx.PostBody())
	if err != nil {
		o = &object{}
	}
	old, now := o.has("platform"), o.has("platformID")
	switch {
	case path == "/auth/user_token" && old != now && old:
		return core.DialectV2
	case path == "/auth/user_token" && old != now, byHeader:
		return core.DialectV3
	case o.has("operationID"):
		return core.DialectV2
	}
	return otherwise
}

// serveV2 answers a request in the v2 dialect.
func (s *Server) serveV2(ctx *fasthttp.RequestCtx, m *mouth) {
	start := time.Now()
	var from core.Caller
	out, err := s.callV2(ctx, m, &from)
	var f *failure
	code, text := 0, ""
	if err != nil {
		f = explain(err)
		if out = f.more; out == nil && f.status == http.StatusOK {
			out = m.empty
		}
		code, text = f.code, f.text
		ctx.Response.SetStatusCode(f.status)
	}
	body, encodeErr := appendV2(ctx.Response.SwapBody(nil)[:0], code, text, out)
	if encodeErr != nil {
		s.log.Error("answer not encodable", "operationID", from.OperationID, "error", encodeErr)
		ctx.Response.SetStatusCode(http.StatusInternalServerError)
		body, _ = appendV2(body[:0], v2Internal, im.ErrInternal.Name, nil)
	}
	finish(ctx, body)
	if f == nil || f.status != http.StatusInternalServerError || known(err) {
		err = nil
	}
	s.record(ctx, &from, start, code, text, err)
}

// known reports whether err is a request's fault and not the server's.
func known(err error) bool {
	var f *failure
	var e *im.Error
	return errors.As(err, &f) || (errors.As(err, &e) && e.Code != im.ErrInternal.Code)
}

// callV2 runs an endpoint after its checks, in the order of the contract: body,
// token, permission. It fills from.
func (s *Server) callV2(ctx *fasthttp.RequestCtx, m *mouth, from *core.Caller) (out members, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.panics.Add(1)
			out, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	o, err := parseObject(ctx.PostBody())
	if err != nil {
		return nil, badRequest(err.Error())
	}
	from.OperationID = o.text("operationID")
	o.need("OperationID", from.OperationID != "")
	run := m.read(o)
	if err := o.err(); err != nil {
		return nil, err
	}
	if err := s.admitV2(ctx, m, o, from); err != nil {
		return nil, err
	}
	return run(*from)
}

// admitV2 checks the caller and fills from.
func (s *Server) admitV2(ctx *fasthttp.RequestCtx, m *mouth, o *object, from *core.Caller) error {
	if m.who == whoKnowsSecret {
		return nil
	}
	if secret := o.text("secret"); m.who == whoIsAdminOrKnowsSecret && secret != "" {
		if from.Admin = s.core.SecretOK(secret); !from.Admin {
			return wrongSecret()
		}
		return nil
	}
	if err := s.identify(ctx.Request.Header.Peek("token"), from); err != nil {
		if m.lost != nil {
			return m.lost
		}
		return tokenFailed(from.OperationID, err)
	}
	if m.who != whoHasToken && !from.Admin {
		if m.denied != nil {
			return m.denied
		}
		return refused(v2NoPermission, "no permission")
	}
	return nil
}

// appendV2 appends an answer of the v2 dialect.
func appendV2(dst []byte, code int, text string, out members) ([]byte, error) {
	head := struct {
		ErrCode int    `json:"errCode"`
		ErrMsg  string `json:"errMsg"`
	}{code, text}
	if err := encoder.EncodeInto(&dst, &head, jsonOut); err != nil {
		return dst, err
	}
	if len(out) == 0 {
		return dst, nil
	}
	dst = dst[:len(dst)-1]
	for _, m := range out {
		dst = append(dst, `,"`...)
		dst = append(dst, m.name...)
		dst = append(dst, `":`...)
		if err := encoder.EncodeInto(&dst, m.value, jsonOut); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}
