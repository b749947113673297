package api

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/openimsdk/protocol/jssdk"
	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/sdkws"
	"github.com/openimsdk/protocol/user"
	"google.golang.org/protobuf/proto"

	"gannet/core"
	"gannet/internal/im"
	"gannet/internal/wire"
)

// batchWorkers is how many messages of one batch_send_msg are in flight at once:
// enough that a thousand receivers share a few commits.
const batchWorkers = 128

// messages holds the endpoints that send.
type messages struct {
	core *core.Core
	sent *sentLog
}

func newMessages(c *core.Core) *messages { return &messages{core: c, sent: newSentLog(sentLogMax)} }

// sendBody is what send_msg and batch_send_msg have in common.
type sendBody struct {
	SendID           string                 `json:"sendID"`
	GroupID          string                 `json:"groupID"`
	SenderNickname   string                 `json:"senderNickname"`
	SenderFaceURL    string                 `json:"senderFaceURL"`
	SenderPlatformID int32                  `json:"senderPlatformID"`
	Content          json.RawMessage        `json:"content"`
	ContentType      int32                  `json:"contentType"`
	SessionType      int32                  `json:"sessionType"`
	IsOnlineOnly     bool                   `json:"isOnlineOnly"`
	NotOfflinePush   bool                   `json:"notOfflinePush"`
	SendTime         int64                  `json:"sendTime"`
	OfflinePushInfo  *sdkws.OfflinePushInfo `json:"offlinePushInfo"`
	Ex               string                 `json:"ex"`
}

type sendReq struct {
	sendBody
	RecvID string `json:"recvID"`
}

type sendBatchReq struct {
	sendBody
	RecvIDs   []string `json:"recvIDs"`
	IsSendAll bool     `json:"isSendAll"`
}

// Check is named like the protocol's; what it needs of RecvID, message knows.
func (b *sendBody) Check() error {
	switch {
	case b.SendID == "":
		return im.ErrArgs.With("sendID is empty")
	case len(b.Content) == 0 || string(b.Content) == "null":
		return im.ErrArgs.With("content is empty")
	case b.ContentType == 0:
		return im.ErrArgs.With("contentType is empty")
	case b.SessionType == 0:
		return im.ErrArgs.With("sessionType is empty")
	}
	return nil
}

func (r *sendBatchReq) Check() error {
	if r.RecvIDs == nil {
		return im.ErrArgs.With("recvIDs is empty")
	}
	return r.sendBody.Check()
}

// message makes the message that the body describes, still without a receiver.
func (b *sendBody) message() (*sdkws.MsgData, error) {
	content, at, err := checkContent(b.ContentType, b.Content)
	if err != nil {
		return nil, err
	}
	d := &sdkws.MsgData{
		SendID: b.SendID, GroupID: b.GroupID, SenderPlatformID: b.SenderPlatformID,
		SenderNickname: b.SenderNickname, SenderFaceURL: b.SenderFaceURL,
		SessionType: b.SessionType, ContentType: b.ContentType, Content: content, AtUserIDList: at,
		SendTime: b.SendTime, OfflinePushInfo: b.OfflinePushInfo, Ex: b.Ex,
	}
	if b.ContentType == im.ContentOANotification {
		d.SessionType = im.NotificationChat
		if d.Content, err = wire.NotificationContent(json.RawMessage(content)); err != nil {
			return nil, err
		}
	}
	if d.SessionType != im.GroupChat {
		d.GroupID = ""
	}
	d.Options = b.options()
	return d, nil
}

func (b *sendBody) options() map[string]bool {
	options := make(map[string]bool)
	if b.IsOnlineOnly {
		for _, o := range []string{im.OptHistory, im.OptPersistent, im.OptSenderSync, im.OptConversationUpdate} {
			options[o] = false
		}
	}
	if b.NotOfflinePush {
		options[im.OptOfflinePush] = false
	}
	return options
}

// send is send_msg. A group's message ignores recvID, which OpenIM demanded.
func (m *messages) send(from core.Caller, req *sendReq) (*msg.SendMsgResp, error) {
	d, err := req.message()
	if err != nil {
		return nil, err
	}
	if d.SessionType != im.GroupChat {
		d.RecvID = req.RecvID
	}
	if !from.Admin {
		return nil, notAdmin(from)
	}
	m.sent.set(from.OperationID, im.MsgStatusSending)
	resp, err := m.core.SendMsg(from, &msg.SendMsgReq{MsgData: d})
	if err != nil {
		m.sent.set(from.OperationID, im.MsgStatusFailed)
		return nil, err
	}
	m.sent.set(from.OperationID, im.MsgStatusSent)
	return resp, nil
}

type sendBatchResp struct {
	Results       []sentTo `json:"results"`
	FailedUserIDs []string `json:"failedUserIDs"`
}

type sentTo struct {
	ServerMsgID string `json:"serverMsgID"`
	ClientMsgID string `json:"clientMsgID"`
	SendTime    int64  `json:"sendTime"`
	RecvID      string `json:"recvID"`
}

// sendBatch is batch_send_msg: one message per receiver, each with an ID of its
// own; what fails is listed and does not stop the others.
func (m *messages) sendBatch(from core.Caller, req *sendBatchReq) (*sendBatchResp, error) {
	d, err := req.message()
	if err != nil {
		return nil, err
	}
	if d.SessionType == im.GroupChat {
		return nil, im.ErrArgs.With("sessionType %d has no recvIDs", d.SessionType)
	}
	if !from.Admin {
		return nil, notAdmin(from)
	}
	to := req.RecvIDs
	if req.IsSendAll {
		if to, err = m.everyone(from); err != nil {
			return nil, err
		}
	}
	sent := m.sendEach(from, d, to)
	resp := &sendBatchResp{}
	for i, s := range sent {
		if s == nil {
			resp.FailedUserIDs = append(resp.FailedUserIDs, to[i])
			continue
		}
		resp.Results = append(resp.Results, sentTo{s.ServerMsgID, s.ClientMsgID, s.SendTime, to[i]})
	}
	return resp, nil
}

// everyone lists all registered users as of now.
func (m *messages) everyone(from core.Caller) ([]string, error) {
	all, err := m.core.GetAllUserID(from, &user.GetAllUserIDReq{
		Pagination: &sdkws.RequestPagination{PageNumber: 1, ShowNumber: math.MaxInt32},
	})
	if err != nil {
		return nil, err
	}
	return all.UserIDs, nil
}

// sendEach sends d to each user and answers in their order, nil where it failed.
// A panic of one sending becomes the caller's.
func (m *messages) sendEach(from core.Caller, d *sdkws.MsgData, to []string) []*msg.SendMsgResp {
	sent := make([]*msg.SendMsgResp, len(to))
	var next atomic.Int64
	var crash atomic.Pointer[string]
	var workers sync.WaitGroup
	for range min(batchWorkers, len(to)) {
		workers.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					text := fmt.Sprintf("%v\n%s", p, debug.Stack())
					crash.Store(&text)
				}
			}()
			for i := next.Add(1) - 1; i < int64(len(to)); i = next.Add(1) - 1 {
				own := proto.Clone(d).(*sdkws.MsgData)
				own.RecvID = to[i]
				// A refusal is told by its absence from the results.
				sent[i], _ = m.core.SendMsg(from, &msg.SendMsgReq{MsgData: own})
			}
		})
	}
	workers.Wait()
	if text := crash.Load(); text != nil {
		panic(*text)
	}
	return sent
}

type businessReq struct {
	Key              string `json:"key"`
	Data             string `json:"data"`
	SendUserID       string `json:"sendUserID"`
	RecvUserID       string `json:"recvUserID"`
	RecvGroupID      string `json:"recvGroupID"`
	SendMsg          bool   `json:"sendMsg"`
	ReliabilityLevel int    `json:"reliabilityLevel"`
}

func (m *messages) sendBusiness(from core.Caller, req *businessReq) (*msg.SendMsgResp, error) {
	return m.core.SendBusinessNotification(from, core.BusinessNotification{
		Key: req.Key, Data: req.Data, SendUserID: req.SendUserID, RecvUserID: req.RecvUserID,
		RecvGroupID: req.RecvGroupID, SendMsg: req.SendMsg, Reliability: req.ReliabilityLevel,
	})
}

// pull is pull_msg_by_seq.
func (m *messages) pull(from core.Caller, req *sdkws.PullMessageBySeqsReq) (*sdkws.PullMessageBySeqsResp, error) {
	resp, err := m.core.PullMessageBySeqs(from, req)
	if err != nil {
		return nil, err
	}
	for _, conversations := range []map[string]*sdkws.PullMsgs{resp.Msgs, resp.NotificationMsgs} {
		for _, pulled := range conversations {
			for _, d := range pulled.Msgs {
				fillContent(d)
			}
		}
	}
	return resp, nil
}

// fillContent gives a message without content, a placeholder, one that is
// answered as "" and not as [].
func fillContent(d *sdkws.MsgData) {
	if d.Content == nil {
		d.Content = []byte{}
	}
}

// conversationsShown is get_conversations of web clients.
func (m *messages) conversationsShown(from core.Caller, req *jssdk.GetConversationsReq) (*jssdk.GetConversationsResp, error) {
	resp, err := m.core.GetConversationsShown(from, req)
	for _, row := range resp.GetConversations() {
		fillContent(row.LastMsg)
	}
	return resp, err
}

// activeConversations is get_active_conversations of web clients.
func (m *messages) activeConversations(from core.Caller, req *jssdk.GetActiveConversationsReq) (*jssdk.GetActiveConversationsResp, error) {
	resp, err := m.core.GetActiveConversations(from, req)
	for _, row := range resp.GetConversations() {
		fillContent(row.LastMsg)
	}
	return resp, err
}

// checkSent tells what became of the send_msg with this request's operationID.
func (m *messages) checkSent(from core.Caller, _ *struct{}) (*msg.GetSendMsgStatusResp, error) {
	return &msg.GetSendMsgStatusResp{Status: m.sent.get(from.OperationID)}, nil
}
