package wire

import "encoding/binary"

// DEFLATE (RFC 1951) from memory to memory; docs/adr/0001-inflate.md says why it
// is here. gzip.go has the members around it, and inflater's fields.

// inflateSlack is what one turn of block may write: three literals, or two and a
// match copied 16 bytes at a time.
const inflateSlack = 2 + maxMatch + 15

// deflated decodes the DEFLATE stream at pos, and leaves pos after it.
func (f *inflater) deflated() error {
	for last := 0; last == 0; {
		header := f.take(3)
		last = header & 1
		err := errDeflate
		switch header >> 1 {
		case 0:
			err = f.storedBlock()
		case 1:
			err = f.block(&fixedLiterals, &fixedDistances)
		case 2:
			if f.readCodes() {
				err = f.block(&f.literals, &f.distances)
			}
		}
		if err != nil {
			return err
		}
	}
	f.align()
	return nil
}

// fill makes n, the bits in b, at least 56, or adds what src has left at pos. Bits
// of b beyond n are 0 or those that the input has there. A negative n, from bits
// taken beyond the end, stays so.
func fill(src []byte, pos int, b uint64, n int) (int, uint64, int) {
	if pos+8 <= len(src) {
		return pos + (63-n)>>3, b | binary.LittleEndian.Uint64(src[pos:])<<(n&63), n | 56
	}
	for ; n >= 0 && n < 56 && pos < len(src); n += 8 {
		b |= uint64(src[pos]) << (n & 63)
		pos++
	}
	return pos, b, n
}

// take reads k bits. Beyond the end they are 0, and n is negative.
func (f *inflater) take(k int) int {
	f.pos, f.b, f.n = fill(f.src, f.pos, f.b, f.n)
	v := int(f.b & (1<<k - 1))
	f.b >>= k
	f.n -= k
	return v
}

// align returns the whole bytes of b to the input and drops its other bits.
func (f *inflater) align() {
	f.pos -= f.n >> 3
	f.b, f.n = 0, 0
}

func (f *inflater) storedBlock() error {
	if f.n < 0 {
		return errDeflate
	}
	f.align()
	size, inverse := f.take(16), f.take(16)
	if f.n < 0 || size^inverse != 1<<16-1 {
		return errDeflate
	}
	f.align()
	content := f.src[f.pos:]
	if len(content) < size {
		return errDeflate
	}
	if err := f.reserve(size); err != nil {
		return err
	}
	f.w += copy(f.buf[f.w:], content[:size])
	f.pos += size
	return nil
}

// readCodes reads the codes of a dynamic block, and says whether they are some.
func (f *inflater) readCodes() bool {
	nl, nd, given := f.take(5)+257, f.take(5)+1, f.take(4)+4
	if nl > 286 || nd > 30 {
		return false
	}
	var lengths [19]int
	for _, s := range []uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[:given] {
		lengths[s] = f.take(3)
	}
	f.lengths.reset(lengthMeanings[:])
	for s, n := range lengths {
		f.lengths.add(s, n)
	}
	f.literals.reset(literalMeanings[:])
	f.distances.reset(distanceMeanings[:])
	if !f.lengths.build(lengthBits) {
		return false
	}
	add := func(i, length int) {
		if i < nl {
			f.literals.add(i, length)
		} else {
			f.distances.add(i-nl, length)
		}
	}
	pos, b, n := f.pos, f.b, f.n
	for i, last := 0, 0; i < nl+nd; {
		if n < lengthBits+7 {
			pos, b, n = fill(f.src, pos, b, n)
		}
		m := f.lengths.table[b&(1<<lengthBits-1)]
		run, length := m.value()>>8+m.extra(b), m.value()&15
		b >>= m.bits()
		n -= int(m.bits())
		if m == 0 || n < 0 || i+run > nl+nd {
			return false
		}
		if m&kindMatch != 0 {
			if i == 0 {
				return false
			}
			for length = last; run > 1; run-- {
				add(i, length)
				i++
			}
		}
		add(i, length) // of a run of zeros the first is enough
		i += run
		last = length
	}
	f.pos, f.b, f.n = pos, b, n
	return f.literals.build(literalBits) && f.distances.build(distanceBits)
}

// block decodes the symbols of a block up to its end.
func (f *inflater) block(literals, distances *code) error {
	src, pos, b, n := f.src, f.pos, f.b, f.n // f's, in registers
	buf, w, end := f.buf, f.w, f.end
	for {
		if w > end {
			f.w = w
			if err := f.reserve(0); err != nil {
				return err
			}
			buf, end = f.buf, f.end
		}
		if pos, b, n = fill(src, pos, b, n); n < 0 {
			return errDeflate
		}
		// Two literals from the table and a third or a length, 40 bits, are within what
		// fill promised; a distance, up to 28, is not.
		m := literals.table[b&(1<<literalBits-1)]
		if m&kindLiteral != 0 {
			buf[w] = byte(m >> 16)
			w++
			b >>= m.bits()
			n -= int(m.bits())
			m = literals.table[b&(1<<literalBits-1)]
			if m&kindLiteral != 0 {
				buf[w] = byte(m >> 16)
				w++
				b >>= m.bits()
				n -= int(m.bits())
				m = literals.table[b&(1<<literalBits-1)]
			}
		}
		if m == 0 {
			m = literals.find(b)
		}
		length := m.value() + m.extra(b)
		b >>= m.bits()
		n -= int(m.bits())
		switch {
		case m&kindLiteral != 0:
			buf[w] = byte(m >> 16)
			w++
			continue
		case m&kindMatch == 0:
			f.pos, f.b, f.n, f.w = pos, b, n, w
			if m&kindEnd == 0 || n < 0 {
				return errDeflate
			}
			return nil
		case n < maxCodeBits+13:
			pos, b, n = fill(src, pos, b, n)
		}
		m = distances.table[b&(1<<distanceBits-1)]
		if m == 0 {
			m = distances.find(b)
		}
		distance := m.value() + m.extra(b)
		b >>= m.bits()
		n -= int(m.bits())
		if m&kindMatch == 0 || distance > w-f.start {
			return errDeflate
		}
		if distance >= 8 {
			for i := w; i < w+length; i += 16 {
				binary.LittleEndian.PutUint64(buf[i:], binary.LittleEndian.Uint64(buf[i-distance:]))
				binary.LittleEndian.PutUint64(buf[i+8:], binary.LittleEndian.Uint64(buf[i+8-distance:]))
			}
		} else { // the pattern doubles with each turn
			for from, i := w-distance, w; i < w+length; {
				i += copy(buf[i:w+length], buf[from:i])
			}
		}
		w += length
	}
}
