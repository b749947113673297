//go:build linux

package main

import (
	"encoding/binary"
	"hash/crc32"
)

// stencil compresses messages of one length that differ only at known places, for a
// hundredth of a compressor's work: the Huffman code, the matches and the bits of
// the equal parts are computed once, and a message costs a copy of them, the codes
// of its own bytes and the checksum. The result is what a compressor makes: one
// dynamic block with matches, about as long and as dear to inflate as the SDK's.
// Only the last bytes are in a stored block of their own.
type stencil struct {
	size     int // of every message
	parts    []part
	literals [256]code
	last     bits // end of the block
	tail     int  // stored from here on
}

// part is the bits of some equal bytes and the range of the own bytes after them.
type part struct {
	bits     bits
	from, to int
}

// code is a Huffman code, in the order in which its bits are written.
type code struct {
	bits uint16
	n    uint8
}

const (
	endOfBlock   = 256
	codesMax     = 286
	distancesMax = 30
	codeBitsMax  = 15
	matchMin     = 4
	matchMax     = 258
	ownAlphabet  = "0123456789abcdef" // of the bytes that differ
	ownWeight    = 3                  // occurrences that each of them is taken to have
)

// Bases and extra bits of the length codes 257 … 284 and the distance codes.
var (
	lengthBase    = [...]int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra   = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase  = [...]int{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distanceExtra = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// token is a literal (length 0) or a match.
type token struct {
	at               int
	length, distance int
}

// newStencil makes a stencil of sample, in which own marks the bytes that differ
// between messages; these are of ownAlphabet, except from tail on, where all is.
func newStencil(sample []byte, own []bool, tail int) *stencil {
	s := &stencil{size: len(sample), tail: tail}
	tokens := findMatches(sample[:tail], own)
	var codes, distances [codesMax]int
	codes[endOfBlock] = 1
	for _, c := range []byte(ownAlphabet) {
		codes[c] = ownWeight
	}
	for _, t := range tokens {
		if t.length == 0 {
			codes[sample[t.at]]++
			continue
		}
		codes[257+below(lengthBase[:], t.length)]++
		distances[below(distanceBase[:], t.distance)]++
	}
	lengths := codeLengths(codes[:])
	distanceLengths := codeLengths(distances[:distancesMax])
	code, distanceCode := canonical(lengths), canonical(distanceLengths)
	copy(s.literals[:], code)
	var b bits
	writeHeader(&b, lengths, distanceLengths)
	for i := 0; i < len(tokens); {
		t := tokens[i]
		switch {
		case own[t.at]:
			end := i
			for end < len(tokens) && own[tokens[end].at] {
				end++
			}
			s.parts = append(s.parts, part{b, t.at, t.at + end - i})
			b = bits{}
			i = end
			continue
		case t.length == 0:
			b.code(code[sample[t.at]])
		default:
			n := below(lengthBase[:], t.length)
			b.code(code[257+n])
			b.add(uint64(t.length-lengthBase[n]), lengthExtra[n])
			d := below(distanceBase[:], t.distance)
			b.code(distanceCode[d])
			b.add(uint64(t.distance-distanceBase[d]), distanceExtra[d])
		}
		i++
	}
	b.code(code[endOfBlock])
	b.add(1, 3) // the next block: last, stored
	s.last = b
	return s
}

// append appends the gzip stream of message, which must fit the stencil.
func (s *stencil) append(dst, message []byte) []byte {
	b := bits{bytes: append(dst, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff)}
	for i := range s.parts {
		p := &s.parts[i]
		b.append(&p.bits)
		for _, c := range message[p.from:p.to] {
			b.code(s.literals[c])
		}
	}
	b.append(&s.last)
	dst = b.flush()
	n := uint16(len(message) - s.tail)
	dst = binary.LittleEndian.AppendUint16(dst, n)
	dst = binary.LittleEndian.AppendUint16(dst, ^n)
	dst = append(dst, message[s.tail:]...)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(message))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(message)))
}

// findMatches cuts b into literals and matches. Matches neither make own bytes nor
// copy them.
func findMatches(b []byte, own []bool) (tokens []token) {
	seen := map[uint32]int{}
	for i := 0; i < len(b); {
		t := token{at: i}
		if i+matchMin <= len(b) {
			key := binary.LittleEndian.Uint32(b[i:])
			if from, ok := seen[key]; ok && i-from <= 32768 {
				n := 0
				for n < matchMax && i+n < len(b) && b[from+n] == b[i+n] && !own[from+n] && !own[i+n] {
					n++
				}
				if n >= matchMin {
					t.length, t.distance = n, i-from
				}
			}
		}
		for end := i + max(1, t.length); i < end; i++ {
			if i+matchMin <= len(b) {
				seen[binary.LittleEndian.Uint32(b[i:])] = i
			}
		}
		tokens = append(tokens, t)
	}
	return tokens
}

// below is the index of the last element that is at most v.
func below(sorted []int, v int) int {
	i := len(sorted) - 1
	for sorted[i] > v {
		i--
	}
	return i
}

// codeLengths gives every symbol that occurs a Huffman code length of at most codeBitsMax.
func codeLengths(weights []int) []uint8 {
	lengths := make([]uint8, len(weights))
	type tree struct {
		weight  int
		symbols []int
	}
	for {
		var trees []tree
		for symbol, w := range weights {
			lengths[symbol] = 0
			if w > 0 {
				trees = append(trees, tree{w, []int{symbol}})
			}
		}
		if len(trees) == 1 {
			lengths[trees[0].symbols[0]] = 1
		}
		longest := uint8(0)
		for len(trees) > 1 {
			a := lightest(len(trees), func(i int) int { return trees[i].weight })
			first := trees[a]
			trees[a] = trees[len(trees)-1]
			trees = trees[:len(trees)-1]
			b := &trees[lightest(len(trees), func(i int) int { return trees[i].weight })]
			b.weight += first.weight
			b.symbols = append(b.symbols, first.symbols...)
			for _, symbol := range b.symbols {
				lengths[symbol]++
				longest = max(longest, lengths[symbol])
			}
		}
		if longest <= codeBitsMax {
			return lengths
		}
		for i, w := range weights {
			weights[i] = (w + 1) / 2
		}
	}
}

func lightest(n int, weight func(int) int) int {
	best := 0
	for i := 1; i < n; i++ {
		if weight(i) < weight(best) {
			best = i
		}
	}
	return best
}

// canonical assigns the codes that deflate derives from lengths.
func canonical(lengths []uint8) []code {
	codes := make([]code, len(lengths))
	next := uint16(0)
	for n := uint8(1); n <= codeBitsMax; n++ {
		for symbol, length := range lengths {
			if length != n {
				continue
			}
			for bit := range n { // the first bit of a code is written first
				codes[symbol].bits |= next >> (n - 1 - bit) & 1 << bit
			}
			codes[symbol].n = n
			next++
		}
		next <<= 1
	}
	return codes
}

// writeHeader starts a dynamic block that is not the last. The code lengths have a
// fixed code of their own: 13 symbols of 4 bits and 6 of 5.
func writeHeader(b *bits, lengths, distances []uint8) {
	order := [...]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	outer := make([]uint8, len(order))
	for i := range outer {
		outer[i] = 4
	}
	for _, rare := range []int{16, 1, 2, 13, 14, 15} {
		outer[rare] = 5
	}
	b.add(2<<1, 3)
	b.add(uint64(len(lengths)-257), 5)
	b.add(uint64(len(distances)-1), 5)
	b.add(uint64(len(order)-4), 4)
	for _, symbol := range order {
		b.add(uint64(outer[symbol]), 3)
	}
	codes := canonical(outer)
	all := append(append([]uint8{}, lengths...), distances...)
	for i := 0; i < len(all); {
		zeros := 0
		for i+zeros < len(all) && all[i+zeros] == 0 && zeros < 138 {
			zeros++
		}
		switch {
		case zeros >= 11:
			b.code(codes[18])
			b.add(uint64(zeros-11), 7)
		case zeros >= 3:
			b.code(codes[17])
			b.add(uint64(zeros-3), 3)
		default:
			b.code(codes[all[i]])
			zeros = 1
		}
		i += zeros
	}
}

// bits is a growing string of bits: whole bytes, and fewer than 32 more.
type bits struct {
	bytes []byte
	rest  uint64
	n     uint8
}

// add appends the low n bits of v, n at most 32.
func (b *bits) add(v uint64, n uint8) {
	b.rest |= v << b.n
	if b.n += n; b.n >= 32 {
		b.bytes = binary.LittleEndian.AppendUint32(b.bytes, uint32(b.rest))
		b.rest >>= 32
		b.n -= 32
	}
}

func (b *bits) code(c code) { b.add(uint64(c.bits), c.n) }

// append appends o, which must have been built from nothing.
func (b *bits) append(o *bits) {
	for p := o.bytes; len(p) > 0; p = p[4:] {
		b.add(uint64(binary.LittleEndian.Uint32(p)), 32)
	}
	b.add(o.rest, o.n)
}

// flush returns the bytes, the last one filled with zeros.
func (b *bits) flush() []byte {
	for ; b.n > 0; b.n -= min(8, b.n) {
		b.bytes = append(b.bytes, byte(b.rest))
		b.rest >>= 8
	}
	return b.bytes
}
