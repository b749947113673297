package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// Request identifiers of the envelope (contract §2.1). 1001–1007 and 2003–2005
// come from clients and are answered under the same number; 2001, 2002 and
// later 2005 frames are the server's own.
const (
	ReqNewestSeq   = 1001
	ReqPullByRange = 1002
	ReqSendMsg     = 1003
	ReqSignal      = 1004
	ReqPullBySeqs  = 1005
	ReqMaxReadSeq  = 1006
	ReqLastMessage = 1007
	PushMsg        = 2001
	PushKick       = 2002
	ReqLogout      = 2003
	ReqBackground  = 2004
	ReqSubscribe   = 2005
)

// Variant says how the frames of one session are encoded: a bit set, 0 is plain gob.
type Variant uint8

// The bits of a Variant.
const (
	VariantJSON Variant = 1 << iota // JSON envelope instead of gob
	VariantGzip                     // the envelope is one gzip stream
)

// Variants is the number of different Variant values: 0 … Variants-1.
const Variants = 4

// The ways in which decoding fails. An error of this room wraps one of them.
var (
	// ErrTooLarge: the payload, or what it inflates to, exceeds the caller's bound.
	ErrTooLarge = errors.New("wire: frame exceeds its size bound")
	// ErrMalformed: the bytes are not what the session's variant promises.
	ErrMalformed = errors.New("wire: malformed frame")
)

// Request is a client's envelope. Its slices alias one buffer that the Request
// owns; absent and empty fields are nil.
type Request struct {
	ReqIdentifier int32
	Token         []byte
	SendID        []byte
	OperationID   []byte
	MsgIncr       []byte
	Data          []byte // protobuf of the request's own message
}

// Response is the server's envelope: an answer or a push.
type Response struct {
	ReqIdentifier int32
	MsgIncr       []byte // echoed; empty for pushes
	OperationID   []byte
	ErrCode       int
	ErrMsg        string
	Data          []byte
}

// field is one field of an envelope in both encodings.
type field struct {
	name string // in gob
	json string
	kind uint8 // gob type id: gobInt, gobString or gobBytes
}

// envelopeFields is the number of fields; both envelopes have six.
const envelopeFields = 6

// value is a decoded field. b aliases the input.
type value struct {
	n int64
	b []byte
}

type values [envelopeFields]value

// The envelopes, in the field order of the Go SDK. Data is last in both, so that
// encoders can let the caller append it in place.
var (
	requestShape = newShape("GeneralWsReq", [envelopeFields]field{
		{"ReqIdentifier", "reqIdentifier", gobInt},
		{"Token", "token", gobString},
		{"SendID", "sendID", gobString},
		{"OperationID", "operationID", gobString},
		{"MsgIncr", "msgIncr", gobString},
		{"Data", "data", gobBytes},
	})
	responseShape = newShape("GeneralWsResp", [envelopeFields]field{
		{"ReqIdentifier", "reqIdentifier", gobInt},
		{"ErrCode", "errCode", gobInt},
		{"ErrMsg", "errMsg", gobString},
		{"MsgIncr", "msgIncr", gobString},
		{"OperationID", "operationID", gobString},
		{"Data", "data", gobBytes},
	})
)

const dataField = envelopeFields - 1

// DecodeRequest decodes one whole WebSocket message, which is not retained. max
// bounds the envelope's bytes, before and after inflating; an envelope beyond it
// is ErrTooLarge. What one call allocates is at most a few times its input, plus
// a few times what a compressed one inflates to.
func DecodeRequest(payload []byte, v Variant, max int) (Request, error) {
	var d decoding
	defer d.close()
	if err := d.open(requestShape, payload, v, max); err != nil {
		return Request{}, err
	}
	r := Request{
		ReqIdentifier: int32(d.fields[0].n),
		Token:         d.text(1),
		SendID:        d.text(2),
		OperationID:   d.text(3),
		MsgIncr:       d.text(4),
	}
	var err error
	r.Data, err = d.data()
	return r, err
}

// DecodeResponse is DecodeRequest for the client's side.
func DecodeResponse(payload []byte, v Variant, max int) (Response, error) {
	var d decoding
	defer d.close()
	if err := d.open(responseShape, payload, v, max); err != nil {
		return Response{}, err
	}
	r := Response{
		ReqIdentifier: int32(d.fields[0].n),
		ErrCode:       int(d.fields[1].n),
		ErrMsg:        string(d.fields[2].b),
		MsgIncr:       d.text(3),
		OperationID:   d.text(4),
	}
	var err error
	r.Data, err = d.data()
	return r, err
}

// decoding is one envelope on its way from the input's bytes to fields that own
// their memory.
type decoding struct {
	fields   values
	base64ed bool      // Data is still base64 text
	inflater *inflater // nil, or owner of the bytes that fields alias
	buf      []byte    // what text and data return is cut from here
}

func (d *decoding) open(s *shape, payload []byte, v Variant, max int) error {
	if len(payload) > max {
		return ErrTooLarge
	}
	if v&VariantGzip != 0 {
		d.inflater = inflaters.Get().(*inflater)
		var err error
		if payload, err = d.inflater.inflate(payload, max); err != nil {
			return err
		}
	}
	var err error
	if v&VariantJSON != 0 {
		d.base64ed, err = s.decodeJSON(payload, &d.fields)
	} else {
		err = s.decodeGob(payload, &d.fields)
	}
	if err != nil {
		return err
	}
	if n := d.fields[0].n; n < math.MinInt32 || n > math.MaxInt32 {
		return fmt.Errorf("%w: request identifier %d", ErrMalformed, n)
	}
	size := 0
	for i := range d.fields {
		size += len(d.fields[i].b)
	}
	if d.base64ed {
		data := len(d.fields[dataField].b)
		size += base64.StdEncoding.DecodedLen(data) - data
	}
	d.buf = make([]byte, 0, size)
	return nil
}

func (d *decoding) close() {
	if d.inflater != nil {
		d.inflater.release()
	}
}

// text copies field i out of the input. Its capacity ends with it, so that an
// append to one field cannot reach the next.
func (d *decoding) text(i int) []byte {
	b := d.fields[i].b
	if len(b) == 0 {
		return nil
	}
	start := len(d.buf)
	d.buf = append(d.buf, b...)
	return d.buf[start:len(d.buf):len(d.buf)]
}

func (d *decoding) data() ([]byte, error) {
	if !d.base64ed {
		return d.text(dataField), nil
	}
	room := d.buf[len(d.buf):cap(d.buf)]
	n, err := base64.StdEncoding.Decode(room, d.fields[dataField].b)
	if err != nil {
		return nil, fmt.Errorf("%w: data: %v", ErrMalformed, err)
	}
	if n == 0 {
		return nil, nil
	}
	return room[:n:n], nil
}

// AppendRequest appends r as a client sends it: the payload of a WebSocket
// message, without frame header. Compressed like the Go SDK's, at gzip's default
// level.
func AppendRequest(dst []byte, v Variant, r *Request) ([]byte, error) {
	f := values{
		{n: int64(r.ReqIdentifier)}, {b: r.Token}, {b: r.SendID}, {b: r.OperationID}, {b: r.MsgIncr}, {b: r.Data},
	}
	start := len(dst)
	dst = requestShape.appendEnvelope(dst, v, &f)
	if v&VariantGzip != 0 {
		dst = deflate(dst, start, start, &defaultWriters)
	}
	return dst, nil
}

// AppendResponse appends r as one complete unmasked WebSocket frame, header
// included. It allocates nothing when dst has room, except for the JSON form of
// unusual texts and, in a pool, for compressors.
func AppendResponse(dst []byte, v Variant, r *Response) []byte {
	f := r.values()
	f[dataField].b = r.Data
	dst, start := openFrame(dst, v)
	dst = responseShape.appendEnvelope(dst, v, &f)
	return closeFrame(dst, start, v, storedMax)
}

func (r *Response) values() values {
	return values{
		{n: int64(r.ReqIdentifier)}, {n: int64(r.ErrCode)}, {b: bytesOf(r.ErrMsg)}, {b: r.MsgIncr}, {b: r.OperationID}, {},
	}
}

func (s *shape) appendEnvelope(dst []byte, v Variant, f *values) []byte {
	data := f[dataField].b
	if v&VariantJSON != 0 {
		return s.appendJSON(dst, f, data)
	}
	dst = s.appendGob(dst, f, len(data))
	return append(append(dst, data...), gobEnd)
}

// bytesOf is s without a copy; the bytes must not be written.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
