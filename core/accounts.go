package core

import (
	"cmp"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"

	"gannet/internal/im"
)

// Notification accounts are users that the system speaks as: they cannot log in
// and may send OA notices (1400). Administrators manage them.

// AddNotificationAccount creates one; without an ID the server makes one of ten
// digits.
func (c *Core) AddNotificationAccount(from Caller, req *user.AddNotificationAccountReq) (*user.AddNotificationAccountResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	level := cmp.Or(req.AppMangerLevel, levelNotificationAccount)
	if level < levelNotificationAccount {
		return nil, im.ErrArgs.With("appMangerLevel must be at least %d", levelNotificationAccount)
	}
	if req.UserID != "" {
		if err := checkUserID(req.UserID); err != nil {
			return nil, err
		}
	}
	row := &sdkws.UserInfo{Nickname: req.NickName, FaceURL: req.FaceURL, AppMangerLevel: level}
	if err := checkProfile(row); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		row.UserID = req.UserID
		if row.UserID == "" {
			row.UserID = strconv.FormatInt(1e9+rand.Int64N(9e9), 10)
		}
		taken := false
		err := c.update([]string{userName(row.UserID)}, func(t *tx) error {
			old, err := c.user(c.store.Latest(), row.UserID)
			if err != nil {
				return err
			}
			if old != nil {
				taken = true
				return im.ErrArgs.With("userID %s is in use", row.UserID)
			}
			row.CreateTime = c.nowMS()
			t.touch(row.UserID)
			return t.putProto(userKey(row.UserID), row)
		})
		if taken && req.UserID == "" && try < 16 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &user.AddNotificationAccountResp{
			UserID: row.UserID, NickName: row.Nickname, FaceURL: row.FaceURL, AppMangerLevel: row.AppMangerLevel,
		}, nil
	}
}

// UpdateNotificationAccountInfo changes the non-empty fields of one.
func (c *Core) UpdateNotificationAccountInfo(from Caller, req *user.UpdateNotificationAccountInfoReq) (*user.UpdateNotificationAccountInfoResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	err := c.update([]string{userName(req.UserID)}, func(t *tx) error {
		u, err := c.user(c.store.Latest(), req.UserID)
		if err != nil {
			return err
		}
		if u == nil || u.AppMangerLevel < levelNotificationAccount {
			return im.ErrArgs.With("user %s is no notification account", req.UserID)
		}
		u.Nickname = cmp.Or(req.NickName, u.Nickname)
		u.FaceURL = cmp.Or(req.FaceURL, u.FaceURL)
		if err := checkProfile(u); err != nil {
			return err
		}
		t.touch(req.UserID)
		return t.putProto(userKey(req.UserID), u)
	})
	if err != nil {
		return nil, err
	}
	return &user.UpdateNotificationAccountInfoResp{}, nil
}

// SearchNotificationAccount pages through those whose ID equals the keyword or
// whose name contains it.
func (c *Core) SearchNotificationAccount(from Caller, req *user.SearchNotificationAccountReq) (*user.SearchNotificationAccountResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	word := strings.ToLower(req.Keyword)
	resp := &user.SearchNotificationAccountResp{NotificationAccounts: []*user.NotificationAccountInfo{}}
	total, err := c.scanUsers(req.Pagination, func(u *sdkws.UserInfo) bool {
		return u.AppMangerLevel >= levelNotificationAccount && !c.admins[u.UserID] &&
			(req.AppManagerLevel == nil || u.AppMangerLevel == *req.AppManagerLevel) &&
			(strings.EqualFold(u.UserID, req.Keyword) || strings.Contains(strings.ToLower(u.Nickname), word))
	}, func(u *sdkws.UserInfo) {
		resp.NotificationAccounts = append(resp.NotificationAccounts, &user.NotificationAccountInfo{
			UserID: u.UserID, NickName: u.Nickname, FaceURL: u.FaceURL, AppMangerLevel: u.AppMangerLevel,
		})
	})
	resp.Total = total
	return resp, err
}
