package wire

import "math/bits"

// The Huffman codes of DEFLATE (RFC 1951), for inflate.go.

const (
	maxCodeBits = 15
	maxMatch    = 258 // bytes
	literals    = 288 // literal/length symbols; the last two mean nothing
	distances   = 32  // distance symbols; the last two mean nothing

	// Index bits of the tables. Longer codes are rare by construction and take the
	// slow path; codes of code lengths are never longer.
	literalBits  = 10
	distanceBits = 8
	lengthBits   = 7
)

// A meaning is what a Huffman symbol stands for: the number of extra bits in the
// low byte, a kind, and in the upper 16 bits a value: a literal, or the base of a
// length or distance. A code adds its own bits to the low byte and has them alone
// in the four bits after it. 0 is no symbol; a symbol without kind must not occur.
type meaning uint32

const (
	kindLiteral meaning = 1 << (12 + iota)
	kindMatch           // a length, a distance; of code lengths: repeat the last
	kindEnd

	codeBit meaning = 1<<8 | 1 // one bit of code
)

func (m meaning) value() int { return int(m >> 16) }

// bits is the number of bits that code and extra bits take together.
func (m meaning) bits() uint { return uint(m) & 63 }

// extra is the number in the extra bits behind the code at the start of b.
func (m meaning) extra(b uint64) int {
	return int(b & (1<<m.bits() - 1) >> (m >> 8 & 15))
}

var (
	literalMeanings  [literals]meaning
	distanceMeanings [distances]meaning
	lengthMeanings   [19]meaning // the value is the length, and 256 times the base of how often

	fixedLiterals, fixedDistances code

	reversed [1 << literalBits]uint16 // the index with its bits in reverse
)

func init() {
	for i := range reversed {
		reversed[i] = bits.Reverse16(uint16(i)) >> (16 - literalBits)
	}
	for s := range 256 {
		literalMeanings[s] = meaning(s)<<16 | kindLiteral
	}
	literalMeanings[256] = kindEnd
	for s, base := 257, 3; s < 285; s++ {
		extra := max(0, (s-261)/4)
		literalMeanings[s] = meaning(base)<<16 | kindMatch | meaning(extra)
		base += 1 << extra
	}
	literalMeanings[285] = maxMatch<<16 | kindMatch
	for s, base := 0, 1; s < 30; s++ {
		extra := max(0, (s-2)/2)
		distanceMeanings[s] = meaning(base)<<16 | kindMatch | meaning(extra)
		base += 1 << extra
	}
	for n := range 16 {
		lengthMeanings[n] = 1<<24 | meaning(n)<<16
	}
	lengthMeanings[16] = 3<<24 | kindMatch | 2
	lengthMeanings[17] = 3<<24 | 3
	lengthMeanings[18] = 11<<24 | 7

	fixedLiterals.reset(literalMeanings[:])
	for i, to := range []int{144, 256, 280, literals} {
		for s := []int{0, 144, 256, 280}[i]; s < to; s++ {
			fixedLiterals.add(s, []int{8, 9, 7, 8}[i])
		}
	}
	fixedLiterals.build(literalBits)
	fixedDistances.reset(distanceMeanings[:])
	for s := range distances {
		fixedDistances.add(s, 5)
	}
	fixedDistances.build(distanceBits)
}

// code is one Huffman code: reset, add for the symbols in order, build.
type code struct {
	meanings []meaning
	count    [maxCodeBits + 1]int              // of symbols, by length
	symbols  [maxCodeBits + 1][literals]uint16 // by length, in order
	table    [1 << literalBits]meaning         // by the next bits of input; 0 for longer codes and for no code
}

func (c *code) reset(meanings []meaning) {
	c.meanings = meanings
	c.count = [maxCodeBits + 1]int{}
}

// add gives the symbol a code of n bits, or none if n is 0.
func (c *code) add(symbol, n int) {
	n &= maxCodeBits
	c.symbols[n][c.count[n]] = uint16(symbol)
	c.count[n]++
}

// build makes the canonical code, with a table of 1<<index entries. It refuses
// what compress/flate refuses: a code must be complete, except for one without
// symbols and one of a single symbol of one bit.
func (c *code) build(index int) bool {
	used := 0 // of the space of codes
	for n := 1; n <= maxCodeBits; n++ {
		used += c.count[n] << (maxCodeBits - n)
	}
	if used != 1<<maxCodeBits && used != 0 && (used != 1<<(maxCodeBits-1) || c.count[1] != 1) {
		return false
	}
	// The table for codes of up to n bits is twice the one for n-1, with the codes of
	// n bits in places that were 0. Codes count up from their last bit, and input has
	// their first bit lowest.
	c.table[0] = 0
	next := 0 // the next code, as if it had literalBits
	for n := 1; n <= index; n++ {
		size := 1 << n
		copy(c.table[size/2:size], c.table[:size/2])
		for _, s := range c.symbols[n][:c.count[n]] {
			c.table[reversed[next&(1<<literalBits-1)]] = c.meanings[s] + meaning(n)*codeBit
			next += 1 << (literalBits - n)
		}
	}
	return true
}

// find is the table's slow path: the symbol whose code b starts with, or 0.
func (c *code) find(b uint64) meaning {
	first, at := 0, 0 // the first code of n bits; the first n bits of b
	for n := 1; n <= maxCodeBits; n++ {
		at |= int(b & 1)
		b >>= 1
		if at-first < c.count[n] {
			return c.meanings[c.symbols[n][at-first]] + meaning(n)*codeBit
		}
		first = (first + c.count[n]) << 1
		at <<= 1
	}
	return 0
}
