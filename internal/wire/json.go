package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
)

// jsonRequest and jsonResponse are the envelopes for encoding/json, which decodes
// what decodePlainJSON leaves.
type jsonRequest struct {
	ReqIdentifier int32  `json:"reqIdentifier"`
	Token         string `json:"token"`
	SendID        string `json:"sendID"`
	OperationID   string `json:"operationID"`
	MsgIncr       string `json:"msgIncr"`
	Data          []byte `json:"data"`
}

type jsonResponse struct {
	ReqIdentifier int32  `json:"reqIdentifier"`
	ErrCode       int    `json:"errCode"`
	ErrMsg        string `json:"errMsg"`
	MsgIncr       string `json:"msgIncr"`
	OperationID   string `json:"operationID"`
	Data          []byte `json:"data"`
}

// decodeJSON accepts what encoding/json accepts. base64ed reports that Data is
// still base64 text.
func (s *shape) decodeJSON(p []byte, out *values) (base64ed bool, err error) {
	if s.decodePlainJSON(p, out) {
		return true, nil
	}
	if s == requestShape {
		var r jsonRequest
		err = json.Unmarshal(p, &r)
		*out = values{
			{n: int64(r.ReqIdentifier)}, {b: bytesOf(r.Token)}, {b: bytesOf(r.SendID)},
			{b: bytesOf(r.OperationID)}, {b: bytesOf(r.MsgIncr)}, {b: r.Data},
		}
	} else {
		var r jsonResponse
		err = json.Unmarshal(p, &r)
		*out = values{
			{n: int64(r.ReqIdentifier)}, {n: int64(r.ErrCode)}, {b: bytesOf(r.ErrMsg)},
			{b: bytesOf(r.MsgIncr)}, {b: bytesOf(r.OperationID)}, {b: r.Data},
		}
	}
	if err != nil {
		return false, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return false, nil
}

// decodePlainJSON decodes the form that encoders give an envelope: known fields
// under their exact names, integers below a billion, printable ASCII without
// escapes, no spaces. It reports false for any other form, right or wrong.
func (s *shape) decodePlainJSON(p []byte, out *values) bool {
	r := jsonReader{p}
	if !r.next('{') {
		return false
	}
	for {
		name, ok := r.text()
		i := s.indexJSON(name)
		if !ok || i < 0 || !r.next(':') {
			return false
		}
		if out[i].b != nil {
			return false // encoding/json also checks what a repeated field hides
		}
		if s.fields[i].kind == gobInt {
			out[i].n, ok = r.integer()
		} else {
			out[i].b, ok = r.text()
		}
		if !ok {
			return false
		}
		if !r.next(',') {
			return r.next('}') && len(r.b) == 0
		}
	}
}

func (s *shape) indexJSON(name []byte) int {
	for i := range s.fields {
		if string(name) == s.fields[i].json {
			return i
		}
	}
	return -1
}

type jsonReader struct{ b []byte }

func (r *jsonReader) next(c byte) bool {
	if len(r.b) == 0 || r.b[0] != c {
		return false
	}
	r.b = r.b[1:]
	return true
}

func (r *jsonReader) text() ([]byte, bool) {
	if !r.next('"') {
		return nil, false
	}
	for i, c := range r.b {
		if c == '"' {
			text := r.b[:i]
			r.b = r.b[i+1:]
			return text, true
		}
		if c < ' ' || c >= 0x7f || c == '\\' {
			break
		}
	}
	return nil, false
}

func (r *jsonReader) integer() (n int64, ok bool) {
	negative := r.next('-')
	digits := 0
	for digits < len(r.b) && r.b[digits] >= '0' && r.b[digits] <= '9' {
		n = 10*n + int64(r.b[digits]-'0')
		if digits++; digits > 9 {
			return 0, false
		}
	}
	if digits == 0 || digits > 1 && r.b[0] == '0' {
		return 0, false
	}
	r.b = r.b[digits:]
	if negative {
		n = -n
	}
	return n, true
}

// appendJSON appends what encoding/json makes of the envelope. Data that is nil
// becomes null.
func (s *shape) appendJSON(dst []byte, f *values, data []byte) []byte {
	separator := byte('{')
	for i := range s.fields {
		dst = append(dst, separator, '"')
		dst = append(dst, s.fields[i].json...)
		dst = append(dst, '"', ':')
		separator = ','
		switch {
		case i == dataField && data == nil:
			dst = append(dst, "null"...)
		case i == dataField:
			dst = append(dst, '"')
			dst = base64.StdEncoding.AppendEncode(dst, data)
			dst = append(dst, '"')
		case s.fields[i].kind == gobInt:
			dst = strconv.AppendInt(dst, f[i].n, 10)
		default:
			dst = appendJSONText(dst, f[i].b)
		}
	}
	return append(dst, '}')
}

// appendJSONText appends text as encoding/json does; texts with anything to
// escape go through it.
func appendJSONText(dst, text []byte) []byte {
	for _, c := range text {
		if !plainJSON(c) {
			quoted, _ := json.Marshal(string(text)) // a string cannot fail
			return append(dst, quoted...)
		}
	}
	dst = append(append(dst, '"'), text...)
	return append(dst, '"')
}

// plainJSON reports whether c stands for itself in a JSON string, in both
// directions and with HTML escaping on.
func plainJSON(c byte) bool {
	switch c {
	case '"', '\\', '<', '>', '&':
		return false
	}
	return c >= ' ' && c < 0x7f
}
