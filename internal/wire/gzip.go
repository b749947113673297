package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
)

const (
	// storedMax is the envelope size, in bytes, up to which a gzip frame goes out
	// as one stored block: valid gzip without a compressor.
	storedMax = 1024

	gzipHeader    = 10 // bytes before the first block
	storedHeader  = 5  // bytes before a stored block's content
	storedRoom    = gzipHeader + storedHeader
	inflateStart  = 4 << 10  // bytes of a new inflater's buffer
	keptBufferMax = 64 << 10 // bytes; larger buffers are not kept in a pool
)

// inflater is a pooled gzip reader with its output.
type inflater struct {
	gz  gzip.Reader
	src bytes.Reader
	buf []byte
}

var inflaters = sync.Pool{New: func() any { return &inflater{buf: make([]byte, 0, inflateStart)} }}

// inflate returns the content of the gzip stream p, valid until release. Like
// the standard library's reader it accepts concatenated streams and refuses other
// bytes after the end. Content beyond max bytes is ErrTooLarge; the buffer for it
// never exceeds twice what was inflated.
func (f *inflater) inflate(p []byte, max int) ([]byte, error) {
	f.src.Reset(p)
	buf := f.buf[:0]
	for {
		// One stream at a time: the reader's own multistream mode takes a next
		// header that is cut short for the end.
		if err := f.gz.Reset(&f.src); err != nil {
			return nil, fmt.Errorf("%w: gzip header: %v", ErrMalformed, err)
		}
		f.gz.Multistream(false)
		var err error
		for err == nil {
			if len(buf) == cap(buf) {
				buf = slices.Grow(buf, min(len(buf), max+1-len(buf)))
				f.buf = buf
			}
			var n int
			n, err = f.gz.Read(buf[len(buf):min(cap(buf), max+1)])
			if buf = buf[:len(buf)+n]; len(buf) > max {
				return nil, ErrTooLarge
			}
		}
		if err != io.EOF {
			return nil, fmt.Errorf("%w: gzip: %v", ErrMalformed, err)
		}
		if f.src.Len() == 0 {
			return buf, nil
		}
	}
}

func (f *inflater) release() {
	f.src.Reset(nil)
	if cap(f.buf) > keptBufferMax {
		f.buf = make([]byte, 0, inflateStart)
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
// are room for a stored stream's header.
func deflateFrame(dst []byte, start int) []byte {
	if len(dst)-start-storedRoom > storedMax {
		return deflate(dst, start, start+storedRoom, &fastWriters)
	}
	return storeFrame(dst, start)
}

// storeFrame is deflateFrame without a compressor, for up to 65535 bytes.
func storeFrame(dst []byte, start int) []byte {
	content := dst[start+storedRoom:]
	head := append(dst[start:start], 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff) // deflate, no name, no time, unknown system
	head = append(head, 1)                                                  // last block, stored
	head = binary.LittleEndian.AppendUint16(head, uint16(len(content)))
	binary.LittleEndian.AppendUint16(head, ^uint16(len(content)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(content))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(content)))
}
