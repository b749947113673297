package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"
)

func gzipped(t testing.TB, level int, content []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func inflateOnce(p []byte, max int) ([]byte, error) {
	f := inflaters.Get().(*inflater)
	defer f.release()
	b, err := f.inflate(p, max)
	return bytes.Clone(b), err
}

// inflateCases are streams that a reader may take differently.
func inflateCases(t testing.TB) [][]byte {
	t.Helper()
	hello, zeros := gzipped(t, 6, []byte("hello")), gzipped(t, 9, make([]byte, 200_000))
	var named bytes.Buffer
	w := gzip.NewWriter(&named)
	w.Name, w.Comment, w.Extra = "name", "comment", make([]byte, 60_000)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return [][]byte{
		nil, hello, gzipped(t, 0, []byte("stored")), gzipped(t, 1, nil), zeros, named.Bytes(),
		append(bytes.Clone(hello), hello...),
		append(bytes.Clone(hello), "garbage that is longer than a header"...),
		append(bytes.Clone(hello), 0),
		append(bytes.Clone(hello), 0x1f, 0x8b),
		append(bytes.Clone(hello), "\x1f\x8b\b\x08000000name without end"...),
		bytes.Repeat(gzipped(t, 6, nil), 1000),
		hello[:len(hello)-1], hello[:5], append(bytes.Clone(hello[:len(hello)-8]), make([]byte, 8)...),
		zeros[:len(zeros)-20],
	}
}

// bitWriter writes a DEFLATE stream by hand.
type bitWriter struct {
	out []byte
	n   int // bits written
}

// put appends the lowest n bits of v, lowest first.
func (w *bitWriter) put(v, n int) {
	for i := range n {
		if w.n%8 == 0 {
			w.out = append(w.out, 0)
		}
		w.out[len(w.out)-1] |= byte(v>>i&1) << (w.n % 8)
		w.n++
	}
}

// member is a gzip member of the DEFLATE stream so far, whose content is known.
func (w *bitWriter) member(content []byte) []byte {
	p := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, w.out...)
	p = binary.LittleEndian.AppendUint32(p, crc32.ChecksumIEEE(content))
	return binary.LittleEndian.AppendUint32(p, uint32(len(content)))
}

// dynamicBlock starts a last block with the given lengths of codes. Each length
// goes out as itself, in a code of code lengths that gives all of them 4 bits.
func dynamicBlock(literals, distances []int) *bitWriter {
	w := &bitWriter{}
	w.put(1|2<<1, 3)
	w.put(len(literals)-257, 5)
	w.put(len(distances)-1, 5)
	w.put(15, 4)
	for i := range 19 {
		w.put([]int{0, 4}[min(1, i/3)], 3) // the order starts with the three repetitions
	}
	for _, n := range append(literals, distances...) {
		w.put(int(bits.Reverse8(uint8(n))>>4), 4)
	}
	return w
}

// codeCases are dynamic blocks with codes at the edges of what is one.
func codeCases() [][]byte {
	literals := func(lengths map[int]int, n int) []int {
		all := make([]int, n)
		for s, length := range lengths {
			all[s] = length
		}
		return all
	}
	long := map[int]int{256: 15, 'o': 15} // codes of 1 to 15 bits, beyond every table
	for i := range 14 {
		long['a'+i] = i + 1
	}
	var cases [][]byte
	for _, c := range []struct {
		literals  []int
		distances []int
		code      []int // bits of symbols, n bits each
		bits      []int
		content   string
	}{
		{literals(map[int]int{256: 1}, 257), []int{0}, []int{0}, []int{1}, ""},
		{literals(map[int]int{256: 1}, 257), []int{0}, []int{1}, []int{1}, ""},         // not the one symbol
		{literals(map[int]int{256: 2}, 257), []int{0}, []int{0}, []int{2}, ""},         // incomplete
		{literals(map[int]int{'a': 1}, 257), []int{0}, []int{0, 0}, []int{1, 1}, "aa"}, // no end
		{literals(nil, 257), []int{0}, []int{0}, []int{1}, ""},
		{literals(map[int]int{'a': 1, 256: 1}, 257), []int{0}, []int{0, 1}, []int{1, 1}, "a"},
		{literals(map[int]int{'a': 1, 'b': 1, 256: 1}, 257), []int{0}, []int{0, 1}, []int{1, 1}, "a"}, // over-subscribed
		{literals(map[int]int{'a': 1, 256: 3}, 257), []int{0}, []int{0}, []int{1}, "a"},
		{literals(map[int]int{'a': 1, 256: 2, 257: 2}, 258), []int{1}, []int{0, 3, 0, 1}, []int{1, 2, 1, 2}, "aaaa"},
		{literals(map[int]int{'a': 1, 256: 2, 257: 2}, 258), []int{1}, []int{0, 3, 1, 1}, []int{1, 2, 1, 2}, "aaaa"},       // no such distance
		{literals(map[int]int{'a': 1, 256: 2, 257: 2}, 258), []int{0}, []int{0, 3, 0, 1}, []int{1, 2, 1, 2}, "aaaa"},       // no distances
		{literals(map[int]int{'a': 1, 256: 2, 257: 2}, 258), []int{0, 1}, []int{0, 3, 0, 1}, []int{1, 2, 1, 2}, "aaaa"},    // 2 bytes back of 1
		{literals(map[int]int{'a': 1, 256: 2, 257: 2}, 258), []int{2, 2}, []int{0, 3, 0, 1}, []int{1, 2, 2, 2}, "aaaa"},    // incomplete distances
		{literals(map[int]int{'a': 1, 256: 2, 257: 2}, 258), []int{1, 1, 1}, []int{0, 3, 0, 1}, []int{1, 2, 1, 2}, "aaaa"}, // over-subscribed
		{literals(map[int]int{'a': 1, 256: 2, 284: 2}, 285), []int{1, 1}, []int{0, 3, 31, 0, 1}, []int{1, 2, 5, 1, 2}, strings.Repeat("a", 259)},
		{literals(map[int]int{256: 1}, 287), []int{0}, []int{0}, []int{1}, ""},
		{literals(map[int]int{256: 1}, 257), make([]int, 31), []int{0}, []int{1}, ""},
		{literals(long, 257), []int{0}, []int{1<<13 - 1, 1<<14 - 1, 0, 1<<15 - 1}, []int{14, 15, 1, 15}, "noa"},
		{literals(long, 257), []int{0}, []int{1<<11 - 1, 1<<15 - 1}, []int{12, 15}, "l"},
	} {
		w := dynamicBlock(c.literals, c.distances)
		for i := range c.code {
			w.put(c.code[i], c.bits[i])
		}
		cases = append(cases, w.member([]byte(c.content)))
	}
	// Fixed codes: the lengths 286 and 287 and the distances 30 and 31 mean nothing.
	for _, code := range []int{0b11000110, 0b11000111} {
		w := &bitWriter{}
		w.put(1|1<<1, 3)
		w.put(int(bits.Reverse8(uint8(code))), 8)
		w.put(0, 20)
		cases = append(cases, w.member(nil))
	}
	for distance := range 32 {
		w := &bitWriter{}
		w.put(1|1<<1, 3)
		w.put(int(bits.Reverse8(0x30+'a')), 8)
		w.put(1<<6, 7) // length 3
		w.put(int(bits.Reverse8(uint8(distance))>>3), 5)
		w.put(0, 7)
		cases = append(cases, w.member([]byte("aaaa")))
	}
	for repeat := range 3 { // code lengths that repeat: none before, too many
		w := &bitWriter{}
		w.put(1|2<<1, 3)
		w.put(0, 14-4)
		w.put(0, 4)
		for i := range 4 {
			w.put([]int{1, 0, 1, 0}[(i+repeat)%4], 3)
		}
		w.put(0x5555_5555, 31)
		w.put(-1, 60)
		cases = append(cases, w.member(nil))
	}
	return cases
}

// headerCases are member headers at the edges of what is one.
func headerCases(t testing.TB) [][]byte {
	rest := gzipped(t, 6, []byte("hello"))[gzipHeader:]
	var cases [][]byte
	for flags := range 256 {
		for _, fields := range []string{"", "\x03\x00abcname\x00comment\x00", "name\x00comment\x00", "name\x00", "\x03\x00abc",
			strings.Repeat("n", 511) + "\x00", strings.Repeat("n", 512) + "\x00", "\xff\xffabc"} {
			header := append([]byte{0x1f, 0x8b, 8, byte(flags), 1, 2, 3, 4, 5, 6}, fields...)
			cases = append(cases, append(bytes.Clone(header), rest...))
			sum := binary.LittleEndian.AppendUint16(bytes.Clone(header), uint16(crc32.ChecksumIEEE(header)))
			cases = append(cases, append(sum, rest...))
		}
	}
	return cases
}

// checkInflate compares with the standard library's reader, as the SDK and the
// official server use it.
func checkInflate(t testing.TB, p []byte, max int) {
	t.Helper()
	got, gotErr := inflateOnce(p, max)
	if len(got) > max {
		t.Fatalf("%d bytes beyond the bound %d", len(got), max)
	}
	var want []byte
	r, wantErr := gzip.NewReader(bytes.NewReader(p))
	if wantErr == nil {
		want, wantErr = io.ReadAll(io.LimitReader(r, int64(max)+1))
	}
	switch {
	case wantErr != nil:
		if gotErr == nil {
			t.Fatalf("accepted; the standard library: %v", wantErr)
		}
	case len(want) > max:
		if !errors.Is(gotErr, ErrTooLarge) && !errors.Is(gotErr, ErrMalformed) {
			t.Fatalf("%d bytes and more within %d: %v", len(want), max, gotErr)
		}
	case gotErr != nil || !bytes.Equal(got, want):
		t.Fatalf("%d bytes, %v; the standard library: %d bytes", len(got), gotErr, len(want))
	}
}

func TestInflateIsTheStandardLibrarys(t *testing.T) {
	for _, p := range inflateCases(t) {
		for _, max := range []int{0, 4, 5, 9, 10, 1000, 199_999, 200_000, 1 << 20} {
			checkInflate(t, p, max)
		}
	}
	if _, err := inflateOnce(gzipped(t, 9, make([]byte, 1<<20)), 1<<20-1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte above the bound: %v", err)
	}
}

func TestInflateRefusesTheSameCodes(t *testing.T) {
	for _, p := range append(codeCases(), headerCases(t)...) {
		checkInflate(t, p, 1000)
		checkInflate(t, p, 2)
	}
	accepted := 0
	for _, p := range codeCases() {
		if _, err := inflateOnce(p, 1000); err == nil {
			accepted++
		} else if !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	}
	if accepted != 7 {
		t.Errorf("%d cases are streams", accepted)
	}
}

// TestInflateOfDamagedFrames cuts frames at every byte and flips every bit.
func TestInflateOfDamagedFrames(t *testing.T) {
	names, frames := sdkFrames(t, 1)
	for _, name := range names[:len(names)-1] {
		p := frames[name][0]
		for i := range p {
			checkInflate(t, p[:i], 2000)
			for bit := range 8 {
				damaged := bytes.Clone(p)
				damaged[i] ^= 1 << bit
				checkInflate(t, damaged, 2000)
			}
		}
	}
}

// TestInflateAllSizes: matches of all distances and lengths, every bound, and
// members after members.
func TestInflateAllSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var content []byte
	for len(content) < 200_000 {
		if n := len(content); n > 0 && r.IntN(3) > 0 {
			distance := 1 + r.IntN(min(n, 1<<r.IntN(16)))
			for range 3 + r.IntN(300) {
				content = append(content, content[len(content)-distance])
			}
			continue
		}
		for range r.IntN(200) {
			content = append(content, byte(r.IntN(1+r.IntN(256))))
		}
	}
	for level := -2; level <= 9; level++ {
		for size := 1; size < len(content); size = size*5/4 + 1 {
			p := gzipped(t, level, content[:size])
			for _, max := range []int{size, size - 1, size + 1, size / 2} {
				checkInflate(t, p, max)
			}
			checkInflate(t, append(bytes.Clone(p), p...), 2*size)
		}
	}
}

func FuzzInflate(f *testing.F) {
	for _, p := range inflateCases(f) {
		f.Add(p, uint16(1000))
	}
	for _, p := range codeCases() {
		f.Add(p, uint16(1000))
	}
	_, frames := sdkFrames(f, 1)
	for _, p := range []string{"text, options", "text, JSON envelope", "picture"} {
		f.Add(frames[p][0], uint16(5000))
	}
	f.Fuzz(func(t *testing.T, p []byte, max uint16) { checkInflate(t, p, int(max)) })
}
