package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/openimsdk/openim-sdk-core/v3/open_im_sdk"
	"github.com/openimsdk/openim-sdk-core/v3/pkg/ccontext"
	"github.com/openimsdk/openim-sdk-core/v3/pkg/db/model_struct"
	"github.com/openimsdk/openim-sdk-core/v3/pkg/sdk_params_callback"
	"github.com/openimsdk/openim-sdk-core/v3/sdk_struct"
	"github.com/openimsdk/tools/errs"
)

// device is one installation of an app: a user on a platform with a local
// database. It records what the SDK calls back, over all its logins.
type device struct {
	*recorder
	env      *env
	user     string
	platform int32
	dir      string // of the local database
	ws, api  string // host:port, the server's or a proxy's
	sdk      *open_im_sdk.LoginMgr
	token    string
}

// device makes an installation with an empty database, not logged in.
func (e *env) device(user string, platform int32) *device {
	e.Helper()
	d := &device{recorder: &recorder{}, env: e, user: user, platform: platform,
		dir: e.tempDir(), ws: e.srv.ws, api: e.srv.api}
	e.Cleanup(d.quit)
	return d
}

// tempDir is T.TempDir without its check that everything can be removed: an SDK
// that was told to stop may still write to its database.
func (e *env) tempDir() string {
	e.Helper()
	dir, err := os.MkdirTemp("", "gannet-e2e-sdk-")
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// init makes a new SDK object on the device's database, as the app's start does.
func (d *device) init() {
	d.env.Helper()
	mgr := open_im_sdk.NewLoginMgr()
	if !mgr.InitSDK(sdk_struct.IMConfig{
		SystemType: "go", PlatformID: d.platform, LogLevel: 3, DataDir: d.dir,
		ApiAddr: "http://" + d.api, WsAddr: "ws://" + d.ws,
	}, d.recorder) {
		d.env.Fatal("InitSDK failed")
	}
	mgr.SetConversationListener(d.recorder)
	mgr.SetAdvancedMsgListener(d.recorder)
	mgr.SetUserListener(d.recorder)
	mgr.SetFriendshipListener(d.recorder)
	mgr.SetGroupListener(d.recorder)
	mgr.SetCustomBusinessListener(d.recorder)
	d.sdk = mgr
}

// begin logs in with a token and returns at once, as the SDK does.
func (d *device) begin(token string) {
	d.env.Helper()
	if d.sdk == nil {
		d.init()
	}
	d.token = token
	if err := d.sdk.Login(d.ctx(), d.user, token); err != nil {
		d.env.Fatalf("Login: %v", err)
	}
}

// login gets a token, logs in and waits until the SDK has finished its sync.
func (d *device) login() *device {
	d.env.Helper()
	done := d.count(onSyncFinish)
	d.begin(d.env.token(d.user, d.platform))
	d.env.eventually(d.user+" synced", func() bool { return d.count(onSyncFinish) > done })
	return d
}

// logout ends the session as a user does; the database stays.
func (d *device) logout() {
	d.env.Helper()
	if err := d.sdk.Logout(d.ctx()); err != nil {
		d.env.Fatalf("Logout: %v", err)
	}
	d.sdk = nil
}

// quit ends the app without a word to the server beyond the closed connection.
func (d *device) quit() {
	if d.sdk == nil {
		return
	}
	// First the end of its loops, then of the connection: the other way round it
	// would connect again.
	d.sdk.Exit()
	d.sdk.LongConnMgr().Close(context.Background())
	d.sdk = nil
}

// ctx is the context of one SDK call: it carries the login and an operationID.
func (d *device) ctx() context.Context {
	return ccontext.WithOperationID(d.sdk.Context(), operationID())
}

// newText makes a text message of this user, not sent yet.
func (d *device) newText(text string) *sdk_struct.MsgStruct {
	d.env.Helper()
	m, err := d.sdk.Conversation().CreateTextMessage(d.ctx(), text)
	if err != nil {
		d.env.Fatalf("CreateTextMessage: %v", err)
	}
	return m
}

// post sends m to a user and returns the server's errCode.
func (d *device) post(m *sdk_struct.MsgStruct, to string) int {
	ctx := ccontext.WithSendMessageCallback(d.ctx(), noProgress{})
	_, err := d.sdk.Conversation().SendMessage(ctx, m, to, "", nil, false)
	return errCode(err)
}

// send sends a text to a user, which has to succeed, and returns the message.
func (d *device) send(to, text string) *sdk_struct.MsgStruct {
	d.env.Helper()
	m := d.newText(text)
	if code := d.post(m, to); code != 0 {
		d.env.Fatalf("send %s → %s: %d", d.user, to, code)
	}
	return m
}

// errCode is the code in an error of the SDK: 0 for none, -1 if it has no code.
func errCode(err error) int {
	if err == nil {
		return 0
	}
	if ce, ok := errs.Unwrap(err).(errs.CodeError); ok {
		return ce.Code()
	}
	var ce errs.CodeError
	if errors.As(err, &ce) {
		return ce.Code()
	}
	return -1
}

type noProgress struct{}

func (noProgress) OnError(int32, string) {}
func (noProgress) OnSuccess(string)      {}
func (noProgress) OnProgress(int)        {}

// local returns the device's own row of a message, an empty one if it has none
// (yet: the SDK writes the conversation's row after the message was sent).
func (d *device) local(conversation, clientMsgID string) *sdk_struct.MsgStruct {
	res, err := d.sdk.Conversation().FindMessageList(d.ctx(), []*sdk_params_callback.ConversationArgs{
		{ConversationID: conversation, ClientMsgIDList: []string{clientMsgID}}})
	if err != nil || len(res.FindResultItems) == 0 || len(res.FindResultItems[0].MessageList) == 0 {
		return &sdk_struct.MsgStruct{}
	}
	return res.FindResultItems[0].MessageList[0]
}

// conversation returns the device's row of a conversation, nil if it has none.
func (d *device) conversation(id string) *model_struct.LocalConversation {
	list, err := d.sdk.Conversation().GetMultipleConversation(d.ctx(), []string{id})
	if err != nil || len(list) == 0 {
		return nil
	}
	return list[0]
}

// unread returns the device's unread number of a conversation, -1 if it has none.
func (d *device) unread(id string) int {
	if c := d.conversation(id); c != nil {
		return int(c.UnreadCount)
	}
	return -1
}

// page reads up to n messages of a conversation's history that are older than the
// one given, or the newest.
func (d *device) page(conversation string, n int, before string) *sdk_params_callback.GetAdvancedHistoryMessageListCallback {
	d.env.Helper()
	res, err := d.sdk.Conversation().GetAdvancedHistoryMessageList(d.ctx(), sdk_params_callback.GetAdvancedHistoryMessageListParams{
		ConversationID: conversation, Count: n, StartClientMsgID: before})
	if err != nil || res.ErrCode != 0 {
		d.env.Fatalf("history of %s: %v %+v", conversation, err, res)
	}
	return res
}

// scroll reads a conversation's history to its beginning in pages, as a user who
// scrolls up does, and returns it oldest first. It fails when the SDK does not
// come to an end.
func (d *device) scroll(conversation string, page int) []*sdk_struct.MsgStruct {
	d.env.Helper()
	var history []*sdk_struct.MsgStruct
	for before := ""; ; before = history[0].ClientMsgID {
		res := d.page(conversation, page, before)
		history = append(append([]*sdk_struct.MsgStruct{}, res.MessageList...), history...)
		if res.IsEnd {
			return history
		}
		if len(res.MessageList) == 0 || len(history) > 2000 {
			d.env.Fatalf("history of %s: no end after %d messages", conversation, len(history))
		}
	}
}

// texts returns the texts of messages; of one without, its type.
func texts(messages []*sdk_struct.MsgStruct) []string {
	out := make([]string, len(messages))
	for i, m := range messages {
		if out[i] = fmt.Sprintf("type %d", m.ContentType); m.TextElem != nil {
			out[i] = m.TextElem.Content
		}
	}
	return out
}

// received counts how often the app was told of a message.
func (d *device) received(clientMsgID string) int {
	n := 0
	for _, m := range d.messages(onMessage) {
		if m.ClientMsgID == clientMsgID {
			n++
		}
	}
	return n
}
