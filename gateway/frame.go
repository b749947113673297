package gateway

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// frames turns the byte stream of one client into WebSocket messages. It is the
// parse state only: no socket, no clock. The zero value is ready, and is also the
// state at rest; a message that is not yet complete is held in partial.
type frames struct {
	partial *partial
}

// partial is a data message of which some bytes are still to come.
type partial struct {
	message []byte // unmasked bytes of the message so far
	op      ws.OpCode
	fin     bool // the current frame is the message's last
	rest    int  // bytes of the current frame still to come
	at      int  // bytes of the current frame seen: the mask's position
	mask    [4]byte
}

// event is one complete message or control frame. A zero op means none.
type event struct {
	op      ws.OpCode // text, binary, close, ping or pong
	payload []byte    // unmasked; valid until the next call or until b is reused
}

const maxControl = 125

// next consumes bytes from the front of b, unmasking in place, and returns how
// many. At most one event comes per call. No event and n = 0 asks for more bytes:
// the caller presents the unconsumed ones again, followed by more. A non-zero
// ending says that the stream is broken and must not be read further. How the
// stream is cut into calls does not change the events. No message is larger than
// max, and no more memory is held than bytes were received (times two).
func (f *frames) next(b []byte, max int) (n int, ev event, end ending) {
	if p := f.partial; p != nil && p.rest > 0 {
		n = min(p.rest, len(b))
		p.take(b[:n])
		ev, end = f.completed()
		return n, ev, end
	}
	h, size, end := parseHeader(b)
	if end != endNone || size == 0 {
		return 0, event{}, end
	}
	if h.op.IsControl() {
		if len(b) < size+h.length {
			return 0, event{}, endNone
		}
		payload := b[size : size+h.length]
		ws.Cipher(payload, h.mask, 0)
		return size + h.length, event{h.op, payload}, checkControl(h.op, payload)
	}
	held := 0
	if p := f.partial; p != nil {
		held = len(p.message)
	}
	switch {
	case (h.op == ws.OpContinuation) != (f.partial != nil):
		return 0, event{}, endProtocol
	case h.length > max-held:
		return 0, event{}, endTooBig
	}
	body := b[size:]
	if h.fin && f.partial == nil && len(body) >= h.length {
		payload := body[:h.length]
		ws.Cipher(payload, h.mask, 0)
		return size + h.length, event{h.op, payload}, checkData(h.op, payload)
	}
	if f.partial == nil {
		f.partial = &partial{op: h.op}
	}
	p := f.partial
	p.fin, p.rest, p.at, p.mask = h.fin, h.length, 0, h.mask
	n = min(h.length, len(body))
	p.take(body[:n])
	ev, end = f.completed()
	return size + n, ev, end
}

// held is the memory that an incomplete message occupies.
func (f *frames) held() int {
	if f.partial == nil {
		return 0
	}
	return cap(f.partial.message)
}

func (p *partial) take(b []byte) {
	ws.Cipher(b, p.mask, p.at)
	p.message = append(p.message, b...)
	p.at += len(b)
	p.rest -= len(b)
}

// completed returns the held message if its last byte has come.
func (f *frames) completed() (event, ending) {
	p := f.partial
	if p.rest > 0 || !p.fin {
		return event{}, endNone
	}
	f.partial = nil
	return event{p.op, p.message}, checkData(p.op, p.message)
}

// header is one frame's header. Its length is checked to fit an int.
type header struct {
	fin    bool
	op     ws.OpCode
	length int
	mask   [4]byte
}

// parseHeader reads a client frame's header and its size in bytes; size 0 asks
// for more bytes.
func parseHeader(b []byte) (h header, size int, end ending) {
	if len(b) < 2 {
		return h, 0, endNone
	}
	h.fin, h.op, h.length = b[0]&0x80 != 0, ws.OpCode(b[0]&0x0f), int(b[1]&0x7f)
	reserved, masked := b[0]&0x70 != 0, b[1]&0x80 != 0
	switch h.op {
	case ws.OpContinuation, ws.OpText, ws.OpBinary, ws.OpClose, ws.OpPing, ws.OpPong:
	default:
		return h, 0, endProtocol
	}
	if reserved || !masked {
		return h, 0, endProtocol
	}
	if h.op.IsControl() && (!h.fin || h.length > maxControl) {
		return h, 0, endProtocol
	}
	size = 2
	switch h.length {
	case 126:
		if size = 4; len(b) >= size {
			h.length = int(binary.BigEndian.Uint16(b[2:]))
		}
	case 127:
		if size = 10; len(b) >= size {
			long := binary.BigEndian.Uint64(b[2:])
			if long > 1<<62 {
				return h, 0, endProtocol
			}
			h.length = int(long)
		}
	}
	if len(b) < size+4 {
		return h, 0, endNone
	}
	h.mask = [4]byte(b[size:])
	return h, size + 4, endNone
}

func checkControl(op ws.OpCode, payload []byte) ending {
	if op != ws.OpClose || len(payload) == 0 {
		return endNone
	}
	if len(payload) == 1 || !validCloseCode(binary.BigEndian.Uint16(payload)) {
		return endProtocol
	}
	return checkData(ws.OpText, payload[2:])
}

func checkData(op ws.OpCode, payload []byte) ending {
	if op == ws.OpText && !utf8.Valid(payload) {
		return endNotUTF8
	}
	return endNone
}

// validCloseCode reports whether a peer may send code (RFC 6455 §7.4).
func validCloseCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1014:
		return code != 1004 && code != 1005 && code != 1006
	default:
		return code >= 3000 && code <= 4999
	}
}
