package core

import (
	"cmp"
	"encoding/binary"
	"errors"

	"github.com/openimsdk/protocol/sdkws"

	"gannet/internal/im"
)

// Profile is what the v2 dialect keeps about a user beside sdkws.UserInfo.
// Blank and zero mean unset.
type Profile struct {
	Gender int32 // 1 male, 2 female
	Phone  string
	Email  string
	Birth  string // Unix seconds in digits, or a text of the app's own
}

func profileKey(id string) Key { return Key{Table: TableProfile, A: id} }

// merge takes over what in sets.
func (p *Profile) merge(in Profile) {
	p.Gender = cmp.Or(in.Gender, p.Gender)
	p.Phone, p.Email, p.Birth = cmp.Or(in.Phone, p.Phone), cmp.Or(in.Email, p.Email), cmp.Or(in.Birth, p.Birth)
}

// encode is gender, then the texts with their lengths. Fields are only ever added
// at the end; a shorter record of an older version has them unset.
func (p Profile) encode() []byte {
	out := binary.AppendVarint(nil, int64(p.Gender))
	for _, s := range []string{p.Phone, p.Email, p.Birth} {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	return out
}

func decodeProfile(b []byte) (p Profile, err error) {
	damaged := errors.New("core: profile record is damaged")
	gender, w := binary.Varint(b)
	if w <= 0 {
		return p, damaged
	}
	p.Gender, b = int32(gender), b[w:]
	for _, s := range []*string{&p.Phone, &p.Email, &p.Birth} {
		if len(b) == 0 {
			break
		}
		n, w := binary.Uvarint(b)
		if w <= 0 || uint64(len(b)-w) < n {
			return p, damaged
		}
		*s, b = string(b[w:w+int(n)]), b[w+int(n):]
	}
	return p, nil
}

// profile reads a user's record; the zero Profile when there is none.
func (c *Core) profile(r Reader, id string) (Profile, error) {
	b, err := r.Get(profileKey(id))
	if err != nil || b == nil {
		return Profile{}, err
	}
	return decodeProfile(b)
}

// RegisterUser creates a user with a v2 profile and a v2 token for him, in one
// commit. The caller has been authorised. It answers the token and its expiry in
// Unix seconds.
func (c *Core) RegisterUser(u *sdkws.UserInfo, p Profile, platform im.Platform) (token string, expires int64, err error) {
	if err := firstError(checkUserID(u.UserID), checkProfile(u)); err != nil {
		return "", 0, err
	}
	if !platform.Valid() {
		return "", 0, im.ErrArgs.With("platform is invalidate")
	}
	err = c.update([]string{userName(u.UserID)}, func(t *tx) error {
		if err := t.register(u); err != nil {
			return err
		}
		if p != (Profile{}) {
			t.put(profileKey(u.UserID), p.encode())
		}
		token, expires, err = t.issue(u.UserID, platform, DialectV2, false)
		return err
	})
	if err != nil {
		return "", 0, err
	}
	return token, expires, nil
}

// UpdateUserProfile applies the non-empty texts and non-zero numbers of in and p
// in one commit.
func (c *Core) UpdateUserProfile(from Caller, in *sdkws.UserInfo, p Profile) error {
	return c.updateUserIn(from, in.UserID, func(t *tx, u *sdkws.UserInfo) error {
		mergeUser(u, in)
		if p == (Profile{}) {
			return nil
		}
		now, err := c.profile(c.store.Latest(), in.UserID)
		if err != nil {
			return err
		}
		now.merge(p)
		t.put(profileKey(in.UserID), now.encode())
		return nil
	})
}

// UserProfile is a user with the v2 dialect's fields.
type UserProfile struct {
	*sdkws.UserInfo
	Profile
}

// UserProfiles answers known users in the order asked, repeated ones again. For
// administrators.
func (c *Core) UserProfiles(from Caller, ids []string) ([]UserProfile, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	list := make([]UserProfile, 0, len(ids))
	for _, id := range ids {
		u, err := c.user(view, id)
		if err != nil {
			return nil, err
		}
		if u == nil {
			continue
		}
		p, err := c.profile(view, id)
		if err != nil {
			return nil, err
		}
		list = append(list, UserProfile{u, p})
	}
	return list, nil
}
