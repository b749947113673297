//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// frameMax bounds one inbound message; the SDK gives up beyond 1 MiB as well.
const frameMax = 1 << 20

// upgradeBytesMax bounds the answer to a handshake.
const upgradeBytesMax = 16 << 10

// WebSocket opcodes.
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

type connState uint8

const (
	stateUpgrading connState = iota // connecting, or waiting for the answer to the upgrade
	stateOpen
	stateClosed
)

// conn is one client connection. Its loop owns all of it.
type conn struct {
	id     int32 // slot in loop.conns
	dial   int32 // number of its dial
	fd     int
	state  connState
	armed  bool   // epoll watches for writability
	dirty  bool   // stands in loop.dirty
	dialed int64  // nanos
	heard  int64  // nanos of the last byte read
	in     []byte // start of a frame whose rest is missing
	out    []byte // not yet taken by the socket
}

// consume handles every complete frame in p and returns what is left.
func (l *loop) consume(c *conn, p []byte) ([]byte, error) {
	if c.state == stateUpgrading {
		var err error
		if p, err = l.upgraded(c, p); err != nil || c.state == stateUpgrading {
			return p, err
		}
	}
	for c.state == stateOpen {
		first, payload, size, err := parseFrame(p)
		if err != nil || size == 0 {
			return p, err
		}
		if err := l.frame(c, first, payload); err != nil {
			return nil, err
		}
		p = p[size:]
	}
	return p, nil
}

// parseFrame cuts the frame at the start of p: its first byte, its payload, and
// its size with the header, which is 0 while bytes are missing.
func parseFrame(p []byte) (first byte, payload []byte, size int, err error) {
	if len(p) < 2 {
		return 0, nil, 0, nil
	}
	head, length := 2, uint64(p[1]&0x7f)
	switch {
	case p[1]&0x80 != 0:
		return 0, nil, 0, errors.New("masked frame from the server")
	case length == 126 && len(p) >= 4:
		head, length = 4, uint64(binary.BigEndian.Uint16(p[2:]))
	case length == 127 && len(p) >= 10:
		head, length = 10, binary.BigEndian.Uint64(p[2:])
	case length >= 126:
		return 0, nil, 0, nil
	}
	if length > frameMax {
		return 0, nil, 0, fmt.Errorf("frame of %d bytes", length)
	}
	size = head + int(length)
	if len(p) < size {
		return 0, nil, 0, nil
	}
	return p[0], p[head:size], size, nil
}

// frame handles one frame. Servers of this protocol do not fragment, and a text
// frame ends an SDK's read loop, so both are faults.
func (l *loop) frame(c *conn, first byte, payload []byte) error {
	switch first {
	case 0x80 | opBinary:
		l.on.message(c, payload)
	case 0x80 | opPing:
		l.send(c, opPong, nil)
	case 0x80 | opPong:
		l.pongs++
	case 0x80 | opClose:
		if len(payload) < 2 {
			return errors.New("closed by the server")
		}
		return fmt.Errorf("closed by the server: %d %s", binary.BigEndian.Uint16(payload), payload[2:])
	default:
		return fmt.Errorf("unexpected frame %#x", first)
	}
	return nil
}

// upgraded handles the answer to the upgrade request.
func (l *loop) upgraded(c *conn, p []byte) ([]byte, error) {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		if len(p) > upgradeBytesMax {
			return nil, errors.New("endless answer to the upgrade")
		}
		return p, nil
	}
	status, fields, _ := strings.Cut(string(p[:end]), "\r\n")
	header := http.Header{}
	for _, line := range strings.Split(fields, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			header.Add(name, strings.TrimSpace(value))
		}
	}
	body := p[end+4:]
	if !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		length, _ := strconv.Atoi(header.Get("Content-Length"))
		if length > upgradeBytesMax {
			return nil, fmt.Errorf("upgrade answered %q", status)
		}
		if len(body) < length {
			return p, nil
		}
		return nil, refusal(status, body)
	}
	if header.Get("Sec-Websocket-Accept") != l.accept {
		return nil, errors.New("upgrade answered with a wrong Sec-WebSocket-Accept")
	}
	c.state = stateOpen
	l.dialing--
	l.open++
	l.on.opened(c)
	return body, nil
}

// refusal makes an error of an upgrade that was answered with something else.
func refusal(status string, body []byte) error {
	var answer envelope
	if json.Unmarshal(body, &answer) == nil && answer.ErrCode != 0 {
		return fmt.Errorf("upgrade refused: %w", answer.err())
	}
	return fmt.Errorf("upgrade answered %q", status)
}

// send queues one masked frame; it leaves at the end of the loop's round.
func (l *loop) send(c *conn, opcode byte, payload []byte) {
	if c.state != stateOpen {
		return
	}
	c.out = appendMasked(c.out, opcode, uint32(l.rng.Uint64()), payload)
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

// appendMasked appends one final client frame.
func appendMasked(dst []byte, opcode byte, mask uint32, payload []byte) []byte {
	n := len(payload)
	switch {
	case n <= 125:
		dst = append(dst, 0x80|opcode, 0x80|byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|opcode, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|opcode, 0x80|127), uint64(n))
	}
	dst = binary.LittleEndian.AppendUint32(dst, mask)
	start := len(dst)
	dst = append(dst, payload...)
	p, wide := dst[start:], uint64(mask)<<32|uint64(mask)
	for ; len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
	}
	for i := range p {
		p[i] ^= byte(wide >> (8 * i))
	}
	return dst
}
