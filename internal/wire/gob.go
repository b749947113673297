package wire

import (
	"bytes"
	"fmt"
	"math/bits"
)

// Type ids that encoding/gob predefines.
const (
	gobBool    = 1
	gobInt     = 2
	gobUint    = 3
	gobFloat   = 4
	gobBytes   = 5
	gobString  = 6
	gobComplex = 7
)

const (
	gobFirstID = 64 // what encoding/gob gives to the first type a process uses; ids below are predefined
	gobEnd     = 0  // ends a struct's fields

	// Bounds on foreign descriptions; the official one has one type of six fields.
	gobTypesMax  = 8
	gobFieldsMax = 32
)

// shape is an envelope's struct as gob describes it in each frame.
type shape struct {
	fields [envelopeFields]field
	// desc is the message that encoding/gob sends before the value, for gobFirstID.
	desc []byte
	// later is the same for a type of id 65 … 127. The id stands in it twice:
	// negated at negAt, and at idAt.
	later       []byte
	negAt, idAt int
	layout      gobLayout // of both: every field in its own place
}

// gobLayout says what the fields of a described struct are.
type gobLayout struct {
	n      int
	kind   [gobFieldsMax]int64
	target [gobFieldsMax]int8 // index into values, or -1 for an unknown field
}

func newShape(name string, fields [envelopeFields]field) *shape {
	s := &shape{fields: fields, layout: gobLayout{n: envelopeFields}}
	for i, f := range fields {
		s.layout.kind[i], s.layout.target[i] = int64(f.kind), int8(i)
	}
	s.desc, _, _ = s.describe(name, gobFirstID)
	s.later, s.negAt, s.idAt = s.describe(name, gobFirstID+1)
	return s
}

// describe makes the type definition message; negAt and idAt are where the last
// bytes of -id and id are.
func (s *shape) describe(name string, id int64) (desc []byte, negAt, idAt int) {
	body := appendGobInt(nil, -id)
	negAt = len(body) - 1
	body = append(body, 3, 1, 1) // wireType.StructT, structType.CommonType, its Name
	body = appendGobText(body, name)
	body = appendGobInt(append(body, 1), id)
	idAt = len(body) - 1
	body = append(body, 0, 1, envelopeFields) // end of CommonType, structType.Field, its length
	for _, f := range s.fields {
		body = appendGobText(append(body, 1), f.name)
		body = append(appendGobInt(append(body, 1), int64(f.kind)), 0)
	}
	body = append(body, 0, 0) // end of structType, of wireType
	desc = appendGobUint(nil, uint64(len(body)))
	return append(desc, body...), len(desc) + negAt, len(desc) + idAt
}

// decodeGob decodes the one value in p. It allocates nothing but errors: out
// aliases p. It accepts what encoding/gob accepts into the SDK's struct, except
// bytes after the value, values of composite fields the struct does not have,
// and descriptions beyond gobTypesMax and gobFieldsMax.
func (s *shape) decodeGob(p []byte, out *values) error {
	r := gobReader{b: p}
	layout := &s.layout
	var foreign gobLayout
	var body gobReader
	if id, n := s.recognise(p); n > 0 {
		r.b = p[n:]
		body = r.message()
		if body.int() != id {
			return fmt.Errorf("%w: gob value of another type", ErrMalformed)
		}
	} else {
		layout = &foreign
		var err error
		if body, err = s.readDescription(&r, layout); err != nil {
			return err
		}
	}
	if err := body.readFields(layout, out); err != nil {
		return err
	}
	if r.bad || len(r.b) != 0 {
		return fmt.Errorf("%w: gob bytes after the value", ErrMalformed)
	}
	return nil
}

// recognise returns the length of p's type description if it is the constant one,
// under any of the ids that it gets in a process which uses gob for little else.
func (s *shape) recognise(p []byte) (id int64, n int) {
	if bytes.HasPrefix(p, s.desc) {
		return gobFirstID, len(s.desc)
	}
	d := s.later
	if len(p) < len(d) {
		return 0, 0
	}
	twice := p[s.idAt] // gob writes id as 2*id and -id as 2*id-1
	if twice <= 2*gobFirstID || twice&1 != 0 || p[s.negAt] != twice-1 ||
		!bytes.Equal(p[:s.negAt], d[:s.negAt]) ||
		!bytes.Equal(p[s.negAt+1:s.idAt], d[s.negAt+1:s.idAt]) ||
		!bytes.Equal(p[s.idAt+1:len(d)], d[s.idAt+1:]) {
		return 0, 0
	}
	return int64(twice / 2), len(d)
}

// readDescription reads type definitions up to the value's message, which it
// returns positioned at the fields. Only the value's own type is looked into.
func (s *shape) readDescription(r *gobReader, layout *gobLayout) (gobReader, error) {
	var defs [gobTypesMax]struct {
		id  int64
		def gobReader
	}
	for n := 0; ; n++ {
		m := r.message()
		id := m.int()
		if r.bad || m.bad {
			return m, fmt.Errorf("%w: gob message cut short", ErrMalformed)
		}
		if id >= 0 {
			for _, d := range defs[:n] {
				if d.id == id {
					return m, s.readStruct(d.def, layout)
				}
			}
			return m, fmt.Errorf("%w: gob value of undescribed type %d", ErrMalformed, id)
		}
		if id > -gobFirstID {
			return m, fmt.Errorf("%w: gob redefines type %d", ErrMalformed, -id)
		}
		if n == len(defs) {
			return m, fmt.Errorf("%w: more than %d gob types", ErrMalformed, gobTypesMax)
		}
		for _, d := range defs[:n] {
			if d.id == -id {
				return m, fmt.Errorf("%w: gob type %d twice", ErrMalformed, -id)
			}
		}
		defs[n].id, defs[n].def = -id, m
	}
}

// readStruct reads a wireType that holds a structType into layout and matches
// its fields to s by name.
func (s *shape) readStruct(r gobReader, layout *gobLayout) error {
	if r.uint() != 3 {
		return fmt.Errorf("%w: gob value is not a struct", ErrMalformed)
	}
	delta := r.uint()
	if delta == 1 { // CommonType: the name and id mean nothing to us
		r.nameAndID()
		delta = r.uint()
	} else if delta == 2 {
		delta = 1
	}
	matched := 0
	if delta == 1 { // Field
		count := r.uint()
		if count > gobFieldsMax {
			return fmt.Errorf("%w: gob struct of %d fields", ErrMalformed, count)
		}
		layout.n = int(count)
		for i := range layout.n {
			name, kind := r.nameAndID()
			layout.kind[i], layout.target[i] = kind, -1
			for j := range s.fields {
				if string(name) != s.fields[j].name {
					continue
				}
				if kind != int64(s.fields[j].kind) {
					return fmt.Errorf("%w: gob field %s has type %d", ErrMalformed, name, kind)
				}
				layout.target[i] = int8(j)
				matched++
			}
		}
		delta = r.uint()
	}
	if end := r.uint(); r.bad || delta != 0 || end != 0 || len(r.b) != 0 {
		return fmt.Errorf("%w: gob type description", ErrMalformed)
	}
	if matched == 0 && layout.n > 0 {
		return fmt.Errorf("%w: gob struct without a field of the envelope", ErrMalformed)
	}
	return nil
}

// gobReader consumes gob bytes. After the first fault bad is set and everything
// reads as zero; callers check it once at the end.
type gobReader struct {
	b   []byte
	bad bool
}

func (r *gobReader) readFields(layout *gobLayout, out *values) error {
	at := -1
	for {
		delta := r.uint()
		if r.bad || delta > uint64(layout.n-1-at) {
			return fmt.Errorf("%w: gob fields", ErrMalformed)
		}
		if delta == gobEnd {
			break
		}
		at += int(delta)
		var v value
		switch layout.kind[at] {
		case gobInt:
			v.n = r.int()
		case gobString, gobBytes:
			v.b = r.take(r.uint())
		case gobBool, gobUint, gobFloat:
			r.uint()
		case gobComplex:
			r.uint()
			r.uint()
		default:
			return fmt.Errorf("%w: unknown gob field of composite type %d", ErrMalformed, layout.kind[at])
		}
		if t := layout.target[at]; t >= 0 {
			out[t] = v
		}
	}
	if len(r.b) != 0 {
		return fmt.Errorf("%w: gob bytes after the fields", ErrMalformed)
	}
	return nil
}

func (r *gobReader) fail() {
	r.b, r.bad = nil, true
}

// take cuts the next n bytes off.
func (r *gobReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// message cuts off the next length-prefixed message.
func (r *gobReader) message() gobReader {
	return gobReader{b: r.take(r.uint())}
}

// uint reads one byte below 128, or a negated count and that many big-endian bytes.
func (r *gobReader) uint() uint64 {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	if c < 128 {
		return uint64(c)
	}
	n := -int(int8(c))
	if n > 8 || n > len(r.b) {
		r.fail()
		return 0
	}
	var x uint64
	for _, c := range r.b[:n] {
		x = x<<8 | uint64(c)
	}
	r.b = r.b[n:]
	return x
}

// int reads a signed integer: the low bit says whether the others are complemented.
func (r *gobReader) int() int64 {
	u := r.uint()
	if u&1 != 0 {
		return ^int64(u >> 1)
	}
	return int64(u >> 1)
}

// nameAndID reads a struct {Name string; Id int}: gob's CommonType and fieldType.
func (r *gobReader) nameAndID() (name []byte, id int64) {
	delta := r.uint()
	if delta == 1 {
		name = r.take(r.uint())
		if delta = r.uint(); delta == 1 {
			delta = 2
		}
	}
	if delta == 2 {
		id = r.int()
		delta = r.uint()
	}
	if delta != 0 {
		r.fail()
	}
	return name, id
}

// appendGob appends description and value up to the bytes of Data, of which
// there will be dataLen; the caller appends them and gobEnd.
func (s *shape) appendGob(dst []byte, f *values, dataLen int) []byte {
	size := 3 + 1 // type id, gobEnd
	delta := 1
	for i := range s.fields {
		size += s.sizeGobField(i, f, dataLen)
	}
	dst = append(dst, s.desc...)
	dst = appendGobInt(appendGobUint(dst, uint64(size-1)), gobFirstID)
	for i := range s.fields {
		if s.sizeGobField(i, f, dataLen) == 0 { // zero fields are left out
			delta++
			continue
		}
		dst = append(dst, byte(delta))
		delta = 1
		switch {
		case i == dataField:
			dst = appendGobUint(dst, uint64(dataLen))
		case s.fields[i].kind == gobInt:
			dst = appendGobInt(dst, f[i].n)
		default:
			dst = appendGobUint(dst, uint64(len(f[i].b)))
			dst = append(dst, f[i].b...)
		}
	}
	return dst
}

// sizeGobField is the number of bytes of field i and its delta; 0 if it is left out.
func (s *shape) sizeGobField(i int, f *values, dataLen int) int {
	n := len(f[i].b)
	switch {
	case i == dataField:
		n = dataLen
	case s.fields[i].kind == gobInt:
		if f[i].n == 0 {
			return 0
		}
		return 1 + sizeGobUint(gobIntBits(f[i].n))
	}
	if n == 0 {
		return 0
	}
	return 1 + sizeGobUint(uint64(n)) + n
}

func gobIntBits(x int64) uint64 {
	if x < 0 {
		return uint64(^x)<<1 | 1
	}
	return uint64(x) << 1
}

func sizeGobUint(x uint64) int {
	if x < 128 {
		return 1
	}
	return 1 + (bits.Len64(x)+7)/8
}

func appendGobUint(dst []byte, x uint64) []byte {
	if x < 128 {
		return append(dst, byte(x))
	}
	n := (bits.Len64(x) + 7) / 8
	dst = append(dst, byte(-n))
	for n--; n >= 0; n-- {
		dst = append(dst, byte(x>>(8*n)))
	}
	return dst
}

func appendGobInt(dst []byte, x int64) []byte { return appendGobUint(dst, gobIntBits(x)) }

func appendGobText(dst []byte, s string) []byte {
	return append(appendGobUint(dst, uint64(len(s))), s...)
}
