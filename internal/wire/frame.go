package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// First bytes of frames: FIN and the opcode.
const (
	finText   = 0x81
	finBinary = 0x82
	finClose  = 0x88
)

// controlMax is RFC 6455's bound on a control frame's payload, in bytes.
const controlMax = 125

// headerRoom is what openFrame leaves for the header: the size it has for
// payloads of 126 … 65535 bytes, which nearly all envelopes are.
const headerRoom = 4

// openFrame leaves room for the header and, if v asks for it, for the start of a
// stored gzip stream. The envelope is appended next, then closeFrame.
func openFrame(dst []byte, v Variant) (_ []byte, start int) {
	start = len(dst)
	dst = append(dst, make([]byte, headerRoom)...)
	if v&VariantGzip != 0 {
		dst = append(dst, make([]byte, storedRoom)...)
	}
	return dst, start
}

// closeFrame turns what was appended since openFrame into a binary frame. Up to
// stored bytes of envelope a compressor is spared.
func closeFrame(dst []byte, start int, v Variant, stored int) []byte {
	if v&VariantGzip != 0 {
		dst = deflateFrame(dst, start+headerRoom, stored)
	}
	size := len(dst) - start - headerRoom
	var head [10]byte
	h := appendHeader(head[:0], finBinary, size)
	if len(h) != headerRoom {
		dst = append(dst, head[:max(0, len(h)-headerRoom)]...)
		copy(dst[start+len(h):], dst[start+headerRoom:start+headerRoom+size])
	}
	copy(dst[start:], h)
	return dst[:start+len(h)+size]
}

func appendHeader(dst []byte, first byte, size int) []byte {
	switch {
	case size <= 125:
		return append(dst, first, byte(size))
	case size <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(size))
}

// AppendTextFrame appends one text frame.
func AppendTextFrame(dst, payload []byte) []byte {
	return append(appendHeader(dst, finText, len(payload)), payload...)
}

// AppendControlFrame appends a control frame (opcode 8, 9 or 10). A payload is
// cut to 125 bytes, the protocol's bound.
func AppendControlFrame(dst []byte, opcode byte, payload []byte) []byte {
	payload = payload[:min(len(payload), controlMax)]
	return append(appendHeader(dst, 0x80|opcode, len(payload)), payload...)
}

// AppendCloseFrame appends a close frame. reason is cut to the 123 bytes it may
// have, between characters.
func AppendCloseFrame(dst []byte, code uint16, reason string) []byte {
	if len(reason) > controlMax-2 {
		end := controlMax - 2
		for end > 0 && !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	dst = appendHeader(dst, finClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}
