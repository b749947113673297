package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
)

// jsonRequest and jsonResponse are the envelopes for encoding/json.
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
	if s == requestShape {
		var r jsonRequest
		if err = json.Unmarshal(p, &r); err == nil {
			*out = values{
				{n: int64(r.ReqIdentifier)}, {b: bytesOf(r.Token)}, {b: bytesOf(r.SendID)},
				{b: bytesOf(r.OperationID)}, {b: bytesOf(r.MsgIncr)}, {b: r.Data},
			}
		}
	} else {
		var r jsonResponse
		if err = json.Unmarshal(p, &r); err == nil {
			*out = values{
				{n: int64(r.ReqIdentifier)}, {n: int64(r.ErrCode)}, {b: bytesOf(r.ErrMsg)},
				{b: bytesOf(r.MsgIncr)}, {b: bytesOf(r.OperationID)}, {b: r.Data},
			}
		}
	}
	if err != nil {
		return false, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return false, nil
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
