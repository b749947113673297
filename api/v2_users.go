package api

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"

	"gannet/core"
	"gannet/internal/im"
)

// Limits of the v2 dialect (contract §2.7): lists in elements, texts in characters.
const (
	statusMax      = 200
	accountsMax    = 100
	secretMax      = 32
	v2IDMax        = 64
	v2NicknameMax  = 64
	v2PhoneMax     = 32
	v2EmailMax     = 64
	v2FaceURLMax   = 1024
	v2ExMax        = 1024
	v2BirthTextMax = 16
)

// v2 holds the endpoints of the v2 dialect.
type v2 struct{ core *core.Core }

// readProfile reads what registration and update have in common.
func readProfile(o *object) (*sdkws.UserInfo, core.Profile) {
	u := &sdkws.UserInfo{
		UserID:   o.atMost("UserID", o.text("userID", "uid"), v2IDMax),
		Nickname: o.atMost("Nickname", o.text("nickname", "name"), v2NicknameMax),
		FaceURL:  o.atMost("FaceURL", o.text("faceURL", "icon"), v2FaceURLMax),
		Ex:       o.atMost("Ex", o.text("ex"), v2ExMax),
	}
	o.need("UserID", u.UserID != "")
	gender := o.digits("gender")
	o.oneOf("Gender", gender, 0, 1, 2)
	return u, core.Profile{
		Gender: int32(gender),
		Phone:  o.atMost("PhoneNumber", o.text("phoneNumber", "phoneNum", "mobile"), v2PhoneMax),
		Email:  o.atMost("Email", o.text("email"), v2EmailMax),
	}
}

// birthText is Unix seconds as they are stored; 0 is unset.
func birthText(seconds int64) string {
	if seconds == 0 {
		return ""
	}
	return strconv.FormatInt(seconds, 10)
}

// birth reads the birth of an update: a number, or a text, which need not be one.
func (o *object) birth() string {
	var texts, numbers object
	texts.texts, numbers.texts = o.texts, o.texts
	for _, name := range o.names {
		if strings.HasPrefix(string(o.texts[name]), `"`) {
			texts.names = append(texts.names, name)
		} else {
			numbers.names = append(numbers.names, name)
		}
	}
	if s := texts.text("birth"); s != "" {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return birthText(n)
		}
		return o.atMost("Birth", s, v2BirthTextMax)
	}
	n := numbers.digits("birth")
	if o.bad == nil {
		o.bad = numbers.bad
	}
	return birthText(n)
}

// readPlatform reads the platform of a token. 8 was the administrators' number
// before 10 was.
func (v v2) readPlatform(o *object) func(userID string) im.Platform {
	p := o.digits("platform")
	o.need("Platform", p != 0)
	if p != 0 {
		o.between("Platform", p, int64(im.PlatformIOS), int64(im.PlatformAdmin))
	}
	return func(userID string) im.Platform {
		if im.Platform(p) == im.PlatformAPad && v.core.IsAdmin(userID) {
			return im.PlatformAdmin
		}
		return im.Platform(p)
	}
}

func readSecret(o *object) string {
	secret := o.text("secret")
	o.need("Secret", secret != "")
	return o.atMost("Secret", secret, secretMax)
}

// v2Token is a token as the v2 dialect hands it out; ExpiredTime is in Unix
// seconds.
type v2Token struct {
	UserID      string `json:"userID"`
	Token       string `json:"token"`
	ExpiredTime int64  `json:"expiredTime"`
}

func (v v2) userRegister(o *object) spoken {
	secret := readSecret(o)
	platform := v.readPlatform(o)
	u, p := readProfile(o)
	p.Birth = birthText(o.digits("birth"))
	return func(core.Caller) (members, error) {
		if !v.core.SecretOK(secret) {
			return nil, wrongSecret()
		}
		token, expires, err := v.core.RegisterUser(u, p, platform(u.UserID))
		return as("data", &v2Token{u.UserID, token, expires}), err
	}
}

func (v v2) userToken(o *object) spoken {
	secret := readSecret(o)
	platform := v.readPlatform(o)
	id := o.atMost("UserID", o.text("userID", "uid"), v2IDMax)
	o.need("UserID", id != "")
	return func(core.Caller) (members, error) {
		if !v.core.SecretOK(secret) {
			return nil, wrongSecret()
		}
		token, expires, err := v.core.IssueToken(id, platform(id), core.DialectV2, false)
		if err != nil {
			f := explain(err)
			if f.status == http.StatusOK {
				f.more = as("data", &v2Token{UserID: id})
			}
			return nil, f
		}
		return as("data", &v2Token{id, token, expires}), nil
	}
}

// v2Status is a user's presence; Platforms is absent when he is offline.
type v2Status struct {
	UserID    string             `json:"userID"`
	Status    string             `json:"status"`
	Platforms []v2PlatformStatus `json:"detailPlatformStatus,omitempty"`
}

type v2PlatformStatus struct {
	Platform string `json:"platform"`
	Status   string `json:"status"`
}

func (v v2) onlineStatus(member string) func(*object) spoken {
	return func(o *object) spoken {
		ids := o.list("userIDList")
		o.need("UserIDList", ids != nil)
		o.length("UserIDList", ids, statusMax)
		return func(from core.Caller) (members, error) {
			resp, err := v.core.GetUserStatus(from, &user.GetUserStatusReq{UserIDs: ids})
			if err != nil {
				return nil, err
			}
			rows := make([]v2Status, len(resp.StatusList))
			for i, s := range resp.StatusList {
				rows[i] = v2Status{UserID: s.UserID, Status: "offline"}
				for _, p := range s.PlatformIDs {
					rows[i].Status = "online"
					rows[i].Platforms = append(rows[i].Platforms, v2PlatformStatus{im.Platform(p).String(), "online"})
				}
			}
			return as(member, &rows), nil
		}
	}
}

func (v v2) updateUserInfo(o *object) spoken {
	u, p := readProfile(o)
	p.Birth = o.birth()
	return func(from core.Caller) (members, error) {
		return nil, v.core.UpdateUserProfile(from, u, p)
	}
}

func (v v2) deleteUser(o *object) spoken {
	ids := o.list("deleteUidList", "deleteUserIDList", "userIDList")
	o.need("DeleteUidList", ids != nil)
	return func(from core.Caller) (members, error) {
		if !from.Admin {
			f := refused(v2NoPermission, "no permission")
			f.more = as("failedUidList", ids)
			return nil, f
		}
		failed, err := v.core.DeleteUsers(from, ids)
		return as("failedUidList", failed), err
	}
}

// v2User is a user as get_user_info names the fields.
type v2User struct {
	UID    string `json:"uid"`
	Name   string `json:"name"`
	Icon   string `json:"icon"`
	Gender int32  `json:"gender"`
	Mobile string `json:"mobile"`
	Birth  string `json:"birth"`
	Email  string `json:"email"`
	Ex     string `json:"ex"`
}

func (v v2) userInfo(o *object) spoken {
	ids := o.list("uidList", "userIDList")
	return func(from core.Caller) (members, error) {
		if len(ids) == 0 {
			return nil, refused(v2NoUIDs, "uidList is nil")
		}
		list, err := v.core.UserProfiles(from, ids)
		rows := make([]v2User, len(list))
		for i, u := range list {
			rows[i] = v2User{u.UserID, u.Nickname, u.FaceURL, u.Gender, u.Phone, u.Birth, u.Email, u.Ex}
		}
		return as("data", &rows), err
	}
}

// v2PublicUser is a user as get_users_info names the fields.
type v2PublicUser struct {
	UserID   string `json:"userID,omitempty"`
	Nickname string `json:"nickname,omitempty"`
	FaceURL  string `json:"faceURL,omitempty"`
	Gender   int32  `json:"gender,omitempty"`
	Ex       string `json:"ex,omitempty"`
}

func (v v2) usersInfo(o *object) spoken {
	ids := o.list("userIDList", "uidList")
	o.need("UserIDList", ids != nil)
	return func(from core.Caller) (members, error) {
		list, err := v.core.UserProfiles(from, ids)
		rows := make([]v2PublicUser, len(list))
		for i, u := range list {
			rows[i] = v2PublicUser{u.UserID, u.Nickname, u.FaceURL, u.Gender, u.Ex}
		}
		return as("data", &rows), err
	}
}

func (v v2) allUsers(member string) func(*object) spoken {
	return func(*object) spoken {
		return func(from core.Caller) (members, error) {
			resp, err := v.core.GetAllUserID(from, &user.GetAllUserIDReq{
				Pagination: &sdkws.RequestPagination{PageNumber: 1, ShowNumber: math.MaxInt32},
			})
			if err != nil {
				return nil, err
			}
			return as(member, resp.UserIDs), nil
		}
	}
}

func (v v2) accountCheck(member string) func(*object) spoken {
	return func(o *object) spoken {
		ids := o.list("userIDList", "checkUserIDList", "checkUserIDs")
		o.need("UserIDList", ids != nil)
		o.length("UserIDList", ids, accountsMax)
		return func(from core.Caller) (members, error) {
			// Core wants each ID once; here they may repeat.
			status := make(map[string]string, len(ids))
			req := &user.AccountCheckReq{}
			for _, id := range ids {
				if _, seen := status[id]; !seen && id != "" {
					req.CheckUserIDs = append(req.CheckUserIDs, id)
				}
				status[id] = "unregistered"
			}
			resp, err := v.core.AccountCheck(from, req)
			if err != nil {
				return nil, err
			}
			for _, r := range resp.Results {
				if r.AccountStatus != 0 {
					status[r.UserID] = "registered"
				}
			}
			rows := make([]accountStatus, len(ids))
			for i, id := range ids {
				rows[i] = accountStatus{id, status[id]}
			}
			return as(member, &rows), nil
		}
	}
}

// v2Result tells what became of one user of a list: 0 done, -1 not.
type v2Result struct {
	UserID string `json:"userID"`
	Result int    `json:"result"`
}

// results lists what became of ids, of which done were done. With once, the second
// mention of one was not.
func results(ids, done []string, once bool) *[]v2Result {
	left := make(map[string]bool, len(done))
	for _, id := range done {
		left[id] = true
	}
	rows := make([]v2Result, len(ids))
	for i, id := range ids {
		rows[i] = v2Result{id, -1}
		if left[id] {
			rows[i].Result = 0
			left[id] = !once
		}
	}
	return &rows
}

func (v v2) importFriend(o *object) spoken {
	owner := o.text("fromUserID", "ownerUid", "ownerUserID")
	o.need("FromUserID", owner != "")
	friends := o.oneOrMore("friendUserIDList", "uidList")
	o.need("FriendUserIDList", friends != nil)
	return func(from core.Caller) (members, error) {
		done, err := v.core.ImportFriendsLenient(from, owner, friends)
		if f := explainIf(err); f != nil && f.code == v2DBFailed {
			f.text = "this user not exists,cant not add friend"
			return nil, f
		}
		return as("data", results(friends, done, false)), err
	}
}

// explainIf is explain for an error that may be nil.
func explainIf(err error) *failure {
	if err == nil {
		return nil
	}
	return explain(err)
}

func (v v2) addBlack(o *object) spoken {
	to := o.text("toUserID", "uid")
	o.need("ToUserID", to != "")
	owner := o.text("fromUserID", "ownerUid", "ownerUserID")
	return func(from core.Caller) (members, error) {
		if owner == "" && from.Admin {
			o.need("FromUserID", false)
			return nil, o.err()
		}
		if owner == "" {
			owner = from.UserID
		}
		fresh, err := v.core.Block(from, owner, to, "")
		if err == nil && !fresh {
			err = refused(v2DBFailed, "db failed: the user is on the list already")
		}
		return nil, err
	}
}
