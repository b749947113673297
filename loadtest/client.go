//go:build linux

package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"gannet/internal/im"
	"gannet/internal/wire"

	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// sdk is the kind of SDK that the simulated clients are.
type sdk struct {
	variant  wire.Variant
	platform im.Platform
	query    string // what follows the user's own parameters
	stencil  bool   // compress by stencil
}

func newSDK(kind, compression, compressor string) (sdk, error) {
	s := sdk{platform: im.PlatformAndroid, query: "&isBackground=false"}
	switch kind {
	case "go": // sends no sdkType
	case "js":
		s.variant |= wire.VariantJSON
		s.platform = im.PlatformWeb
		s.query += "&sdkType=js"
	default:
		return s, fmt.Errorf("--sdk %q: go or js", kind)
	}
	switch compression {
	case "gzip":
		s.variant |= wire.VariantGzip
		s.query += "&compression=gzip"
	case "none":
	default:
		return s, fmt.Errorf("--compression %q: gzip or none", compression)
	}
	switch compressor {
	case "stencil": // base64 in JSON moves with every byte: no equal parts
		s.stencil = s.variant == wire.VariantGzip
	case "sdk":
	default:
		return s, fmt.Errorf("--compressor %q: stencil or sdk", compressor)
	}
	return s, nil
}

// target is the request target of u's handshake. Like the SDK it escapes nothing.
func (s *sdk) target(path string, u *account) string {
	return fmt.Sprintf("%s?sendID=%s&token=%s&platformID=%d&operationID=%s%s",
		path, u.UserID, u.Token, s.platform, "connect"+u.UserID, s.query)
}

// naming makes clientMsgIDs that look like the SDK's (32 hexadecimal digits of a
// hash) and can be turned back into the message's number.
type naming struct {
	high, low uint64 // what marks the run and the pair
}

const (
	spread   = 0x9e3779b97f4a7c15 // odd
	unspread = 0xf1de83e19937733d // its inverse modulo 2^64
)

func (g naming) append(dst []byte, n int64) []byte {
	var b [16]byte
	low := uint64(n)*spread + g.low
	for i := range 8 {
		b[i], b[8+i] = byte(g.high>>(56-8*i)), byte(low>>(56-8*i))
	}
	return hex.AppendEncode(dst, b[:])
}

// number is the inverse of append; false for an ID of another run or pair.
func (g naming) number(id []byte) (int64, bool) {
	var b [16]byte
	if len(id) != 32 {
		return 0, false
	}
	if _, err := hex.Decode(b[:], id); err != nil {
		return 0, false
	}
	var high, low uint64
	for i := range 8 {
		high, low = high<<8|uint64(b[i]), low<<8|uint64(b[8+i])
	}
	return int64((low - g.low) * unspread), high == g.high
}

// counterDigits is the width of the number that makes each text unique.
const counterDigits = 10

// text is the content of one pair's messages: {"content":"<number> <words>"}.
type text struct {
	bytes []byte
	at    int // of the number
}

// content returns message n's content, valid until the next call.
func (t *text) content(n int64) []byte {
	putNumber(t.bytes[t.at:t.at+counterDigits], n)
	return t.bytes
}

func putNumber(dst []byte, n int64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}

const vocabulary = "the of and a to in is you that it he was for on are as with his they I at be this have from or one had by " +
	"word but not what all were we when your can said there use an each which she do how their if will up other about out " +
	"many then them these so some her would make like him into time has look two more write go see number no way could people"

// newText makes a text of size bytes.
func newText(size int, rng *rand.Rand) *text {
	words := strings.Fields(vocabulary)
	b := []byte(strings.Repeat("0", counterDigits))
	for len(b) < size {
		b = append(append(b, ' '), words[rng.IntN(len(words))]...)
	}
	const before, after = `{"content":"`, `"}`
	return &text{bytes: []byte(before + string(b[:size]) + after), at: len(before)}
}

// composer builds the requests of one sending client. One request differs from the
// next in identifiers, time and number only, so the rest is encoded once.
type composer struct {
	variant wire.Variant
	names   naming
	text    *text
	request wire.Request
	incr0   int64 // msgIncr is userID_<incr0 + number·stride>
	stride  int64
	data    []byte
	idAt    int      // of clientMsgID in data
	textAt  int      // of the number in data
	fixed   int      // bytes of data before createTime
	stencil *stencil // nil: every message runs through the compressor, if it is compressed
	plain   []byte   // the message before the stencil
	out     []byte
}

// newComposer is for messages from a user to another or to a group.
func newComposer(s sdk, from *account, to string, toGroup bool, names naming, t *text, incr0, stride int64) (*composer, error) {
	placeholder := strings.Repeat("~", 32)
	m := &sdkws.MsgData{
		SendID:           from.UserID,
		RecvID:           to,
		ClientMsgID:      placeholder,
		SenderPlatformID: int32(s.platform),
		SenderNickname:   from.Nickname,
		SessionType:      im.SingleChat,
		MsgFrom:          im.MsgFromUser,
		ContentType:      im.ContentText,
		Content:          t.bytes,
		Status:           im.MsgStatusSending,
	}
	if toGroup {
		m.RecvID, m.GroupID, m.SessionType = "", to, im.GroupChat
	}
	data, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	c := &composer{
		variant: s.variant,
		names:   names,
		text:    t,
		request: wire.Request{ReqIdentifier: wire.ReqSendMsg, SendID: []byte(from.UserID)},
		incr0:   incr0,
		stride:  stride,
		data:    data,
		idAt:    bytes.Index(data, []byte(placeholder)),
		textAt:  bytes.Index(data, t.bytes) + t.at,
		fixed:   len(data),
	}
	if s.stencil {
		err = c.precompress(incr0)
	}
	return c, err
}

// createTimeField is MsgData.createTime's number.
const createTimeField = 16

// compose returns the payload of message n, made at the Unix time now, valid until
// the next call.
func (c *composer) compose(n, nowNanos int64) ([]byte, error) {
	c.names.append(c.data[c.idAt:c.idAt], n)
	putNumber(c.data[c.textAt:c.textAt+counterDigits], n)
	c.data = protowire.AppendTag(c.data[:c.fixed], createTimeField, protowire.VarintType)
	c.data = protowire.AppendVarint(c.data, uint64(nowNanos/1e6))
	r := &c.request
	r.Data = c.data
	r.OperationID = strconv.AppendInt(r.OperationID[:0], nowNanos, 10)
	r.MsgIncr = append(append(r.MsgIncr[:0], r.SendID...), '_')
	r.MsgIncr = strconv.AppendInt(r.MsgIncr, c.incr0+n*c.stride, 10)
	var err error
	if c.stencil == nil {
		c.out, err = wire.AppendRequest(c.out[:0], c.variant, r)
		return c.out, err
	}
	c.plain, err = wire.AppendRequest(c.plain[:0], c.variant&^wire.VariantGzip, r)
	c.out = c.stencil.append(c.out[:0], c.plain)
	return c.out, err
}

// precompress makes compose use a stencil, for as long as times and numbers keep
// their width.
func (c *composer) precompress(nowNanos int64) error {
	gzipped := c.variant
	c.variant &^= wire.VariantGzip
	sample, err := c.compose(0, nowNanos)
	c.variant = gzipped
	if err != nil {
		return err
	}
	c.plain = append(c.plain, sample...)
	own := make([]bool, len(c.plain))
	data := bytes.Index(c.plain, c.data)
	mark := func(at, n int) {
		for i := range n {
			own[at+i] = true
		}
	}
	mark(bytes.Index(c.plain, c.request.OperationID), len(c.request.OperationID))
	digits := len(c.request.MsgIncr) - len(c.request.SendID) - 1
	mark(bytes.Index(c.plain, c.request.MsgIncr)+len(c.request.SendID)+1, digits)
	mark(data+c.idAt, 32)
	mark(data+c.textAt, counterDigits)
	c.stencil = newStencil(c.plain, own, data+c.fixed)
	return nil
}

// sendAck is msg.SendMsgResp. Its slices alias the decoded bytes.
type sendAck struct {
	serverMsgID, clientMsgID []byte
	sendTime                 int64
}

var errProto = errors.New("not the promised protobuf message")

// fields calls each for every field of the protobuf message b: v holds a
// length-delimited value, x a varint.
func fields(b []byte, each func(num protowire.Number, v []byte, x uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errProto
		}
		b = b[n:]
		var v []byte
		var x uint64
		switch typ {
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			x, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errProto
		}
		b = b[n:]
		if err := each(num, v, x); err != nil {
			return err
		}
	}
	return nil
}

func parseAck(b []byte) (a sendAck, err error) {
	err = fields(b, func(num protowire.Number, v []byte, x uint64) error {
		switch num {
		case 1:
			a.serverMsgID = v
		case 2:
			a.clientMsgID = v
		case 3:
			a.sendTime = int64(x)
		}
		return nil
	})
	return a, err
}

// parsePush calls each for the messages of a PushMessages in their order.
// notification tells which of its two maps they are in.
func parsePush(b []byte, each func(conversation []byte, notification bool, m []byte)) error {
	return fields(b, func(kind protowire.Number, entry []byte, _ uint64) error {
		var conversation, pulled []byte
		err := fields(entry, func(num protowire.Number, v []byte, _ uint64) error {
			switch num {
			case 1:
				conversation = v
			case 2:
				pulled = v
			}
			return nil
		})
		if err != nil {
			return err
		}
		return fields(pulled, func(num protowire.Number, v []byte, _ uint64) error {
			if num == 1 {
				each(conversation, kind == 2, v)
			}
			return nil
		})
	})
}
