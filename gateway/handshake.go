package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"

	"github.com/gobwas/ws"

	"gannet/core"
	"gannet/internal/im"
	"gannet/internal/wire"
)

const (
	maxHandshake = 16 << 10 // bytes of an upgrade request
	maxDetail    = 100      // bytes of an error's detail; keeps the body under the SDK's 1024
)

var (
	errRefused  = errors.New("refused")
	errNotFound = errors.New("no such path")
	headEnd     = []byte("\r\n\r\n")
)

// login is what a client asks for in its upgrade request.
type login struct {
	userID, token, operationID string
	platform                   im.Platform
	variant                    wire.Variant
	background                 bool
	msgResp                    bool // wants the outcome as first text frame
}

// upgrade reads one upgrade request; its loop uses it again for the next. It is the
// connection that ws.Upgrader sees.
type upgrade struct {
	bytes.Reader              // the request
	reply        bytes.Buffer // the answer
	srv          *Server
	up           ws.Upgrader
	query        string
	compression  string
	in           login
	id           core.Identity
	fault        error // why the login is refused
}

func newUpgrade(srv *Server) *upgrade {
	u := &upgrade{srv: srv}
	u.up = ws.Upgrader{OnRequest: u.onRequest, OnHeader: u.onHeader, OnBeforeUpgrade: u.onBeforeUpgrade}
	return u
}

// run reads the request in head.
func (u *upgrade) run(head []byte) error {
	u.Reset(head)
	u.reply.Reset()
	u.query, u.compression, u.in, u.id, u.fault = "", "", login{}, core.Identity{}, nil
	_, err := u.up.Upgrade(u)
	u.Reset(nil)
	return err
}

func (u *upgrade) Write(p []byte) (int, error) { return u.reply.Write(p) }

func (u *upgrade) onRequest(uri []byte) error {
	path, query, _ := bytes.Cut(uri, []byte("?"))
	u.query = string(query)
	if u.srv.paths != nil && !u.srv.paths[string(path)] {
		return errNotFound
	}
	return nil
}

func (u *upgrade) onHeader(key, value []byte) error {
	if bytes.EqualFold(key, []byte("compression")) {
		u.compression = string(value)
	}
	return nil
}

func (u *upgrade) onBeforeUpgrade() (ws.HandshakeHeader, error) {
	u.in, u.id, u.fault = u.srv.admit(u.query, u.compression)
	if u.fault != nil && !u.in.msgResp {
		return nil, errRefused
	}
	return nil, nil
}

// handshake handles an upgrade request once it is complete, and returns the bytes
// it took.
func (l *loop) handshake(s *session, b []byte) int {
	head := bytes.Index(b, headEnd)
	if head < 0 && len(b) < maxHandshake {
		return 0
	}
	if head < 0 || head > maxHandshake {
		l.plain(s, "431 Request Header Fields Too Large", "The request is too large.")
		return len(b)
	}
	head += len(headEnd)
	s.seen = l.now

	u := l.upgrade
	err := u.run(b[:head])
	reply := func(dst []byte) []byte { return append(dst, u.reply.Bytes()...) }
	switch {
	case errors.Is(err, errRefused):
		l.rejected(s, u.in, u.fault)
		body := verdictBody(u.fault)
		l.send(s, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\n"+
			"Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		l.end(s, endRefused)
	case errors.Is(err, errNotFound):
		l.plain(s, "404 Not Found", "No such path.")
	case errors.Is(err, ws.ErrHandshakeUpgradeRequired):
		l.plain(s, "426 Upgrade Required\r\nSec-WebSocket-Version: 13", "WebSocket version 13 is needed.")
	case err != nil:
		l.plain(s, "400 Bad Request", "This address speaks WebSocket only.")
	case u.fault != nil:
		l.rejected(s, u.in, u.fault)
		l.sendBuilt(s, reply)
		l.sendBuilt(s, func(dst []byte) []byte { return wire.AppendTextFrame(dst, verdictBody(u.fault)) })
		l.sendClose(s, uint16(ws.StatusPolicyViolation))
		l.end(s, endRefused)
	default:
		l.admitted(s, u.in, u.id, reply)
	}
	return head
}

// admitted turns s into an open session and tells the client, then core.
func (l *loop) admitted(s *session, in login, id core.Identity, reply func(dst []byte) []byte) {
	s.userID, s.token, s.platform, s.admin, s.variant = id.UserID, id.Token, id.Platform, id.Admin, in.variant
	s.phase, s.online = phaseOpen, true
	l.sendBuilt(s, reply)
	if in.msgResp {
		l.sendBuilt(s, func(dst []byte) []byte { return wire.AppendTextFrame(dst, verdictBody(nil)) })
	}
	l.stats.sessions.Add(1)
	if l.srv.log.Enabled(l.srv.ctx, slog.LevelDebug) {
		l.srv.log.Debug("gateway: session opened", "user", s.userID, "platform", s.platform.String(), "operationID", in.operationID)
	}
	ref := s.ref()
	ref.Background = in.background
	l.srv.core.Connect(s.userID, ref)
}

// rejected counts and logs a refused login, without its token.
func (l *loop) rejected(s *session, in login, fault error) {
	e, _ := classify(fault)
	for i, known := range handshakeErrors {
		if known.Code == e.Code {
			l.stats.refused[i].Add(1)
		}
	}
	l.srv.log.Info("gateway: login refused", "user", in.userID, "operationID", in.operationID,
		"from", s.conn.RemoteAddr().String(), "error", fault)
}

// plain answers a request that is no WebSocket upgrade.
func (l *loop) plain(s *session, status, text string) {
	l.send(s, fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s\n",
		status, len(text)+1, text))
	l.end(s, endBadHandshake)
}

// verdictBody is the JSON that tells an outcome, under 1024 bytes whatever the
// error holds; nil is success.
func verdictBody(fault error) []byte {
	var out struct {
		ErrCode int    `json:"errCode"`
		ErrMsg  string `json:"errMsg"`
		ErrDlt  string `json:"errDlt"`
	}
	if fault != nil {
		e, _ := classify(fault)
		out.ErrCode, out.ErrMsg, out.ErrDlt = e.Code, short(e.Name), short(e.Detail)
	}
	b, _ := json.Marshal(&out)
	return b
}

// short cuts s to maxDetail bytes.
func short(s string) string {
	if len(s) > maxDetail {
		s = s[:maxDetail]
	}
	return strings.ToValidUTF8(s, "")
}

// admit decides about a login. in.msgResp is set as soon as the query tells it,
// so that every refusal reaches the client in the form it can read.
func (s *Server) admit(query, compression string) (in login, id core.Identity, fault error) {
	values, _ := url.ParseQuery(query)
	fields, fault := loginFields(values)
	if text := fields.Get("isMsgResp"); text != "" {
		in.msgResp, _ = strconv.ParseBool(text)
	}
	in.userID, in.operationID = fields.Get("sendID"), fields.Get("operationID")
	switch {
	case s.conns.Load() > int64(s.maxConns):
		return in, id, im.ErrConnOverMax
	case s.draining.Load():
		return in, id, im.ErrBusy
	case fault != nil:
		return in, id, fault
	}
	if text := fields.Get("compression"); text != "" {
		compression = text
	}
	if fault = in.parse(fields, compression); fault != nil {
		return in, id, fault
	}
	if id, fault = s.core.VerifyToken(in.token); fault != nil {
		return in, id, fault
	}
	if id.UserID != in.userID || id.Platform != in.platform {
		return in, id, im.ErrTokenInvalid.With("the token is not for this sendID and platformID")
	}
	return in, id, nil
}

// parse checks the parameters and fills in.
func (in *login) parse(f url.Values, compression string) error {
	in.token = f.Get("token")
	platform, err := strconv.ParseInt(f.Get("platformID"), 10, 32)
	in.platform = im.Platform(platform)
	switch {
	case in.token == "" || in.userID == "":
		return im.ErrConnArgs.With("token or sendID is empty")
	case err != nil || !in.platform.Valid():
		return im.ErrConnArgs.With("platformID is not a platform")
	}
	if text := f.Get("isBackground"); text != "" {
		if in.background, err = strconv.ParseBool(text); err != nil {
			return im.ErrConnArgs.With("isBackground is not a bool")
		}
	}
	switch f.Get("sdkType") {
	case "", "go":
	case "js":
		in.variant |= wire.VariantJSON
	default:
		return im.ErrConnArgs.With("sdkType is neither go nor js")
	}
	if compression == "gzip" {
		in.variant |= wire.VariantGzip
	}
	return nil
}

// loginFields returns the parameters by their query names. A parameter v, an object
// in base64, replaces all others.
func loginFields(values url.Values) (url.Values, error) {
	if !values.Has("v") {
		return values, nil
	}
	var v struct {
		Token        string `json:"token"`
		UserID       string `json:"userID"`
		PlatformID   int    `json:"platformID"`
		OperationID  string `json:"operationID"`
		Compression  string `json:"compression"`
		SDKType      string `json:"sdkType"`
		SendResponse bool   `json:"sendResponse"`
		Background   bool   `json:"background"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(values.Get("v"))
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		return url.Values{}, im.ErrConnArgs.With("v is not base64 of a JSON object")
	}
	f := make(url.Values)
	for name, value := range map[string]string{
		"token": v.Token, "sendID": v.UserID, "operationID": v.OperationID,
		"platformID": strconv.Itoa(v.PlatformID), "compression": v.Compression, "sdkType": v.SDKType,
		"isMsgResp": strconv.FormatBool(v.SendResponse), "isBackground": strconv.FormatBool(v.Background),
	} {
		f.Set(name, value)
	}
	return f, nil
}
