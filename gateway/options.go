package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/openimsdk/protocol/msg"
	"github.com/openimsdk/protocol/push"
	"github.com/openimsdk/protocol/sdkws"

	"gannet/core"
	"gannet/internal/wire"
)

// Core is what the gateway needs of core.Core; tests put a fake behind it.
// VerifyToken, Connect and Disconnect are called on event loops and MUST NOT
// wait. The others run on worker goroutines.
type Core interface {
	VerifyToken(token string) (core.Identity, error)
	Connect(userID string, ref core.SessionRef)
	Disconnect(userID string, ref core.SessionRef)

	// Send returns nil when the answer will come through the Sink, else the error
	// to answer with. It may keep req.
	Send(from core.Caller, ref core.SessionRef, req *wire.Request) error
	// TrySend is Send for an event loop: done is false when Send must do it.
	TrySend(from core.Caller, ref core.SessionRef, req *wire.Request) (done bool, err error)
	SetBackground(from core.Caller, ref core.SessionRef, req *sdkws.SetAppBackgroundStatusReq) error
	Subscribe(from core.Caller, ref core.SessionRef, req *sdkws.SubUserOnlineStatus) (*sdkws.SubUserOnlineStatusTips, error)
	Logout(from core.Caller, ref core.SessionRef, req *push.DelUserPushTokenReq) error

	GetMaxSeq(core.Caller, *sdkws.GetMaxSeqReq) (*sdkws.GetMaxSeqResp, error)
	PullMessageBySeqs(core.Caller, *sdkws.PullMessageBySeqsReq) (*sdkws.PullMessageBySeqsResp, error)
	GetSeqMessage(core.Caller, *msg.GetSeqMessageReq) (*msg.GetSeqMessageResp, error)
	GetConversationsHasReadAndMaxSeq(core.Caller, *msg.GetConversationsHasReadAndMaxSeqReq) (*msg.GetConversationsHasReadAndMaxSeqResp, error)
	GetLastMessage(core.Caller, *msg.GetLastMessageReq) (*msg.GetLastMessageResp, error)
}

// Options configure a Server. Zero values get the defaults named.
type Options struct {
	Addr    string // host:port; port 0 takes a free one
	Core    Core
	Logger  *slog.Logger // default: discard
	Paths   []string     // URL paths that are served; default all
	OnFatal func(error)  // called when the event loops end by themselves

	Loops    int // event loops; default GOMAXPROCS, at most 64
	MaxConns int // open connections; default as many as the descriptor limit allows

	MaxFrameBytes int   // one message on the wire, and inflated; default 1 MiB. More: close 1009
	OutboundBytes int   // unsent bytes per session; default 4 MiB. More: the session ends as slow
	InboundBytes  int   // incomplete messages of one loop's sessions; default 64 MiB. More: close 1013
	FloodBytes    int   // received per session and Tick, 256 bytes added per frame; default 32 MiB. More: close 1008
	InboxBytes    int64 // frames queued for one loop; default 64 MiB. More: frames are dropped

	Lanes           int   // goroutines for 1003, each in order; default 16
	LaneDepth       int   // requests queued per lane; default 1024. More: im.ErrBusy
	Readers         int   // goroutines for the other commands; default 16
	ReadDepth       int   // requests queued for them; default 4096. More: im.ErrBusy
	SessionRequests int   // requests under way per session; default 128. More: im.ErrBusy
	QueueBytes      int64 // bytes of all queued requests; default 128 MiB. More: im.ErrBusy

	HandshakeTimeout time.Duration // from accept to a complete upgrade request; default 10 s
	PingAfter        time.Duration // silence before a ping; default 25 s
	ReadTimeout      time.Duration // silence before the session ends; default 30 s
	WriteTimeout     time.Duration // for written bytes to leave; default 10 s
	LingerTimeout    time.Duration // for the last bytes before a close; default 1 s
	Tick             time.Duration // grain of all of these; default 500 ms
}

func (o *Options) setDefaults() error {
	switch {
	case o.Core == nil:
		return errors.New("gateway: no core")
	case o.Loops < 0 || o.Loops > maxLoops:
		return fmt.Errorf("gateway: %d loops: at most %d", o.Loops, maxLoops)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.Loops, min(runtime.GOMAXPROCS(0), maxLoops))
	setDefault(&o.MaxFrameBytes, 1<<20)
	setDefault(&o.OutboundBytes, 4<<20)
	setDefault(&o.InboundBytes, 64<<20)
	setDefault(&o.FloodBytes, 32<<20)
	setDefault(&o.InboxBytes, 64<<20)
	setDefault(&o.Lanes, 16)
	setDefault(&o.LaneDepth, 1024)
	setDefault(&o.Readers, 16)
	setDefault(&o.ReadDepth, 4096)
	setDefault(&o.SessionRequests, 128)
	setDefault(&o.QueueBytes, 128<<20)
	setDefault(&o.HandshakeTimeout, 10*time.Second)
	setDefault(&o.PingAfter, 25*time.Second)
	setDefault(&o.ReadTimeout, 30*time.Second)
	setDefault(&o.WriteTimeout, 10*time.Second)
	setDefault(&o.LingerTimeout, time.Second)
	setDefault(&o.Tick, 500*time.Millisecond)
	return nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// tickCounts are the time limits in ticks.
type tickCounts struct {
	handshake, ping, read, write, linger uint32
}

// tickCounts converts the limits. A session's last frame is dated up to one tick
// early, so a silence of n ticks lasted between n-1 and n: pings go out in time,
// and one tick more makes sure that nobody is cut early.
func (o *Options) tickCounts() tickCounts {
	n := func(d time.Duration) uint32 { return uint32(max(1, (d+o.Tick-1)/o.Tick)) }
	return tickCounts{
		handshake: n(o.HandshakeTimeout) + 1, ping: n(o.PingAfter), read: n(o.ReadTimeout) + 1,
		write: n(o.WriteTimeout) + 1, linger: n(o.LingerTimeout),
	}
}
