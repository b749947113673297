package core

import (
	"github.com/openimsdk/protocol/msg"

	"gannet/internal/im"
)

// BusinessNotification is an AppServer's own notification to a user or a group
// (content type 2001). Clients hand key and data to the app.
type BusinessNotification struct {
	Key, Data   string
	SendUserID  string
	RecvUserID  string // either this
	RecvGroupID string // or this
	SendMsg     bool   // also appears as a message of the chat
	Reliability int    // 1 (or 0): for who is online; 2: stored
}

// businessDetail is the detail of a 2001 notification.
type businessDetail struct {
	Key  string `json:"key"`
	Data string `json:"data"`
}

// SendBusinessNotification sends n for an administrator. It returns when what is
// to be stored is durable.
func (c *Core) SendBusinessNotification(from Caller, n BusinessNotification) (*msg.SendMsgResp, error) {
	if err := from.admin(); err != nil {
		return nil, err
	}
	if n.SendUserID == "" {
		return nil, im.ErrArgs.With("sendUserID is empty")
	}
	if (n.RecvUserID == "") == (n.RecvGroupID == "") {
		return nil, im.ErrArgs.With("either recvUserID or recvGroupID must be given")
	}
	if len(n.Key)+len(n.Data) > messageMax/4 { // JSON in JSON may be four times as long
		return nil, im.ErrArgs.With("key and data have more than %d bytes", messageMax/4)
	}
	names := []string{userName(n.SendUserID), userName(n.RecvUserID), groupName(n.RecvGroupID)}
	var sent *message
	err := c.update(names, func(t *tx) error {
		latest := c.store.Latest()
		if n.RecvGroupID != "" {
			g, err := c.group(latest, n.RecvGroupID)
			if err != nil {
				return err
			}
			if g == nil {
				return im.ErrGroupIDNotFound.With("group %s not found", n.RecvGroupID)
			}
		} else if _, err := c.mustUser(latest, n.RecvUserID); err != nil {
			return err
		}
		err := t.notify(notice{
			kind: im.NotifyBusiness, from: n.SendUserID, to: n.RecvUserID, group: n.RecvGroupID, trace: from.OperationID,
			detail: businessDetail{n.Key, n.Data}, rule: &noticeRule{reliable: n.Reliability == 2, asMessage: n.SendMsg},
		})
		if err == nil {
			sent = t.msgs[len(t.msgs)-1]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &msg.SendMsgResp{ServerMsgID: sent.serverID, ClientMsgID: string(sent.head.ClientMsgID), SendTime: sent.sendTime}, nil
}
