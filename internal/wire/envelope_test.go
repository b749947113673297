package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// The Go SDK's structs (make_golden.go says where they come from).
type (
	GeneralWsReq struct {
		ReqIdentifier int    `json:"reqIdentifier"`
		Token         string `json:"token"`
		SendID        string `json:"sendID"`
		OperationID   string `json:"operationID"`
		MsgIncr       string `json:"msgIncr"`
		Data          []byte `json:"data"`
	}
	GeneralWsResp struct {
		ReqIdentifier int    `json:"reqIdentifier"`
		ErrCode       int    `json:"errCode"`
		ErrMsg        string `json:"errMsg"`
		MsgIncr       string `json:"msgIncr"`
		OperationID   string `json:"operationID"`
		Data          []byte `json:"data"`
	}
)

const testMax = 1 << 20

func (r *Request) sdk() GeneralWsReq {
	return GeneralWsReq{int(r.ReqIdentifier), string(r.Token), string(r.SendID), string(r.OperationID), string(r.MsgIncr), r.Data}
}

func (r *Response) sdk() GeneralWsResp {
	return GeneralWsResp{int(r.ReqIdentifier), r.ErrCode, r.ErrMsg, string(r.MsgIncr), string(r.OperationID), r.Data}
}

// sdkDecode decodes as the SDK does, with the standard library.
func sdkDecode(t testing.TB, payload []byte, v Variant, out any) {
	t.Helper()
	if v&VariantGzip != 0 {
		r, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			t.Fatal(err)
		}
		if payload, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if v&VariantJSON != 0 {
		err = json.Unmarshal(payload, out)
	} else {
		err = gob.NewDecoder(bytes.NewReader(payload)).Decode(out)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sdkEncode encodes as the SDK does, with the standard library.
func sdkEncode(t testing.TB, v Variant, in any) []byte {
	t.Helper()
	var buf bytes.Buffer
	if v&VariantJSON != 0 {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		buf.Write(b)
	} else if err := gob.NewEncoder(&buf).Encode(in); err != nil {
		t.Fatal(err)
	}
	if v&VariantGzip == 0 {
		return buf.Bytes()
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(buf.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped.Bytes()
}

// unframe checks that b is exactly one final, unmasked binary frame and returns
// its payload.
func unframe(t testing.TB, b []byte) []byte {
	t.Helper()
	f := readFrame(t, b)
	if f.Header.OpCode != ws.OpBinary {
		t.Fatalf("frame %+v", f.Header)
	}
	return f.Payload
}

func equalJSON(t testing.TB, got, want any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if !bytes.Equal(bytes.ReplaceAll(g, []byte(`""`), []byte("null")), bytes.ReplaceAll(w, []byte(`""`), []byte("null"))) {
		t.Fatalf("got  %.400s\nwant %.400s", g, w)
	}
}

func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name  string
		Gzip  bool
		Req   *GeneralWsReq
		Resp  *GeneralWsResp
		Frame []byte
	}
	if err := json.NewDecoder(bytes.NewReader(goNames(text))).Decode(&all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no golden frames")
	}
	for _, g := range all {
		t.Run(g.Name, func(t *testing.T) {
			var v Variant
			if g.Gzip {
				v = VariantGzip
			}
			var encoded []byte
			if g.Req != nil {
				got, err := DecodeRequest(g.Frame, v, testMax)
				if err != nil {
					t.Fatal(err)
				}
				equalJSON(t, got.sdk(), g.Req)
				encoded, _ = AppendRequest(nil, v, &got)
			} else {
				got, err := DecodeResponse(g.Frame, v, testMax)
				if err != nil {
					t.Fatal(err)
				}
				equalJSON(t, got.sdk(), g.Resp)
				encoded = unframe(t, AppendResponse(nil, v, &got))
			}
			if !g.Gzip && g.Req != nil && !bytes.Equal(encoded, g.Frame) {
				t.Fatalf("encoded as\n%x, encoding/gob makes\n%x", encoded, g.Frame)
			}
		})
	}
}

// goNames turns the golden file's Go field names into JSON ones.
func goNames(text []byte) []byte {
	for _, s := range []*shape{requestShape, responseShape} {
		for _, f := range s.fields {
			text = bytes.ReplaceAll(text, []byte(`"`+f.name+`"`), []byte(`"`+f.json+`"`))
		}
	}
	return text
}

var random = rand.New(rand.NewPCG(1, 2))

// randomText is valid UTF-8 of various lengths, sometimes with what JSON escapes.
func randomText() []byte {
	n := []int{0, 1, 20, 36, 127, 128, 300}[random.IntN(7)]
	alphabet := []rune(`abcdefghij0123456789_-<>&"\` + "\n\t\u2028用户\u007f\u0000")
	if random.IntN(2) == 0 {
		alphabet = alphabet[:20]
	}
	var b strings.Builder
	for b.Len() < n {
		b.WriteRune(alphabet[random.IntN(len(alphabet))])
	}
	return []byte(b.String())
}

func randomData() []byte {
	n := []int{0, 1, 100, 126, 300, 900, 1100, 70_000}[random.IntN(8)]
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.IntN(8) * 37)
	}
	return b
}

func randomInt(n int) int {
	return []int{0, 1, -1, 63, 64, -64, -65, 1003, 1 << 30, -1 << 31}[random.IntN(10)] >> random.IntN(n)
}

func TestRequestRoundTrips(t *testing.T) {
	for v := range Variant(Variants) {
		for range 40 {
			want := Request{int32(randomInt(4)), randomText(), randomText(), randomText(), randomText(), randomData()}
			payload, err := AppendRequest([]byte("before"), v, &want)
			if err != nil || !bytes.HasPrefix(payload, []byte("before")) {
				t.Fatal(err, "or the bytes before it are gone")
			}
			payload = payload[len("before"):]
			var sdk GeneralWsReq
			sdkDecode(t, payload, v, &sdk)
			equalJSON(t, sdk, want.sdk())
			for _, p := range [][]byte{payload, sdkEncode(t, v, want.sdk())} {
				got, err := DecodeRequest(p, v, testMax)
				if err != nil {
					t.Fatal(err)
				}
				clear(p) // the request owns its bytes
				equalJSON(t, got.sdk(), want.sdk())
			}
		}
	}
}

func TestResponseRoundTrips(t *testing.T) {
	for v := range Variant(Variants) {
		for range 40 {
			want := Response{int32(randomInt(4)), randomText(), randomText(), randomInt(8), string(randomText()), randomData()}
			frame := AppendResponse([]byte("before"), v, &want)
			payload := unframe(t, frame[len("before"):])
			var sdk GeneralWsResp
			sdkDecode(t, payload, v, &sdk)
			equalJSON(t, sdk, want.sdk())
			got, err := DecodeResponse(sdkEncode(t, v, want.sdk()), v, testMax)
			if err != nil {
				t.Fatal(err)
			}
			equalJSON(t, got.sdk(), want.sdk())
		}
	}
}

func TestJSONIsEncodingJSONs(t *testing.T) {
	for range 300 {
		r := Response{int32(randomInt(4)), randomText(), randomText(), randomInt(8), string(randomText()), nil}
		if random.IntN(2) == 0 {
			r.Data = randomData()
		}
		want, _ := json.Marshal(r.sdk())
		if got := unframe(t, AppendResponse(nil, VariantJSON, &r)); !bytes.Equal(got, want) {
			t.Fatalf("got  %.300s\nwant %.300s", got, want)
		}
	}
}

func TestFieldsDoNotShareCapacity(t *testing.T) {
	for v := range Variant(Variants) {
		p, _ := AppendRequest(nil, v, &Request{SendID: []byte("send"), OperationID: []byte("operation"), Data: []byte("data")})
		r, err := DecodeRequest(p, v, testMax)
		if err != nil {
			t.Fatal(err)
		}
		_ = append(r.SendID, "XXXXXXXXXXXXXXX"...)
		_ = append(r.Data, "XXXXXXXXXXXXXXX"...)
		if string(r.OperationID) != "operation" || string(r.Data) != "data" {
			t.Fatalf("variant %d: an append to one field reached another", v)
		}
	}
}

func TestBounds(t *testing.T) {
	for v := range Variant(Variants) {
		p, _ := AppendRequest(nil, v, &Request{Data: make([]byte, 10_000)})
		for _, max := range []int{0, 1, 50, 200, 5_000} {
			if _, err := DecodeRequest(p, v, max); !errors.Is(err, ErrTooLarge) {
				t.Errorf("variant %d, bound %d: %v", v, max, err)
			}
		}
		if _, err := DecodeRequest(p, v, 20_000); err != nil {
			t.Errorf("variant %d: %v", v, err)
		}
		plain, _ := AppendRequest(nil, v&^VariantGzip, &Request{Data: make([]byte, 10_000)})
		if _, err := DecodeRequest(p, v, len(plain)); err != nil {
			t.Errorf("variant %d at the bound exactly: %v", v, err)
		}
		if _, err := DecodeRequest(p, v, len(plain)-1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("variant %d one byte above the bound: %v", v, err)
		}
	}
}

func TestIdentifierOverflow(t *testing.T) {
	for v := range Variant(Variants) {
		for _, n := range []int{1 << 31, -1<<31 - 1} {
			if r, err := DecodeRequest(sdkEncode(t, v, GeneralWsReq{ReqIdentifier: n}), v, testMax); !errors.Is(err, ErrMalformed) {
				t.Errorf("variant %d: identifier %d decoded as %d, %v", v, n, r.ReqIdentifier, err)
			}
		}
	}
}

func TestFieldTablesMatchTheSDK(t *testing.T) {
	for s, sdk := range map[*shape]any{requestShape: GeneralWsReq{}, responseShape: GeneralWsResp{}} {
		typ := reflect.TypeOf(sdk)
		if typ.NumField() != envelopeFields {
			t.Fatalf("%v has %d fields", typ, typ.NumField())
		}
		for i, f := range s.fields {
			if typ.Field(i).Name != f.name || typ.Field(i).Tag.Get("json") != f.json {
				t.Errorf("field %d is %s, want %s", i, f.name, typ.Field(i).Name)
			}
		}
	}
}
