package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// checkJSON compares DecodeRequest with encoding/json: acceptance and fields.
func checkJSON(t testing.TB, p []byte) {
	t.Helper()
	got, gotErr := DecodeRequest(p, VariantJSON, testMax)
	var want jsonRequest
	wantErr := json.Unmarshal(p, &want)
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("%q: %v; encoding/json: %v", p, gotErr, wantErr)
	}
	if gotErr != nil {
		if !errors.Is(gotErr, ErrMalformed) {
			t.Fatalf("%q: %v", p, gotErr)
		}
		return
	}
	equalFields(t, got.sdk(), GeneralWsReq{int(want.ReqIdentifier), want.Token, want.SendID, want.OperationID, want.MsgIncr, want.Data})
}

var jsonCases = []string{
	`{"reqIdentifier":1003,"token":"","sendID":"alice","operationID":"o","msgIncr":"m","data":"ZGF0YQ=="}`,
	`{"data":"ZGF0YQ==","reqIdentifier":1001}`,
	` { "reqIdentifier" : 1001 , "data" : null } `,
	`{"reqIdentifier":1003,"sendID":"\u7528\u6237 \"x\"","data":""}`,
	`{"reqIdentifier":1003,"sendID":"用户"}`, "{\"sendID\":\"\xff\"}", "{\"sendID\":\"a\x7fb\"}",
	`{"REQIDENTIFIER":5,"Data":"ZGF0YQ=="}`, `{"sendID":"a","sendID":"b","SENDID":"c"}`, `{"data":"ZGF0YQ==","data":"eA=="}`,
	`{"data":"ZGF0@YQ==","data":"eA=="}`, `{"data":"","data":"eA=="}`,
	`{"data":"ZGF0YQ"}`, `{"data":"ZGF0Y!=="}`, `{"data":"ZGF0\nYQ=="}`, `{"data":[1,2,255]}`, `{"data":[256]}`, `{"data":"Z"}`, `{"data":"eB=="}`,
	`{"reqIdentifier":01}`, `{"reqIdentifier":-0}`, `{"reqIdentifier":-5}`, `{"reqIdentifier":-}`, `{"reqIdentifier":1.0}`, `{"reqIdentifier":1e3}`,
	`{"reqIdentifier":2147483647}`, `{"reqIdentifier":2147483648}`, `{"reqIdentifier":99999999999999999999}`, `{"reqIdentifier":"5"}`,
	`{"unknown":{"a":[1,{}]},"reqIdentifier":7}`, `{}`, `null`, `[]`, `}`, `{`, ``, `{,}`, `{"sendID":"a",}`, `{"sendID":"a"}x`, `{"sendID":"a"}}`,
	`{"sendID":5}`, `{"sendID":"a" "data":""}`, `{"sendID"}`, `{"sendID":}`, `"sendID":"a"}`, `{"sendID":"a`, `{"sendID":"a"`,
}

func TestJSONDecodesAsEncodingJSON(t *testing.T) {
	for _, p := range jsonCases {
		checkJSON(t, []byte(p))
	}
	checkJSON(t, []byte(strings.Repeat(`{"a":`, 20_000)))
}

func TestPlainJSONIsRecognised(t *testing.T) {
	for _, p := range jsonCases[:2] {
		var f values
		if !requestShape.decodePlainJSON([]byte(p), &f) {
			t.Errorf("%s goes the slow way", p)
		}
	}
}

func FuzzDecodeRequestJSON(f *testing.F) {
	for _, p := range jsonCases {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) { checkJSON(t, p) })
}
