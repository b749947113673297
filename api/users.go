package api

import (
	"strconv"
	"time"

	"github.com/openimsdk/protocol/auth"
	"github.com/openimsdk/protocol/msggateway"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"

	"gannet/core"
	"gannet/internal/im"
)

// call is the shape of all of core's operations.
type call[Req, Resp any] func(core.Caller, *Req) (*Resp, error)

// userTokenReq is the body of /auth/user_token, which needs no administrator.
type userTokenReq struct {
	Secret     string `json:"secret"`
	PlatformID int32  `json:"platformID"`
	UserID     string `json:"userID"`
}

func (r *userTokenReq) Check() error {
	switch {
	case r.UserID == "":
		return im.ErrArgs.With("userID is empty")
	case !im.Platform(r.PlatformID).Valid():
		return im.ErrArgs.With("platform is invalidate")
	}
	return nil
}

// userToken issues a token to who knows a secret; earlier tokens stay valid.
func userToken(c *core.Core) call[userTokenReq, auth.GetUserTokenResp] {
	return func(_ core.Caller, req *userTokenReq) (*auth.GetUserTokenResp, error) {
		if !c.SecretOK(req.Secret) {
			return nil, errSecret()
		}
		token, _, err := c.IssueToken(req.UserID, im.Platform(req.PlatformID), core.DialectV3, false)
		if err != nil {
			return nil, err
		}
		return &auth.GetUserTokenResp{Token: token, ExpireTimeSeconds: int64(c.Options().TokenLife / time.Second)}, nil
	}
}

func errSecret() error { return im.ErrNoPermission.With("secret invalid") }

// userRegisterReq is user.UserRegisterReq with the secret of v3.4; core checks the
// rows.
type userRegisterReq struct {
	Secret string            `json:"secret"`
	Users  []*sdkws.UserInfo `json:"users"`
}

func (r *userRegisterReq) Check() error {
	switch {
	case r.Users == nil:
		return im.ErrArgs.With("Users is empty")
	case len(r.Users) == 0:
		return im.ErrArgs.With("users is empty")
	}
	return nil
}

// userRegister creates users for an administrator or for who knows a secret.
func userRegister(c *core.Core) call[userRegisterReq, user.UserRegisterResp] {
	return func(from core.Caller, req *userRegisterReq) (*user.UserRegisterResp, error) {
		if !from.Admin && !c.SecretOK(req.Secret) {
			if from.UserID != "" && req.Secret == "" {
				return nil, notAdmin(from)
			}
			return nil, errSecret()
		}
		return c.RegisterUsers(from, &user.UserRegisterReq{Users: req.Users})
	}
}

func notAdmin(from core.Caller) error {
	return im.ErrNoPermission.With("user %s is not admin userID", from.UserID)
}

// accountCheckResp answers in words, as the v3.4 documents do; protocol's type has
// the numbers of v3.8.
type accountCheckResp struct {
	Results []accountStatus `json:"results"`
}

type accountStatus struct {
	UserID        string `json:"userID"`
	AccountStatus string `json:"accountStatus"`
}

func accountCheck(c *core.Core) call[user.AccountCheckReq, accountCheckResp] {
	return func(from core.Caller, req *user.AccountCheckReq) (*accountCheckResp, error) {
		in, err := c.AccountCheck(from, req)
		if err != nil {
			return nil, err
		}
		out := &accountCheckResp{Results: make([]accountStatus, len(in.Results))}
		for i, r := range in.Results {
			out.Results[i] = accountStatus{r.UserID, "unregistered"}
			if r.AccountStatus != 0 {
				out.Results[i].AccountStatus = "registered"
			}
		}
		return out, nil
	}
}

type onlineStatus = msggateway.GetUsersOnlineStatusResp_SuccessResult

// usersOnlineStatus tells of each user's connections. It never names their tokens.
func usersOnlineStatus(c *core.Core) call[msggateway.GetUsersOnlineStatusReq, []*onlineStatus] {
	return func(from core.Caller, req *msggateway.GetUsersOnlineStatusReq) (*[]*onlineStatus, error) {
		all, err := c.Sessions(from, req.UserIDs)
		if err != nil {
			return nil, err
		}
		rows := make([]*onlineStatus, len(all))
		for i, refs := range all {
			row := &onlineStatus{UserID: req.UserIDs[i]}
			for _, ref := range refs {
				row.Status = 1
				row.DetailPlatformStatus = append(row.DetailPlatformStatus, &msggateway.GetUsersOnlineStatusResp_SuccessDetail{
					PlatformID: int32(ref.Platform), ConnID: strconv.FormatUint(ref.ID, 16), IsBackground: ref.Background,
				})
			}
			rows[i] = row
		}
		return &rows, nil
	}
}

// usersOnlineTokens counts the connections of those who are online by platform.
// The server does not keep tokens, so it cannot name them.
func usersOnlineTokens(c *core.Core) call[msggateway.GetUsersOnlineStatusReq, []*msggateway.SingleDetail] {
	return func(from core.Caller, req *msggateway.GetUsersOnlineStatusReq) (*[]*msggateway.SingleDetail, error) {
		all, err := c.Sessions(from, req.UserIDs)
		if err != nil {
			return nil, err
		}
		rows := []*msggateway.SingleDetail{}
		for i, refs := range all {
			if len(refs) == 0 {
				continue
			}
			row := &msggateway.SingleDetail{UserID: req.UserIDs[i], Status: 1}
			for _, ref := range refs { // ascending by platform
				n := len(row.SinglePlatformToken)
				if n == 0 || row.SinglePlatformToken[n-1].PlatformID != int32(ref.Platform) {
					row.SinglePlatformToken = append(row.SinglePlatformToken, &msggateway.SinglePlatformToken{PlatformID: int32(ref.Platform)})
					n++
				}
				row.SinglePlatformToken[n-1].Total++
			}
			rows = append(rows, row)
		}
		return &rows, nil
	}
}
