package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
)

// Levels of UserInfo.appMangerLevel.
const (
	levelOrdinary            = 1
	levelAdmin               = 2
	levelNotificationAccount = 3 // and above: a system sender, cannot log in
)

// Bounds of profile fields, in bytes.
const (
	nicknameMax = 255
	faceURLMax  = 1024
	exMax       = 4096
)

// checkTexts bounds what users write to others beside messages.
func checkTexts(limit int, texts ...string) error {
	for _, s := range texts {
		if len(s) > limit {
			return im.ErrArgs.With("a text has more than %d bytes", limit)
		}
	}
	return nil
}

// registerMax is how many users one call may register.
const registerMax = 1000

func userKey(id string) Key { return Key{Table: TableUser, A: id} }

// user reads a profile; nil when the user does not exist.
func (c *Core) user(r Reader, id string) (*sdkws.UserInfo, error) {
	u := new(sdkws.UserInfo)
	ok, err := getProto(r, userKey(id), u)
	if err != nil || !ok {
		return nil, err
	}
	return u, nil
}

// mustUser reads a profile; ErrRecordNotFound when the user does not exist.
func (c *Core) mustUser(r Reader, id string) (*sdkws.UserInfo, error) {
	u, err := c.user(r, id)
	if err == nil && u == nil {
		err = im.ErrRecordNotFound.With("userID not found: %s", id)
	}
	return u, err
}

// checkUserID refuses IDs that a client could not put into its connection URL
// unescaped, or that are too long. OpenIM allows letters, digits and '_';
// '-', '.' and '@' are as safe.
func checkUserID(id string) error {
	if id == "" {
		return im.ErrArgs.With("userID is empty")
	}
	if len(id) > userIDMax {
		return im.ErrArgs.With("userID has more than %d bytes", userIDMax)
	}
	for _, r := range id {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.@", r) {
			return im.ErrArgs.With("userID %q holds %q; letters, digits and _-.@ are allowed", id, r)
		}
	}
	return nil
}

func checkProfile(u *sdkws.UserInfo) error {
	switch {
	case len(u.Nickname) > nicknameMax:
		return im.ErrArgs.With("nickname has more than %d bytes", nicknameMax)
	case len(u.FaceURL) > faceURLMax:
		return im.ErrArgs.With("faceURL has more than %d bytes", faceURLMax)
	case len(u.Ex) > exMax:
		return im.ErrArgs.With("ex has more than %d bytes", exMax)
	}
	return nil
}

// createAdmins makes the configured administrators that do not exist.
func (c *Core) createAdmins() error {
	names := make([]string, 0, len(c.opt.Admins))
	for _, id := range c.opt.Admins {
		if err := checkUserID(id); err != nil {
			return err
		}
		names = append(names, userName(id))
	}
	return c.update(names, func(t *tx) error {
		for i, id := range c.opt.Admins {
			u, err := c.user(c.store.Latest(), id)
			if err != nil {
				return err
			}
			if u != nil && u.AppMangerLevel == levelAdmin {
				continue
			}
			if u == nil {
				u = &sdkws.UserInfo{UserID: id, Nickname: fmt.Sprintf("system%d", i+1), CreateTime: c.nowMS()}
			}
			u.AppMangerLevel = levelAdmin
			if err := t.putProto(userKey(id), u); err != nil {
				return err
			}
			t.touch(id)
		}
		return nil
	})
}

// RegisterUsers creates users, all or none. The caller has been authorised: an
// administrator's token or a right secret.
func (c *Core) RegisterUsers(_ Caller, req *user.UserRegisterReq) (*user.UserRegisterResp, error) {
	if len(req.Users) == 0 {
		return nil, im.ErrArgs.With("users is empty")
	}
	if len(req.Users) > registerMax {
		return nil, im.ErrArgs.With("more than %d users", registerMax)
	}
	ids := make([]string, 0, len(req.Users))
	names := make([]string, 0, len(req.Users))
	for _, u := range req.Users {
		if u == nil {
			return nil, im.ErrArgs.With("users holds null")
		}
		ids = append(ids, u.UserID)
		names = append(names, userName(u.UserID))
	}
	if err := uniqueIDs(ids, "userID"); err != nil {
		return nil, err
	}
	for _, u := range req.Users {
		if err := firstError(checkUserID(u.UserID), checkProfile(u)); err != nil {
			return nil, err
		}
	}
	err := c.update(names, func(t *tx) error {
		for _, u := range req.Users {
			if err := t.register(u); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &user.UserRegisterResp{}, nil
}

// register writes a new user's row. Nobody becomes an administrator that way.
func (t *tx) register(u *sdkws.UserInfo) error {
	old, err := t.c.user(t.c.store.Latest(), u.UserID)
	if err != nil {
		return err
	}
	if old != nil {
		return im.ErrRegisteredAlready.With("userID registered already: %s", u.UserID)
	}
	row := &sdkws.UserInfo{
		UserID: u.UserID, Nickname: u.Nickname, FaceURL: u.FaceURL, Ex: u.Ex, CreateTime: t.c.nowMS(),
		AppMangerLevel: u.AppMangerLevel, GlobalRecvMsgOpt: u.GlobalRecvMsgOpt,
	}
	if row.AppMangerLevel == 0 || row.AppMangerLevel == levelAdmin {
		row.AppMangerLevel = levelOrdinary
	}
	t.touch(u.UserID)
	return t.putProto(userKey(u.UserID), row)
}

// UpdateUserInfo applies the non-empty strings and non-zero numbers given.
func (c *Core) UpdateUserInfo(from Caller, req *user.UpdateUserInfoReq) (*user.UpdateUserInfoResp, error) {
	in := req.UserInfo
	if in == nil {
		return nil, im.ErrArgs.With("userInfo is empty")
	}
	if err := c.updateUser(from, in.UserID, func(u *sdkws.UserInfo) { mergeUser(u, in) }); err != nil {
		return nil, err
	}
	return &user.UpdateUserInfoResp{}, nil
}

func mergeUser(u, in *sdkws.UserInfo) {
	u.Nickname = cmp.Or(in.Nickname, u.Nickname)
	u.FaceURL = cmp.Or(in.FaceURL, u.FaceURL)
	u.Ex = cmp.Or(in.Ex, u.Ex)
	u.GlobalRecvMsgOpt = cmp.Or(in.GlobalRecvMsgOpt, u.GlobalRecvMsgOpt)
}

// UpdateUserInfoEx sets exactly the fields given.
func (c *Core) UpdateUserInfoEx(from Caller, req *user.UpdateUserInfoExReq) (*user.UpdateUserInfoExResp, error) {
	in := req.UserInfo
	if in == nil {
		return nil, im.ErrArgs.With("userInfo is empty")
	}
	err := c.updateUser(from, in.UserID, func(u *sdkws.UserInfo) {
		if in.Nickname != nil {
			u.Nickname = in.Nickname.Value
		}
		if in.FaceURL != nil {
			u.FaceURL = in.FaceURL.Value
		}
		if in.Ex != nil {
			u.Ex = in.Ex.Value
		}
		if in.GlobalRecvMsgOpt != nil {
			u.GlobalRecvMsgOpt = in.GlobalRecvMsgOpt.Value
		}
	})
	if err != nil {
		return nil, err
	}
	return &user.UpdateUserInfoExResp{}, nil
}

// SetGlobalRecvMessageOpt sets how far a user wants to be disturbed at all.
func (c *Core) SetGlobalRecvMessageOpt(from Caller, req *user.SetGlobalRecvMessageOptReq) (*user.SetGlobalRecvMessageOptResp, error) {
	err := c.updateUser(from, req.UserID, func(u *sdkws.UserInfo) { u.GlobalRecvMsgOpt = req.GlobalRecvMsgOpt })
	if err != nil {
		return nil, err
	}
	return &user.SetGlobalRecvMessageOptResp{}, nil
}

// updateUser edits one profile and tells the user's devices (1303).
func (c *Core) updateUser(from Caller, id string, edit func(*sdkws.UserInfo)) error {
	return c.updateUserIn(from, id, func(_ *tx, u *sdkws.UserInfo) error {
		edit(u)
		return nil
	})
}

// updateUserIn is updateUser for an edit that writes more than the profile.
func (c *Core) updateUserIn(from Caller, id string, edit func(*tx, *sdkws.UserInfo) error) error {
	if err := from.self(id); err != nil {
		return err
	}
	who, err := c.whoSees(id)
	if err != nil {
		return err
	}
	return c.update(who.names(id), func(t *tx) error {
		u, err := c.mustUser(c.store.Latest(), id)
		if err != nil {
			return err
		}
		name, face := u.Nickname, u.FaceURL
		if err := firstError(edit(t, u), checkProfile(u)); err != nil {
			return err
		}
		if u.GlobalRecvMsgOpt < im.RecvNormal || u.GlobalRecvMsgOpt > im.RecvWithoutPush {
			return im.ErrArgs.With("globalRecvMsgOpt must be 0, 1 or 2")
		}
		if err := t.putProto(userKey(id), u); err != nil {
			return err
		}
		t.touch(id)
		err = t.notify(notice{
			kind: im.NotifyUserInfoUpdated, from: from.UserID, to: id, trace: from.OperationID,
			detail: &sdkws.UserInfoUpdatedTips{UserID: id},
		})
		if err != nil || (name == u.Nickname && face == u.FaceURL) {
			return err
		}
		return t.tellRenamed(from, u, who)
	})
}

// audience is who shows a user's name: those who have him as a friend, and his
// groups. It is read before the stripes are taken; whoever comes in between reads
// the new name anyway.
type audience struct {
	owners []string
	groups []string
}

func (c *Core) whoSees(id string) (a audience, err error) {
	r := c.store.Latest()
	if a.owners, err = second(r, TableFriendOf, id); err != nil {
		return a, err
	}
	a.groups, err = second(r, TableJoined, id)
	return a, err
}

// second lists the second key fields of a table's records under first.
func second(r Reader, table Table, first string) (ids []string, err error) {
	err = r.Scan(Range{Table: table, Fixed: 1, A: first}, func(k Key, _ []byte) bool {
		ids = append(ids, k.B)
		return true
	})
	return ids, err
}

// names lists the stripes of id and of all who see him.
func (a audience) names(id string) []string {
	names := []string{userName(id)}
	for _, o := range a.owners {
		names = append(names, userName(o))
	}
	for _, g := range a.groups {
		names = append(names, groupName(g))
	}
	return names
}

// tellRenamed moves the versions of the lists that show u's name, which this
// transaction changes, and tells their owners (1209) and groups (1516).
func (t *tx) tellRenamed(from Caller, u *sdkws.UserInfo, who audience) error {
	id := u.UserID
	for _, owner := range who.owners {
		if ok, err := t.isFriend(owner, id); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		if _, err := t.bump(friendsOf(owner), change{changeUpdate, id}); err != nil {
			return err
		}
		err := t.notify(notice{
			kind: im.NotifyFriendInfoUpdated, from: from.UserID, to: owner, trace: from.OperationID,
			detail: &sdkws.UserInfoUpdatedTips{UserID: id},
		})
		if err != nil {
			return err
		}
	}
	for _, groupID := range who.groups {
		info, err := t.c.group(t.c.store.Latest(), groupID)
		if err != nil {
			return err
		}
		if info == nil {
			continue
		}
		g := &groupTx{tx: t, from: from, info: info, now: t.c.nowMS(), renamed: u}
		m, err := g.member(id)
		if err != nil {
			return err
		}
		if m == nil || (m.Nickname != "" && m.FaceURL != "") {
			continue
		}
		if _, err := g.bump(membersOf(groupID), change{changeUpdate, id}); err != nil {
			return err
		}
		if err := g.tellMemberInfo(im.NotifyMemberInfoSet, m); err != nil {
			return err
		}
	}
	return nil
}

// GetDesignateUsers answers the profiles of known users, in the order asked.
func (c *Core) GetDesignateUsers(_ Caller, req *user.GetDesignateUsersReq) (*user.GetDesignateUsersResp, error) {
	if err := checkList(len(req.UserIDs), "users"); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	resp := &user.GetDesignateUsersResp{UsersInfo: []*sdkws.UserInfo{}}
	for _, id := range req.UserIDs {
		u, err := c.user(view, id)
		if err != nil {
			return nil, err
		}
		if u != nil {
			resp.UsersInfo = append(resp.UsersInfo, u)
		}
	}
	return resp, nil
}

// AccountCheck answers which IDs are registered (1) and which are not (0).
func (c *Core) AccountCheck(from Caller, req *user.AccountCheckReq) (*user.AccountCheckResp, error) {
	if err := uniqueIDs(req.CheckUserIDs, "userID"); err != nil {
		return nil, err
	}
	if err := from.admin(); err != nil {
		return nil, err
	}
	view := c.store.Committed()
	defer view.Release()
	resp := &user.AccountCheckResp{Results: []*user.AccountCheckRespSingleUserStatus{}}
	for _, id := range req.CheckUserIDs {
		b, err := view.Get(userKey(id))
		if err != nil {
			return nil, err
		}
		row := &user.AccountCheckRespSingleUserStatus{UserID: id}
		if b != nil {
			row.AccountStatus = 1
		}
		resp.Results = append(resp.Results, row)
	}
	return resp, nil
}

// GetPaginationUsers pages through all users in the order of their IDs,
// administrators included. With userID or nickName, those match whose ID equals
// the one or whose nickname contains the other, whatever the case. Any valid
// token may ask, as with OpenIM, but only an administrator for a page of more
// than listMax.
func (c *Core) GetPaginationUsers(from Caller, req *user.GetPaginationUsersReq) (*user.GetPaginationUsersResp, error) {
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	if !from.Admin {
		if err := checkList(int(req.Pagination.ShowNumber), "users"); err != nil {
			return nil, err
		}
	}
	nick := strings.ToLower(req.NickName)
	filter := func(u *sdkws.UserInfo) bool {
		if req.UserID == "" && nick == "" {
			return true
		}
		return (req.UserID != "" && strings.EqualFold(u.UserID, req.UserID)) ||
			(nick != "" && strings.Contains(strings.ToLower(u.Nickname), nick))
	}
	resp := &user.GetPaginationUsersResp{Users: []*sdkws.UserInfo{}}
	total, err := c.scanUsers(req.Pagination, filter, func(u *sdkws.UserInfo) { resp.Users = append(resp.Users, u) })
	resp.Total = int32(total)
	return resp, err
}

// GetAllUserID pages through the IDs of all users, ascending. Administrators only.
func (c *Core) GetAllUserID(from Caller, req *user.GetAllUserIDReq) (*user.GetAllUserIDResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if err := checkPage(req.Pagination); err != nil {
		return nil, err
	}
	resp := &user.GetAllUserIDResp{UserIDs: []string{}}
	total, err := c.scanUsers(req.Pagination, nil, func(u *sdkws.UserInfo) { resp.UserIDs = append(resp.UserIDs, u.UserID) })
	resp.Total = int32(total)
	return resp, err
}

// scanUsers walks all users that match and calls emit for those on the page. It
// returns how many match. It decodes only what it must.
func (c *Core) scanUsers(p *sdkws.RequestPagination, match func(*sdkws.UserInfo) bool, emit func(*sdkws.UserInfo)) (total int64, err error) {
	lo := int64(p.PageNumber-1) * int64(p.ShowNumber)
	hi := lo + int64(p.ShowNumber)
	view := c.store.Committed()
	defer view.Release()
	var damaged error
	err = view.Scan(Range{Table: TableUser}, func(_ Key, v []byte) bool {
		onPage := total >= lo && total < hi
		if match == nil && !onPage {
			total++
			return true
		}
		u := new(sdkws.UserInfo)
		if damaged = proto.Unmarshal(v, u); damaged != nil {
			return false
		}
		if match != nil && !match(u) {
			return true
		}
		if onPage {
			emit(u)
		}
		total++
		return true
	})
	return total, firstError(err, damaged)
}

// checkPage refuses a missing or impossible page.
func checkPage(p *sdkws.RequestPagination) error {
	switch {
	case p == nil:
		return im.ErrArgs.With("pagination is empty")
	case p.PageNumber < 1:
		return im.ErrArgs.With("pageNumber is invalid")
	case p.ShowNumber < 1:
		return im.ErrArgs.With("showNumber is invalid")
	}
	return nil
}

// Presence of a user in answers.
const (
	statusOffline = 0
	statusOnline  = 1
)

// GetUserStatus answers the platforms each user is online on.
func (c *Core) GetUserStatus(_ Caller, req *user.GetUserStatusReq) (*user.GetUserStatusResp, error) {
	if err := checkList(len(req.UserIDs), "users"); err != nil {
		return nil, err
	}
	resp := &user.GetUserStatusResp{StatusList: []*user.OnlineStatus{}}
	for _, id := range req.UserIDs {
		row := &user.OnlineStatus{UserID: id, Status: statusOffline, PlatformIDs: c.presence.platforms(id)}
		if len(row.PlatformIDs) > 0 {
			row.Status = statusOnline
		}
		resp.StatusList = append(resp.StatusList, row)
	}
	return resp, nil
}

// Sessions returns the live sessions of each user, for the administrator's
// routes that tell about connections.
func (c *Core) Sessions(from Caller, users []string) ([][]SessionRef, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	all := make([][]SessionRef, 0, len(users))
	for _, id := range users {
		refs := c.presence.appendSessions(nil, id)
		slices.SortFunc(refs, func(a, b SessionRef) int { return cmp.Compare(a.Platform, b.Platform) })
		all = append(all, refs)
	}
	return all, nil
}

// ServerTime answers the server's clock in ms.
func (c *Core) ServerTime(Caller, *msg.GetServerTimeReq) (*msg.GetServerTimeResp, error) {
	return &msg.GetServerTimeResp{ServerTime: c.nowMS()}, nil
}
