package wire

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func gobBytesOf(t testing.TB, v any) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(v); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestDescriptionIsEncodingGobs compares the description byte for byte with what
// encoding/gob makes in this process, whose type ids depend on the tests' order.
func TestDescriptionIsEncodingGobs(t *testing.T) {
	for s, v := range map[*shape]any{requestShape: GeneralWsReq{}, responseShape: GeneralWsResp{}} {
		frame := gobBytesOf(t, v)
		r := gobReader{b: frame}
		def := r.message()
		id := -def.int()
		typ := strings.TrimPrefix(strings.TrimPrefix(typeName(v), "*"), "wire.")
		desc, _, _ := s.describe(typ, id)
		if !bytes.HasPrefix(frame, desc) {
			t.Errorf("%s:\n%x\nencoding/gob makes\n%x", typ, desc, frame)
		}
		first, _, _ := s.describe(typ, gobFirstID)
		if !bytes.Equal(first, s.desc) {
			t.Errorf("%s: the constant description is of another name", typ)
		}
	}
}

func typeName(v any) string {
	if _, ok := v.(GeneralWsReq); ok {
		return "GeneralWsReq"
	}
	return "GeneralWsResp"
}

func TestRecognisesEveryShortID(t *testing.T) {
	for id := int64(gobFirstID); id < 200; id++ {
		desc, _, _ := requestShape.describe("GeneralWsReq", id)
		value := append(appendGobInt(nil, id), 1, 2, 0)
		frame := append(append(desc, byte(len(value))), value...)
		got, n := requestShape.recognise(frame)
		if known := id < 128; known != (n == len(desc)) || known && got != id {
			t.Errorf("id %d: recognised %d bytes as id %d", id, n, got)
		}
		if r, err := DecodeRequest(frame, 0, testMax); err != nil || r.ReqIdentifier != 1 {
			t.Errorf("id %d: %v, %v", id, r.ReqIdentifier, err)
		}
		wrong := bytes.Clone(frame)
		wrong[len(desc)+2]++
		if _, err := DecodeRequest(wrong, 0, testMax); err == nil {
			t.Errorf("id %d: value of another type accepted", id)
		}
		if id > gobFirstID && id < 128 {
			wrong = bytes.Clone(frame)
			wrong[requestShape.negAt] -= 2
			if _, err := DecodeRequest(wrong, 0, testMax); err == nil {
				t.Errorf("id %d: description of another type accepted", id)
			}
		}
	}
}

type named string

// decoys are structs that encoding/gob takes for the SDK's.
func decoys() map[string]any {
	id := int16(1003)
	pid, sendID, data := &id, "alice", []byte("data")
	type Req struct {
		ReqIdentifier int32
		Token         string
		SendID        string
		OperationID   string
		MsgIncr       string
		Data          []byte
	}
	return map[string]any{
		"server's own type": Req{1003, "", "alice", "", "", data},
		"pointer to it":     &Req{1003, "", "alice", "", "", data},
		"permuted": struct {
			Data                                []byte
			MsgIncr, SendID, OperationID, Token string
			ReqIdentifier                       int64
		}{data, "", "alice", "", "", 1003},
		"fewer fields": struct {
			SendID        string
			ReqIdentifier int8
			Data          []byte
		}{"alice", 103, data},
		"pointers": struct {
			ReqIdentifier *int16
			SendID        *string
			Data          *[]byte
		}{pid, &sendID, &data},
		"named types": struct {
			ReqIdentifier int
			SendID        named
			Data          []byte
		}{1003, "alice", data},
		"extra basic fields": struct {
			A             bool
			B             uint64
			ReqIdentifier int
			C             float64
			D             complex128
			SendID        string
			E             []byte
			F             string
			Data          []byte
			G             int8
		}{true, 1 << 63, 1003, 3.25, 2 + 1i, "alice", []byte("e"), "f", data, -7},
		"extra composite fields, empty": struct {
			ReqIdentifier int
			L             []string
			SendID        string
			M             map[string]int
			Data          []byte
		}{ReqIdentifier: 1003, SendID: "alice", Data: data},
		"another name for a field": struct {
			ReqIdentifier int
			SendId        string
		}{1003, "lost"},
	}
}

func TestDecoys(t *testing.T) {
	for name, v := range decoys() {
		frame := gobBytesOf(t, v)
		var want GeneralWsReq
		if err := gob.NewDecoder(bytes.NewReader(frame)).Decode(&want); err != nil {
			t.Fatal(name, err)
		}
		got, err := DecodeRequest(frame, 0, testMax)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		equalJSON(t, got.sdk(), want)
	}
}

// TestRandomStructs encodes structs with the envelope's fields in random order,
// company, width and sometimes wrong kind. DecodeRequest and encoding/gob must
// agree on which are envelopes and on what they hold.
func TestRandomStructs(t *testing.T) {
	ints := []any{int(0), int8(0), int16(0), int32(0), int64(0)}
	basic := append([]any{false, uint(0), uint8(0), uint64(0), float32(0), float64(0), complex64(0), "", []byte{}, new(int), new(string)}, ints...)
	accepted := 0
	for range 400 {
		var fields []reflect.StructField
		add := func(name string, of []any) {
			fields = append(fields, reflect.StructField{Name: name, Type: reflect.TypeOf(of[random.IntN(len(of))])})
		}
		for _, f := range requestShape.fields {
			switch {
			case random.IntN(5) == 0: // absent
			case random.IntN(40) == 0:
				add(f.name, basic)
			case f.kind == gobInt:
				add(f.name, ints)
			case f.kind == gobString:
				add(f.name, []any{"", named("")})
			default:
				add(f.name, []any{[]byte{}})
			}
		}
		for i := range random.IntN(4) {
			add(fmt.Sprint("Extra", i), basic)
		}
		random.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
		v := reflect.New(reflect.StructOf(fields)).Elem()
		for i := range v.NumField() {
			if random.IntN(4) > 0 {
				setRandom(v.Field(i))
			}
		}
		frame := gobBytesOf(t, v.Interface())
		var want GeneralWsReq
		wantErr := gob.NewDecoder(bytes.NewReader(frame)).Decode(&want)
		got, gotErr := DecodeRequest(frame, 0, testMax)
		if (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("%v: %v; encoding/gob: %v", v.Type(), gotErr, wantErr)
		}
		if gotErr == nil {
			accepted++
			equalFields(t, got.sdk(), want)
		}
	}
	if accepted < 100 {
		t.Errorf("only %d of the structs were envelopes", accepted)
	}
}

func setRandom(v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setRandom(v.Elem())
	case v.CanInt():
		v.SetInt(int64(random.IntN(256) - 128))
	case v.CanUint():
		v.SetUint(random.Uint64() >> random.IntN(64))
	case v.CanFloat():
		v.SetFloat(random.Float64() * 1e10)
	case v.CanComplex():
		v.SetComplex(complex(random.Float64(), random.Float64()))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.String:
		v.SetString(string(randomText()))
	default:
		v.SetBytes(randomText())
	}
}

func TestRefusals(t *testing.T) {
	full := gobBytesOf(t, GeneralWsReq{1003, "t", "alice", "o", "m", []byte("data")})
	cases := map[string][]byte{
		"empty":                 nil,
		"two values":            append(bytes.Clone(full), full[len(requestShape.desc):]...),
		"wrong kind of a field": gobBytesOf(t, struct{ ReqIdentifier string }{"1003"}),
		"unsigned identifier":   gobBytesOf(t, struct{ ReqIdentifier uint }{1003}),
		"no common field":       gobBytesOf(t, struct{ Other int }{1}),
		"not a struct":          gobBytesOf(t, "text"),
		"a list":                gobBytesOf(t, []string{"text"}),
		"composite field with a value": gobBytesOf(t, struct {
			L             []string
			ReqIdentifier int
		}{[]string{"x"}, 1003}),
		"hostile lengths": {0x05, 0xf8, 0x7f, 0xff, 0xff, 0xff},
		"huge message":    {0xfc, 0x3f, 0xff, 0xff, 0xff, 0xff, 0x81},
	}
	for name, frame := range cases {
		if _, err := DecodeRequest(frame, 0, testMax); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range full {
		if _, err := DecodeRequest(full[:n], 0, testMax); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

// hostileFrames are built to make a decoder allocate what they promise.
func hostileFrames(t testing.TB) [][]byte {
	t.Helper()
	var frames [][]byte
	describe := func(body []byte) {
		body = append(appendGobInt(nil, -gobFirstID), body...)
		frames = append(frames, append(appendGobUint(nil, uint64(len(body))), body...))
	}
	huge := appendGobUint(nil, 1<<40)
	describe(append([]byte{3, 2}, huge...))                                       // that many fields
	describe(append([]byte{3, 1, 1}, huge...))                                    // a name that long
	describe(append([]byte{3, 2, 3}, bytes.Repeat([]byte{0}, 900<<10)...))        // few fields, long rest
	describe(append(append([]byte{3, 2}, 0xfd, 9, 0, 0), make([]byte, 1<<19)...)) // half a million empty fields
	value := append(appendGobInt(nil, gobFirstID), append([]byte{6}, huge...)...)
	frames = append(frames, append(append(bytes.Clone(requestShape.desc), byte(len(value))), value...))
	var many []byte // type definitions without end
	for id := int64(gobFirstID); len(many) < 900<<10; id++ {
		def, _, _ := requestShape.describe("T", id)
		many = append(many, def...)
	}
	return append(frames, many)
}

func FuzzDecodeRequestGob(f *testing.F) {
	for _, v := range decoys() {
		f.Add(gobBytesOf(f, v))
	}
	for _, frame := range hostileFrames(f) {
		f.Add(frame[:min(len(frame), 4096)])
	}
	f.Add(gobBytesOf(f, GeneralWsReq{1003, "t", "alice", "o", "m", []byte("data")}))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 4096 { // encoding/gob's own allocations
			return
		}
		got, err := DecodeRequest(p, 0, testMax)
		if err != nil {
			return
		}
		if n := len(got.Token) + len(got.SendID) + len(got.OperationID) + len(got.MsgIncr) + len(got.Data); n > len(p) {
			t.Fatalf("%d bytes out of %d", n, len(p))
		}
		var want GeneralWsReq
		if err := gob.NewDecoder(bytes.NewReader(p)).Decode(&want); err == nil {
			equalFields(t, got.sdk(), want)
		}
		again, _ := AppendRequest(nil, 0, &got)
		if _, err := DecodeRequest(again, 0, 2*testMax); err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	f.Add(gobBytesOf(f, GeneralWsResp{1003, 1302, "BlockedByPeer", "m", "o", []byte("data")}), byte(0))
	f.Add([]byte(`{"reqIdentifier":1003,"errCode":5,"data":"ZGF0YQ=="}`), byte(VariantJSON))
	frame := AppendResponse(nil, VariantGzip, &Response{ReqIdentifier: 7, Data: []byte("data")})
	f.Add(frame[4:], byte(VariantGzip))
	f.Fuzz(func(t *testing.T, p []byte, v byte) {
		variant := Variant(v % Variants)
		if len(p) > 4096 {
			return
		}
		got, err := DecodeResponse(p, variant, 1<<16)
		if err != nil {
			return
		}
		again, err := DecodeResponse(unframe(t, AppendResponse(nil, variant, &got)), variant, 1<<20)
		if err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		equalJSON(t, again.sdk(), got.sdk())
	})
}

func equalFields(t testing.TB, got, want GeneralWsReq) {
	t.Helper()
	data := bytes.Equal(got.Data, want.Data)
	got.Data, want.Data = nil, nil
	if !data || got.ReqIdentifier != want.ReqIdentifier || got.Token != want.Token || got.SendID != want.SendID ||
		got.OperationID != want.OperationID || got.MsgIncr != want.MsgIncr {
		t.Fatalf("got  %+v\nwant %+v (data equal: %v)", got, want, data)
	}
}
