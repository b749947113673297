package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/gzip"
)

const (
	// storedMax is the envelope size, in bytes, up to which a gzip frame goes out
	// as one stored block: valid gzip without a compressor.
	storedMax = 1024 // of a push: for each message in it

	storedBlockMax = 1<<16 - 1 // bytes of one stored block

	gzipHeader    = 10  // bytes before the first block, at least
	gzipTrailer   = 8   // bytes behind the last block
	headerTextMax = 512 // bytes of a name or comment in a header, as in compress/gzip
	storedHeader  = 5   // bytes before a stored block's content
	storedRoom    = gzipHeader + storedHeader
	inflateStart  = 4 << 10  // bytes of a new inflater's buffer
	keptBufferMax = 64 << 10 // bytes; larger buffers are not kept in a pool
)

// Flags of a gzip header.
const (
	flagHeaderSum = 1 << (iota + 1)
	flagExtra
	flagName
	flagComment
)

var (
	errHeader   = fmt.Errorf("%w: gzip header", ErrMalformed)
	errDeflate  = fmt.Errorf("%w: deflate stream", ErrMalformed)
	errChecksum = fmt.Errorf("%w: gzip checksum", ErrMalformed)
)

// inflater decodes gzip streams that are whole in memory. Pooled: what it holds
// is room, except during inflate.
type inflater struct {
	src []byte // the stream
	pos int    // of src, next byte for b
	b   uint64 // bits read and not yet taken, first one lowest
	n   int    // number of bits in b

	buf   []byte // output, in its full length
	w     int    // bytes written
	start int    // of buf, where the current member's content starts
	max   int    // bound on w
	end   int    // up to here, buf has room for inflateSlack bytes and max allows more

	lengths, literals, distances code // of the current block
}

var inflaters = sync.Pool{New: func() any { return &inflater{buf: make([]byte, inflateStart)} }}

// inflate returns the content of the gzip stream p, valid until release. It
// accepts what compress/gzip accepts: members one after the other, and nothing
// else behind them. Content beyond max bytes is ErrTooLarge; the buffer for it
// grows to at most twice what was inflated.
func (f *inflater) inflate(p []byte, max int) ([]byte, error) {
	f.src, f.pos, f.b, f.n = p, 0, 0, 0
	f.w, f.max = 0, max
	f.end = min(max, len(f.buf)-inflateSlack)
	for {
		if err := f.member(); err != nil {
			return nil, err
		}
		if f.pos == len(p) {
			return f.buf[:f.w], nil
		}
	}
}

// member decodes one member of the stream at pos, and leaves pos after it.
func (f *inflater) member() error {
	size := headerSize(f.src[f.pos:])
	if size == 0 {
		return errHeader
	}
	f.pos += size
	f.start = f.w
	if err := f.deflated(); err != nil {
		return err
	}
	if f.w > f.max {
		return ErrTooLarge
	}
	trailer, content := f.src[f.pos:], f.buf[f.start:f.w]
	if len(trailer) < gzipTrailer ||
		binary.LittleEndian.Uint32(trailer) != crc32.ChecksumIEEE(content) ||
		binary.LittleEndian.Uint32(trailer[4:]) != uint32(len(content)) {
		return errChecksum
	}
	f.pos += gzipTrailer
	return nil
}

// headerSize returns the bytes of the member header that p starts with, 0 if it
// starts with none. Of its contents only the checksum matters here.
func headerSize(p []byte) int {
	if len(p) < gzipHeader || p[0] != 0x1f || p[1] != 0x8b || p[2] != 8 {
		return 0
	}
	flags, size := p[3], gzipHeader
	if flags&flagExtra != 0 {
		if len(p) < size+2 {
			return 0
		}
		size += 2 + int(binary.LittleEndian.Uint16(p[size:]))
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag == 0 || size > len(p) {
			continue
		}
		text := p[size:min(len(p), size+headerTextMax)]
		end := bytes.IndexByte(text, 0)
		if end < 0 {
			return 0
		}
		size += end + 1
	}
	if flags&flagHeaderSum != 0 {
		if len(p) < size+2 || binary.LittleEndian.Uint16(p[size:]) != uint16(crc32.ChecksumIEEE(p[:size])) {
			return 0
		}
		size += 2
	}
	if size > len(p) {
		return 0
	}
	return size
}

// reserve makes room for n bytes and inflateSlack more, or says ErrTooLarge.
func (f *inflater) reserve(n int) error {
	need := f.w + n
	if need > f.max {
		return ErrTooLarge
	}
	if need > f.end {
		size := max(2*len(f.buf), need+inflateSlack)
		if size-inflateSlack > f.max {
			size = f.max + inflateSlack
		}
		f.buf = append(make([]byte, 0, size), f.buf[:f.w]...)[:size]
		f.end = min(f.max, size-inflateSlack)
	}
	return nil
}

func (f *inflater) release() {
	f.src = nil
	if len(f.buf) > keptBufferMax {
		f.buf = make([]byte, inflateStart)
	}
	inflaters.Put(f)
}

// deflater is a pooled gzip writer with its output.
type deflater struct {
	gz  *gzip.Writer
	out []byte
}

func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

func newDeflaters(level int) sync.Pool {
	return sync.Pool{New: func() any {
		gz, err := gzip.NewWriterLevel(nil, level)
		if err != nil {
			panic(err) // only for a level that does not exist
		}
		return &deflater{gz: gz}
	}}
}

var (
	fastWriters    = newDeflaters(gzip.BestSpeed)
	defaultWriters = newDeflaters(gzip.DefaultCompression)
)

// deflate replaces dst[start:] by the gzip stream of dst[from:].
func deflate(dst []byte, start, from int, pool *sync.Pool) []byte {
	d := pool.Get().(*deflater)
	d.out = d.out[:0]
	d.gz.Reset(d)
	// Neither can fail: Write of deflater does not.
	_, _ = d.gz.Write(dst[from:])
	_ = d.gz.Close()
	dst = append(dst[:start], d.out...)
	if cap(d.out) > keptBufferMax {
		d.out = nil
	}
	pool.Put(d)
	return dst
}

// deflateFrame makes a gzip stream of dst[start:], whose first storedRoom bytes
// are room for a stored stream's header. Up to stored bytes of content become one.
func deflateFrame(dst []byte, start, stored int) []byte {
	if len(dst)-start-storedRoom > min(stored, storedBlockMax) {
		return deflate(dst, start, start+storedRoom, &fastWriters)
	}
	return storeFrame(dst, start)
}

// storeFrame is deflateFrame without a compressor, for up to storedBlockMax bytes.
func storeFrame(dst []byte, start int) []byte {
	content := dst[start+storedRoom:]
	head := append(dst[start:start], 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff) // deflate, no name, no time, unknown system
	head = append(head, 1)                                                  // last block, stored
	head = binary.LittleEndian.AppendUint16(head, uint16(len(content)))
	binary.LittleEndian.AppendUint16(head, ^uint16(len(content)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(content))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(content)))
}
