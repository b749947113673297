//go:build ignore

// make_golden writes golden.json: envelopes encoded by encoding/gob, and
// compressed by compress/gzip at its default level, from structs of the same
// names and fields as the Go SDK's (internal/interaction of openim-sdk-core
// v3.8.3-patch.10: GeneralWsReq, GeneralWsResp). A fresh encoder makes each
// frame, as the SDK does. Run from the repository's root:
//
//	go run internal/wire/testdata/make_golden.go > internal/wire/testdata/golden.json
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"encoding/json"
	"os"
	"strings"
)

type GeneralWsReq struct {
	ReqIdentifier int
	Token         string
	SendID        string
	OperationID   string
	MsgIncr       string
	Data          []byte
}

type GeneralWsResp struct {
	ReqIdentifier int
	ErrCode       int
	ErrMsg        string
	MsgIncr       string
	OperationID   string
	Data          []byte
}

type golden struct {
	Name  string
	Gzip  bool
	Req   *GeneralWsReq  `json:",omitempty"`
	Resp  *GeneralWsResp `json:",omitempty"`
	Frame []byte
}

func (g golden) encode() golden {
	var v any = g.Req
	if g.Req == nil {
		v = g.Resp
	}
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(v); err != nil {
		panic(err)
	}
	g.Frame = bytes.Clone(buf.Bytes())
	if g.Gzip {
		buf.Reset()
		w := gzip.NewWriter(&buf)
		w.Write(g.Frame)
		w.Close()
		g.Frame = buf.Bytes()
	}
	return g
}

func main() {
	long := []byte(strings.Repeat("abcdefghij", 700))
	reqs := []golden{
		{Name: "newest seq", Req: &GeneralWsReq{1001, "", "4950983283", "1d5c0ffee", "4950983283_1726312345678901234", []byte("\n\n4950983283")}},
		{Name: "all fields", Req: &GeneralWsReq{1003, "token", "alice", "operation", "alice_1", []byte{0, 1, 2, 0xff}}},
		{Name: "only the identifier", Req: &GeneralWsReq{ReqIdentifier: 2004}},
		{Name: "zero", Req: &GeneralWsReq{}},
		{Name: "utf-8", Req: &GeneralWsReq{1003, "", "用户", "操作", "用户_2", []byte("你好")}},
		{Name: "seven kilobytes", Req: &GeneralWsReq{1003, "", "alice", "operation", "alice_3", long}},
		{Name: "answer", Resp: &GeneralWsResp{1003, 0, "", "alice_1", "operation", []byte("\n\x03abc")}},
		{Name: "error", Resp: &GeneralWsResp{1003, 1302, "BlockedByPeer", "alice_1", "operation", nil}},
		{Name: "push", Resp: &GeneralWsResp{2001, 0, "", "", "trace", long}},
		{Name: "kick", Resp: &GeneralWsResp{ReqIdentifier: 2002}},
		{Name: "negative code", Resp: &GeneralWsResp{ReqIdentifier: -1, ErrCode: -1 << 40}},
	}
	var all []golden
	for _, g := range reqs {
		all = append(all, g.encode())
		g.Gzip, g.Name = true, g.Name+", gzip"
		all = append(all, g.encode())
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(all); err != nil {
		panic(err)
	}
}
