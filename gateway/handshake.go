package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	var (
		in    login
		id    core.Identity
		query string
		comp  string
		fault error
		reply bytes.Buffer
	)
	up := ws.Upgrader{
		OnRequest: func(uri []byte) error {
			path, q, _ := strings.Cut(string(uri), "?")
			query = q
			if l.srv.paths != nil && !l.srv.paths[path] {
				return errNotFound
			}
			return nil
		},
		OnHeader: func(key, value []byte) error {
			if strings.EqualFold(string(key), "compression") {
				comp = string(value)
			}
			return nil
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			in, id, fault = l.srv.admit(query, comp)
			if fault != nil && !in.msgResp {
				return nil, errRefused
			}
			return nil, nil
		},
	}
	_, err := up.Upgrade(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(b[:head]), &reply})
	switch {
	case errors.Is(err, errRefused):
		l.rejected(s, in, fault)
		body := verdictBody(fault)
		l.send(s, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\n"+
			"Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		l.end(s, endRefused)
	case errors.Is(err, errNotFound):
		l.plain(s, "404 Not Found", "No such path.")
	case errors.Is(err, ws.ErrHandshakeUpgradeRequired):
		l.plain(s, "426 Upgrade Required\r\nSec-WebSocket-Version: 13", "WebSocket version 13 is needed.")
	case err != nil:
		l.plain(s, "400 Bad Request", "This address speaks WebSocket only.")
	case fault != nil:
		l.rejected(s, in, fault)
		l.send(s, reply.Bytes())
		l.sendBuilt(s, func(dst []byte) []byte { return wire.AppendTextFrame(dst, verdictBody(fault)) })
		l.sendClose(s, uint16(ws.StatusPolicyViolation))
		l.end(s, endRefused)
	default:
		l.admitted(s, in, id, reply.Bytes())
	}
	return head
}

// admitted turns s into an open session and tells the client, then core.
func (l *loop) admitted(s *session, in login, id core.Identity, reply []byte) {
	s.userID, s.token, s.platform, s.admin, s.variant = id.UserID, id.Token, id.Platform, id.Admin, in.variant
	s.phase, s.online = phaseOpen, true
	l.send(s, reply)
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
	in.msgResp, _ = strconv.ParseBool(fields.get("isMsgResp"))
	in.userID, in.operationID = fields.get("sendID"), fields.get("operationID")
	switch {
	case s.conns.Load() > int64(s.maxConns):
		return in, id, im.ErrConnOverMax
	case s.draining.Load():
		return in, id, im.ErrBusy
	case fault != nil:
		return in, id, fault
	}
	if fields.get("compression") == "" {
		fields["compression"] = compression
	}
	if fault = in.parse(fields); fault != nil {
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
func (in *login) parse(f fields) error {
	in.token = f.get("token")
	platform, err := strconv.ParseInt(f.get("platformID"), 10, 32)
	in.platform = im.Platform(platform)
	switch {
	case in.token == "" || in.userID == "":
		return im.ErrConnArgs.With("token or sendID is empty")
	case err != nil || !in.platform.Valid():
		return im.ErrConnArgs.With("platformID is not a platform")
	}
	if text := f.get("isBackground"); text != "" {
		if in.background, err = strconv.ParseBool(text); err != nil {
			return im.ErrConnArgs.With("isBackground is not a bool")
		}
	}
	switch f.get("sdkType") {
	case "", "go":
	case "js":
		in.variant |= wire.VariantJSON
	default:
		return im.ErrConnArgs.With("sdkType is neither go nor js")
	}
	if f.get("compression") == "gzip" {
		in.variant |= wire.VariantGzip
	}
	return nil
}

// fields are the login parameters by their query names.
type fields map[string]string

func (f fields) get(name string) string { return f[name] }

// loginFields reads the parameters from the query, or from its parameter v, which
// replaces all others.
func loginFields(values url.Values) (fields, error) {
	f := make(fields, len(values))
	if !values.Has("v") {
		for name := range values {
			f[name] = values.Get(name)
		}
		return f, nil
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
		return f, im.ErrConnArgs.With("v is not base64 of a JSON object")
	}
	f["token"], f["sendID"], f["operationID"] = v.Token, v.UserID, v.OperationID
	f["platformID"], f["compression"], f["sdkType"] = strconv.Itoa(v.PlatformID), v.Compression, v.SDKType
	f["isMsgResp"], f["isBackground"] = strconv.FormatBool(v.SendResponse), strconv.FormatBool(v.Background)
	return f, nil
}
