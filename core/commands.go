package core

import (
	"strconv"

	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"google.golang.org/protobuf/proto"

	"gannet/internal/im"
)

// User commands are a small store of a user's own: favourites, notes. The key is
// (user, type, uuid).

// Bounds in bytes: of uuid, value and ex each, and of all of a user's commands
// together, because clients read them in one answer.
const (
	commandFieldMax = 64 << 10
	commandsMax     = 8 << 20
)

func commandKey(userID string, kind int32, uuid string) Key {
	return Key{Table: TableCommand, A: userID, B: strconv.Itoa(int(kind)) + "/" + uuid}
}

func checkCommand(kind int32, uuid, value, ex string) error {
	switch {
	case kind == 0:
		return im.ErrArgs.With("type is empty")
	case uuid == "":
		return im.ErrArgs.With("uuid is empty")
	case len(uuid) > commandFieldMax || len(value) > commandFieldMax || len(ex) > commandFieldMax:
		return im.ErrArgs.With("a field has more than %d bytes", commandFieldMax)
	}
	return nil
}

// editCommand runs edit on the user's command under his stripe and tells his
// devices. edit gets nil when there is none, and returns nil to delete it.
func (c *Core) editCommand(from Caller, userID string, k Key, tell int32, edit func(*user.CommandInfoResp) (*user.CommandInfoResp, error)) error {
	if err := from.self(userID); err != nil {
		return err
	}
	return c.update([]string{userName(userID)}, func(t *tx) error {
		old := new(user.CommandInfoResp)
		ok, err := getProto(c.store.Latest(), k, old)
		if err != nil {
			return err
		}
		if !ok {
			old = nil
		}
		row, err := edit(old)
		if err != nil {
			return err
		}
		if row == nil {
			t.del(k)
		} else if err := firstError(c.roomForCommand(userID, k, proto.Size(row)), t.putProto(k, row)); err != nil {
			return err
		}
		return t.notify(notice{
			kind: tell, from: userID, to: userID, trace: from.OperationID,
			detail: &sdkws.UserCommandAddTips{FromUserID: userID, ToUserID: userID},
		})
	})
}

// roomForCommand fails when the user's commands and one of size under k are too much.
func (c *Core) roomForCommand(userID string, k Key, size int) error {
	err := c.store.Latest().Scan(Range{Table: TableCommand, Fixed: 1, A: userID}, func(old Key, v []byte) bool {
		if old.B != k.B {
			size += len(v)
		}
		return size <= commandsMax
	})
	if err == nil && size > commandsMax {
		err = im.ErrArgs.With("the user's commands have more than %d bytes", commandsMax)
	}
	return err
}

// ProcessUserCommandAdd stores a command, replacing one with the same key.
func (c *Core) ProcessUserCommandAdd(from Caller, req *user.ProcessUserCommandAddReq) (*user.ProcessUserCommandAddResp, error) {
	if err := checkCommand(req.Type, req.Uuid, req.Value.GetValue(), req.Ex.GetValue()); err != nil {
		return nil, err
	}
	err := c.editCommand(from, req.UserID, commandKey(req.UserID, req.Type, req.Uuid), im.NotifyCommandAdd,
		func(*user.CommandInfoResp) (*user.CommandInfoResp, error) {
			return &user.CommandInfoResp{
				Type: req.Type, Uuid: req.Uuid, Value: req.Value.GetValue(), Ex: req.Ex.GetValue(), CreateTime: c.nowMS() / 1000,
			}, nil
		})
	return &user.ProcessUserCommandAddResp{}, err
}

// ProcessUserCommandDelete removes a command.
func (c *Core) ProcessUserCommandDelete(from Caller, req *user.ProcessUserCommandDeleteReq) (*user.ProcessUserCommandDeleteResp, error) {
	err := c.editCommand(from, req.UserID, commandKey(req.UserID, req.Type, req.Uuid), im.NotifyCommandDelete,
		func(old *user.CommandInfoResp) (*user.CommandInfoResp, error) {
			if old == nil {
				return nil, im.ErrRecordNotFound.With("no command %d/%s", req.Type, req.Uuid)
			}
			return nil, nil
		})
	return &user.ProcessUserCommandDeleteResp{}, err
}

// ProcessUserCommandUpdate changes the given fields of a command.
func (c *Core) ProcessUserCommandUpdate(from Caller, req *user.ProcessUserCommandUpdateReq) (*user.ProcessUserCommandUpdateResp, error) {
	if err := checkCommand(req.Type, req.Uuid, req.Value.GetValue(), req.Ex.GetValue()); err != nil {
		return nil, err
	}
	err := c.editCommand(from, req.UserID, commandKey(req.UserID, req.Type, req.Uuid), im.NotifyCommandUpdate,
		func(old *user.CommandInfoResp) (*user.CommandInfoResp, error) {
			if old == nil {
				return nil, im.ErrRecordNotFound.With("no command %d/%s", req.Type, req.Uuid)
			}
			if req.Value != nil {
				old.Value = req.Value.Value
			}
			if req.Ex != nil {
				old.Ex = req.Ex.Value
			}
			return old, nil
		})
	return &user.ProcessUserCommandUpdateResp{}, err
}

// commands lists the user's commands.
func (c *Core) commands(from Caller, userID string, keep func(*user.CommandInfoResp)) error {
	if err := from.self(userID); err != nil {
		return err
	}
	view := c.store.Committed()
	defer view.Release()
	var damaged error
	err := view.Scan(Range{Table: TableCommand, Fixed: 1, A: userID}, func(_ Key, v []byte) bool {
		row := new(user.CommandInfoResp)
		if damaged = proto.Unmarshal(v, row); damaged == nil {
			keep(row)
		}
		return damaged == nil
	})
	return firstError(err, damaged)
}

// ProcessUserCommandGet answers the commands of one type.
func (c *Core) ProcessUserCommandGet(from Caller, req *user.ProcessUserCommandGetReq) (*user.ProcessUserCommandGetResp, error) {
	resp := &user.ProcessUserCommandGetResp{CommandResp: []*user.CommandInfoResp{}}
	err := c.commands(from, req.UserID, func(row *user.CommandInfoResp) {
		if row.Type == req.Type {
			resp.CommandResp = append(resp.CommandResp, row)
		}
	})
	return resp, err
}

// ProcessUserCommandGetAll answers all commands.
func (c *Core) ProcessUserCommandGetAll(from Caller, req *user.ProcessUserCommandGetAllReq) (*user.ProcessUserCommandGetAllResp, error) {
	resp := &user.ProcessUserCommandGetAllResp{CommandResp: []*user.AllCommandInfoResp{}}
	err := c.commands(from, req.UserID, func(row *user.CommandInfoResp) {
		resp.CommandResp = append(resp.CommandResp, &user.AllCommandInfoResp{
			Type: row.Type, CreateTime: row.CreateTime, Uuid: row.Uuid, Value: row.Value, Ex: row.Ex,
		})
	})
	return resp, err
}
