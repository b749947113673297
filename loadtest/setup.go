//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gannet/internal/im"
)

const (
	listMax      = 1000 // users in one request; the contract's bound on lists
	tokenCallers = 16   // requests for tokens in flight
	apiTimeout   = 30 * time.Second
	answerMax    = 4 << 20
)

// envelope is every answer of the HTTP API and a refused handshake's body.
type envelope struct {
	ErrCode int             `json:"errCode"`
	ErrMsg  string          `json:"errMsg"`
	ErrDlt  string          `json:"errDlt"`
	Data    json.RawMessage `json:"data"`
}

func (e *envelope) err() error { return &im.Error{Code: e.ErrCode, Name: e.ErrMsg, Detail: e.ErrDlt} }

// api calls the HTTP API over kept connections. It is safe for concurrent use.
type api struct {
	base  string
	token string // the administrator's, after login
	http  http.Client
	calls atomic.Int64
}

func newAPI(base string) *api {
	return &api{base: base, http: http.Client{
		Timeout:   apiTimeout,
		Transport: &http.Transport{MaxIdleConnsPerHost: tokenCallers},
	}}
}

func (a *api) login(ctx context.Context, secret, admin string) error {
	var answer struct{ Token string }
	err := a.call(ctx, "/auth/get_admin_token", map[string]any{"secret": secret, "userID": admin}, &answer)
	a.token = answer.Token
	return err
}

// call posts request as the administrator and decodes the answer's data. A refusal is
// an *im.Error.
func (a *api) call(ctx context.Context, path string, request, answer any) error {
	return a.callAs(ctx, a.token, path, request, answer)
}

func (a *api) callAs(ctx context.Context, token, path string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("operationID", "loadtest-"+strconv.FormatInt(a.calls.Add(1), 10))
	if token != "" {
		r.Header.Set("token", token)
	}
	resp, err := a.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("%s: status %s, not an answer of the API: %w", path, resp.Status, err)
	}
	if e.ErrCode != 0 {
		return fmt.Errorf("%s: %w", path, e.err())
	}
	if answer == nil || len(e.Data) == 0 {
		return nil
	}
	return json.Unmarshal(e.Data, answer)
}

// account is one simulated user.
type account struct{ UserID, Nickname, Token string }

// newAccounts names n users.
func newAccounts(prefix string, n int) []account {
	users := make([]account, n)
	for i := range users {
		users[i] = account{UserID: fmt.Sprintf("%s_%06d", prefix, i), Nickname: fmt.Sprintf("Load %d", i)}
	}
	return users
}

// registerAll registers users, where they are not yet.
func (a *api) registerAll(ctx context.Context, users []account) error {
	for at := 0; at < len(users); at += listMax {
		if err := a.register(ctx, users[at:min(len(users), at+listMax)]); err != nil {
			return err
		}
	}
	return nil
}

// createGroup makes a group of users, the first of them its owner.
func (a *api) createGroup(ctx context.Context, group string, users []account) error {
	ids := make([]string, len(users))
	for i := range users {
		ids[i] = users[i].UserID
	}
	first := ids[1:min(len(ids), listMax)]
	err := a.call(ctx, "/group/create_group", map[string]any{
		"ownerUserID": ids[0], "memberUserIDs": first, "adminUserIDs": []string{},
		"groupInfo": map[string]any{"groupID": group, "groupName": group, "groupType": 2},
	}, nil)
	for at := 1 + len(first); at < len(ids) && err == nil; at += listMax {
		err = a.invite(ctx, group, ids[at:min(len(ids), at+listMax)])
	}
	return err
}

func (a *api) invite(ctx context.Context, group string, ids []string) error {
	return a.call(ctx, "/group/invite_user_to_group", map[string]any{"groupID": group, "reason": "load", "invitedUserIDs": ids}, nil)
}

func (a *api) kick(ctx context.Context, group string, ids []string) error {
	return a.call(ctx, "/group/kick_group", map[string]any{"groupID": group, "reason": "load", "kickedUserIDs": ids}, nil)
}

// register registers a batch. The server takes all or none, so that a batch with
// known users is sent again without them.
func (a *api) register(ctx context.Context, users []account) error {
	err := a.call(ctx, "/user/user_register", registration(users), nil)
	if !errors.Is(err, im.ErrRegisteredAlready) {
		return err
	}
	ids := make([]string, len(users))
	for i := range users {
		ids[i] = users[i].UserID
	}
	var answer struct {
		Results []struct {
			UserID        string
			AccountStatus any // 1 or "registered", by the server's version
		}
	}
	if err := a.call(ctx, "/user/account_check", map[string]any{"checkUserIDs": ids}, &answer); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, r := range answer.Results {
		status := fmt.Sprint(r.AccountStatus)
		known[r.UserID] = status == "1" || status == "registered"
	}
	var missing []account
	for _, u := range users {
		if !known[u.UserID] {
			missing = append(missing, u)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return a.call(ctx, "/user/user_register", registration(missing), nil)
}

func registration(users []account) any {
	list := make([]map[string]string, len(users))
	for i, u := range users {
		list[i] = map[string]string{"userID": u.UserID, "nickname": u.Nickname}
	}
	return map[string]any{"users": list}
}

// tokens gets every user a token, tokenCallers at a time, and stops at the first error.
func (a *api) tokens(ctx context.Context, users []account, platform im.Platform) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(tokenCallers, len(users)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(users)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				var answer struct{ Token string }
				err := a.call(ctx, "/auth/get_user_token",
					map[string]any{"userID": users[i].UserID, "platformID": platform}, &answer)
				if err != nil {
					cancel(err)
				}
				users[i].Token = answer.Token
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
