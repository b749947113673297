package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"

	"github.com/bytedance/sonic"
	"github.com/bytedance/sonic/encoder"

	"gannet/core"
	"gannet/internal/im"
)

// jsonIn reads requests as encoding/json does: member names in any case, unknown
// members ignored, invalid UTF-8 replaced. Strings are copied because the HTTP
// server uses the body's memory again. Nesting is bounded by sonic (4,096).
var jsonIn = sonic.Config{CopyString: true, ValidateString: true}.Froze()

// jsonOut writes answers: [] and {} where Go has nil, because typed clients
// dislike null. A nil []byte would become [] too, so it must not be answered.
const jsonOut = encoder.NoNullSliceOrMap | encoder.ValidateString

// endpoint is an operation without the clothes of a dialect: it reads the body,
// calls core and returns what to answer, nil if nothing. It does not keep body.
type endpoint func(from core.Caller, body []byte) (data any, err error)

// checker is a request that can tell what it lacks, as most of the protocol's do.
type checker interface{ Check() error }

// handle makes an endpoint of one of core's operations. An answer without fields
// is nothing.
func handle[Req, Resp any](call func(core.Caller, *Req) (*Resp, error)) endpoint {
	silent := fieldless(reflect.TypeFor[Resp]())
	return func(from core.Caller, body []byte) (any, error) {
		req := new(Req)
		if err := decode(body, req); err != nil {
			return nil, err
		}
		resp, err := call(from, req)
		if err != nil || silent {
			return nil, err
		}
		return resp, nil
	}
}

func fieldless(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for i := range t.NumField() {
		if t.Field(i).IsExported() {
			return false
		}
	}
	return true
}

// decode reads body into req and lets req check itself. Errors are im.ErrArgs.
func decode(body []byte, req any) error {
	if err := jsonIn.Unmarshal(body, req); err != nil {
		return decodeError(body, req)
	}
	if c, ok := req.(checker); ok {
		if err := c.Check(); err != nil {
			return asArgs(err)
		}
	}
	return nil
}

// decodeError says what is wrong with a body. The text is encoding/json's, which
// AppServers know and which, unlike sonic's, does not quote the body: that may
// hold a token or a secret.
func decodeError(body []byte, req any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return im.ErrArgs.With("EOF")
	}
	fresh := reflect.New(reflect.TypeOf(req).Elem()).Interface()
	if err := json.Unmarshal(body, fresh); err != nil {
		text := err.Error()
		return im.ErrArgs.With("%s", strings.ToValidUTF8(text[:min(len(text), 256)], "?"))
	}
	return im.ErrArgs.With("invalid JSON")
}

// detailOf is what a request error tells about this call.
func detailOf(err error) string {
	var e *im.Error
	if errors.As(err, &e) {
		return e.Detail
	}
	return err.Error()
}

// codeOf is a request error's number; 0 if err is none.
func codeOf(err error) int {
	var e *im.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// asArgs makes a request's own complaint a request error.
func asArgs(err error) error {
	var known *im.Error
	if errors.As(err, &known) {
		return known
	}
	return im.ErrArgs.With("%s", err)
}

// envelope is every answer of the v3 dialect.
type envelope struct {
	ErrCode int    `json:"errCode"`
	ErrMsg  string `json:"errMsg"`
	ErrDlt  string `json:"errDlt"`
	Data    any    `json:"data,omitempty"`
}

// appendEnvelope appends the answer that data or err makes; err is an *im.Error.
func appendEnvelope(dst []byte, data any, err *im.Error) ([]byte, error) {
	e := envelope{Data: data}
	if err != nil {
		e = envelope{ErrCode: err.Code, ErrMsg: err.Name, ErrDlt: err.Detail}
	}
	from := len(dst)
	if err := encoder.EncodeInto(&dst, &e, jsonOut); err != nil {
		return dst[:from], err
	}
	return dst, nil
}
