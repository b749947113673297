package core

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/openimsdk/protocol/auth"

	"gannet/internal/im"
)

// tokenState is what the server remembers of an issued token.
type tokenState uint8

const (
	tokenNormal tokenState = 0
	tokenKicked tokenState = 2
)

const (
	// kickedKeep is how many kicked tokens per (user, platform) are remembered so
	// that their holders are told "kicked" (1506) and not "unknown" (1507).
	kickedKeep = 4
	// normalMax bounds the normal tokens of a (user, platform) when issuing does not
	// end earlier ones; the oldest become kicked.
	normalMax = 100
)

// tokens holds the states of all issued tokens, because a handshake runs on an
// event loop and may not read the store. The map has no pointers: 17 bytes and
// the expiry per token.
type tokens struct {
	parts [64]struct {
		mu sync.RWMutex
		// Guarded by mu.
		m map[TokenID]tokenEntry
	}
}

type tokenEntry struct {
	state  tokenState
	expiry uint32 // Unix seconds
}

func (t *tokens) load(s Store, now int64) error {
	for i := range t.parts {
		t.parts[i].m = make(map[TokenID]tokenEntry)
	}
	view := s.Committed()
	defer view.Release()
	var damaged error
	err := view.Scan(Range{Table: TableToken}, func(k Key, v []byte) bool {
		rec, err := decodeToken(k, v)
		if err != nil {
			damaged = err
			return false
		}
		if int64(rec.expiry) > now {
			t.set(rec.id, tokenEntry{rec.state, rec.expiry})
		}
		return true
	})
	return firstError(err, damaged)
}

func (t *tokens) set(id TokenID, e tokenEntry) {
	p := &t.parts[id[0]%64]
	p.mu.Lock()
	p.m[id] = e
	p.mu.Unlock()
}

func (t *tokens) drop(id TokenID) {
	p := &t.parts[id[0]%64]
	p.mu.Lock()
	delete(p.m, id)
	p.mu.Unlock()
}

func (t *tokens) get(id TokenID) (tokenEntry, bool) {
	p := &t.parts[id[0]%64]
	p.mu.RLock()
	defer p.mu.RUnlock()
	e, ok := p.m[id]
	return e, ok
}

func (t *tokens) len() (n int) {
	for i := range t.parts {
		t.parts[i].mu.RLock()
		n += len(t.parts[i].m)
		t.parts[i].mu.RUnlock()
	}
	return n
}

// tokenRecord is a token's record: its key names user, platform and ID.
type tokenRecord struct {
	platform im.Platform
	id       TokenID
	state    tokenState
	expiry   uint32 // Unix seconds
	issued   int64  // ms
}

func (r tokenRecord) op(user string) Op {
	v := []byte{byte(r.state)}
	v = binary.AppendUvarint(v, uint64(r.expiry))
	v = binary.AppendVarint(v, r.issued)
	return Op{Key: Key{Table: TableToken, A: user, B: string(append([]byte{byte(r.platform)}, r.id[:]...))}, Value: v}
}

func decodeToken(k Key, v []byte) (r tokenRecord, err error) {
	damaged := fmt.Errorf("core: token record of %s is damaged", k.A)
	if len(k.B) != 1+len(r.id) || len(v) < 1 {
		return r, damaged
	}
	r.platform, r.state = im.Platform(k.B[0]), tokenState(v[0])
	copy(r.id[:], k.B[1:])
	exp, w := binary.Uvarint(v[1:])
	if w <= 0 {
		return r, damaged
	}
	iat, w2 := binary.Varint(v[1+w:])
	if w2 <= 0 {
		return r, damaged
	}
	r.expiry, r.issued = uint32(exp), iat
	return r, nil
}

// tokensOf lists user's token records by r, oldest first.
func tokensOf(r Reader, user string) ([]tokenRecord, error) {
	var list []tokenRecord
	var damaged error
	err := r.Scan(Range{Table: TableToken, Fixed: 1, A: user}, func(k Key, v []byte) bool {
		rec, err := decodeToken(k, v)
		if err != nil {
			damaged = err
			return false
		}
		list = append(list, rec)
		return true
	})
	sort.SliceStable(list, func(i, j int) bool { return list[i].issued < list[j].issued })
	return list, firstError(err, damaged)
}

// Dialect tells the two generations of the HTTP API apart.
type Dialect int

// The dialects.
const (
	DialectV3 Dialect = iota
	DialectV2
)

// sign makes a token's text.
func (c *Core) sign(user string, p im.Platform, d Dialect, now int64, nonce string) (string, int64, error) {
	cl := &claims{IssuedAt: now, Nonce: nonce}
	key := c.opt.Secret
	if d == DialectV2 {
		cl.UID, cl.Platform, cl.NotBefore, cl.Expires = user, p.String(), now, now+int64(c.opt.TokenLife2/time.Second)
		key = c.opt.KeyV2
	} else {
		cl.UserID, cl.PlatformID, cl.NotBefore, cl.Expires = user, int32(p), now-300, now+int64(c.opt.TokenLife/time.Second)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, cl).SignedString([]byte(key))
	if err == nil && key != "" {
		c.proven.add(tokenID(text))
	}
	return text, cl.Expires, err
}

// IssueToken makes a token for a registered user and stores its state. With
// exclusive the login policy ends earlier tokens (get_user_token); without, they
// stay valid (user_token of the documents). It answers the text and the expiry
// in Unix seconds.
func (c *Core) IssueToken(user string, p im.Platform, d Dialect, exclusive bool) (token string, expires int64, err error) {
	if !p.Valid() {
		return "", 0, im.ErrArgs.With("platform is invalidate")
	}
	err = c.update([]string{userName(user)}, func(t *tx) error {
		if _, err := c.mustUser(c.store.Latest(), user); err != nil {
			return err
		}
		token, expires, err = t.issue(user, p, d, exclusive)
		return err
	})
	if err != nil {
		return "", 0, err
	}
	return token, expires, nil
}

// issue is IssueToken within a transaction that holds the user's stripe.
func (t *tx) issue(user string, p im.Platform, d Dialect, exclusive bool) (token string, expires int64, err error) {
	c, now := t.c, t.c.nowMS()
	if token, expires, err = c.sign(user, p, d, now/1000, ""); err != nil || c.admins[user] {
		return token, expires, err
	}
	id := tokenID(token)
	if _, used := c.tokens.get(id); used {
		// The same second, user and platform: the text would be that of a token
		// with a life of its own.
		if token, expires, err = c.sign(user, p, d, now/1000, rand.Text()); err != nil {
			return "", 0, err
		}
		id = tokenID(token)
	}
	list, err := tokensOf(c.store.Latest(), user)
	if err != nil {
		return "", 0, err
	}
	for _, rec := range c.outlived(list, p, exclusive, now/1000) {
		t.writeToken(user, rec)
	}
	t.writeToken(user, tokenRecord{platform: p, id: id, expiry: uint32(expires), issued: now})
	return token, expires, nil
}

// tokenGone marks, in the answer of outlived, a record to delete.
const tokenGone tokenState = 255

// writeToken stores rec (or deletes it, when its state is tokenGone) and updates
// the states in memory as soon as the change is queued.
func (t *tx) writeToken(user string, rec tokenRecord) {
	op := rec.op(user)
	if rec.state == tokenGone {
		op.Value = nil
		t.then(func() { t.c.tokens.drop(rec.id) })
	} else {
		t.then(func() { t.c.tokens.set(rec.id, tokenEntry{rec.state, rec.expiry}) })
	}
	t.ops = append(t.ops, op)
}

// outlived returns the records of list that issuing a token for platform p
// changes: expired ones go, those the policy excludes become kicked, and of the
// kicked ones of a platform only the newest kickedKeep stay.
func (c *Core) outlived(list []tokenRecord, p im.Platform, exclusive bool, now int64) []tokenRecord {
	var changed []tokenRecord
	normal := make(map[im.Platform]int)
	kicked := make(map[im.Platform]int)
	for i := len(list) - 1; i >= 0; i-- { // newest first
		rec := list[i]
		was := rec.state
		if rec.state == tokenNormal {
			normal[rec.platform]++
			limit := normalMax
			if rec.platform == p {
				limit-- // the new one counts
			}
			if exclusive {
				limit = c.issueLimit(rec.platform, p)
			}
			if normal[rec.platform] > limit {
				rec.state = tokenKicked
			}
		}
		if rec.state == tokenKicked {
			if kicked[rec.platform]++; kicked[rec.platform] > kickedKeep {
				rec.state = tokenGone
			}
		}
		if int64(rec.expiry) <= now {
			rec.state = tokenGone
		}
		if rec.state != was {
			changed = append(changed, rec)
		}
	}
	return changed
}

// issueLimit is how many normal tokens of platform old survive when one for
// platform p is issued under the policy.
func (c *Core) issueLimit(old, p im.Platform) int {
	switch {
	case c.opt.Policy == PolicyKickNone && old == p:
		return c.opt.MaxTokens - 1
	case c.opt.Policy == PolicyKickNone:
		return c.opt.MaxTokens
	case c.opt.Policy.excludes(old, p):
		return 0
	case c.opt.Policy == PolicyPCAndOneOther:
		return normalMax
	}
	return 1
}

// revokeTokens makes the normal tokens of user that match kicked. It returns when
// that is durable.
func (c *Core) revokeTokens(user string, match func(im.Platform, TokenID) bool) error {
	return c.update([]string{userName(user)}, func(t *tx) error {
		list, err := tokensOf(c.store.Latest(), user)
		if err != nil {
			return err
		}
		for _, rec := range list {
			if rec.state == tokenNormal && match(rec.platform, rec.id) {
				rec.state = tokenKicked
				t.writeToken(user, rec)
			}
		}
		return nil
	})
}

func sameSecret(a, b string) bool {
	return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// GetAdminToken issues a token for an administrator on platform 10.
func (c *Core) GetAdminToken(_ Caller, req *auth.GetAdminTokenReq) (*auth.GetAdminTokenResp, error) {
	if !sameSecret(req.Secret, c.opt.Secret) {
		return nil, im.ErrNoPermission.With("secret invalid")
	}
	if !c.admins[req.UserID] {
		return nil, im.ErrArgs.With("userID is not in the list of administrators")
	}
	token, _, err := c.IssueToken(req.UserID, im.PlatformAdmin, DialectV3, false)
	if err != nil {
		return nil, err
	}
	return &auth.GetAdminTokenResp{Token: token, ExpireTimeSeconds: int64(c.opt.TokenLife / time.Second)}, nil
}

// GetUserToken issues a token for a user, for an administrator who asks. Under
// the login policy it ends the user's earlier tokens.
func (c *Core) GetUserToken(from Caller, req *auth.GetUserTokenReq) (*auth.GetUserTokenResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if req.PlatformID == int32(im.PlatformAdmin) || c.admins[req.UserID] {
		return nil, im.ErrNoPermission.With("administrators get their token by get_admin_token")
	}
	u, err := c.mustUser(c.store.Latest(), req.UserID)
	if err != nil {
		return nil, err
	}
	if u.AppMangerLevel >= levelNotificationAccount {
		return nil, im.ErrArgs.With("a notification account cannot log in")
	}
	token, _, err := c.IssueToken(req.UserID, im.Platform(req.PlatformID), DialectV3, true)
	if err != nil {
		return nil, err
	}
	return &auth.GetUserTokenResp{Token: token, ExpireTimeSeconds: int64(c.opt.TokenLife / time.Second)}, nil
}

// ParseToken verifies a token and answers whom it names.
func (c *Core) ParseToken(_ Caller, req *auth.ParseTokenReq) (*auth.ParseTokenResp, error) {
	id, err := c.VerifyToken(req.Token)
	if err != nil {
		return nil, err
	}
	return &auth.ParseTokenResp{UserID: id.UserID, PlatformID: int32(id.Platform), ExpireTimeSeconds: id.Expires}, nil
}

// ForceLogout makes all tokens of a user on a platform kicked and ends the
// sessions there.
func (c *Core) ForceLogout(from Caller, req *auth.ForceLogoutReq) (*auth.ForceLogoutResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	p := im.Platform(req.PlatformID)
	if !p.Valid() {
		return nil, im.ErrArgs.With("platform is invalidate")
	}
	if err := c.revokeTokens(req.UserID, func(q im.Platform, _ TokenID) bool { return q == p }); err != nil {
		return nil, err
	}
	c.endSessions(req.UserID, func(r SessionRef) bool { return r.PlatformID() == p })
	return &auth.ForceLogoutResp{}, nil
}

// endSessions tells the user's matching sessions that they were kicked and
// closes them. Their tokens must be kicked before.
func (c *Core) endSessions(user string, match func(SessionRef) bool) {
	var refs []SessionRef
	for _, r := range c.presence.appendSessions(nil, user) {
		if match(r) {
			refs = append(refs, r)
		}
	}
	if len(refs) > 0 {
		c.stats.kicked.Add(uint64(len(refs)))
		c.sink.Close(refs, LastKicked)
	}
}

// String is the ID in hex, for logs: it reveals nothing of the token.
func (id TokenID) String() string { return hex.EncodeToString(id[:4]) }
