package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/openimsdk/protocol/sdkws"
	"google.golang.org/protobuf/proto"
)

// An SDK that has synced does not sync again within this time, however often it
// connects: what comes then waits for the next push.
const syncPause = 5 * time.Second

// A restart, by SIGTERM and by SIGKILL: SDKs come back by themselves, with the
// tokens they have, and miss nothing.
func TestRestart(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]bool{"terminate": false, "kill": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := alone(t)
			a, b := e.device(e.user("a"), android).login(), e.device(e.user("b"), iOS).login()
			c := e.user("c")
			token := e.token(c, web)
			watching := e.rawToken(c, web, envelopes[2], token)
			conversation := single(a.user, b.user)
			a.send(b.user, "before")
			e.eventually("received", func() bool { return b.count(onMessage) == 1 })
			e.sendText(watching, b.user, "by c")

			e.eventually("next sync allowed", func() bool {
				return time.Since(b.all(onSyncStart)[0].at) > syncPause && time.Since(a.all(onSyncStart)[0].at) > syncPause
			})
			if crash {
				e.srv.kill()
			} else {
				if err := e.srv.terminate(); err != nil {
					t.Fatal(err)
				}
				// A code after which a client connects again by itself.
				if code := e.closeCode(watching); !slices.Contains([]int{websocket.CloseGoingAway, websocket.CloseServiceRestart, websocket.CloseTryAgainLater}, code) {
					t.Errorf("close code %d", code)
				}
			}
			if err := e.srv.start(); err != nil {
				t.Fatal(err)
			}
			watching = e.rawToken(c, web, envelopes[2], token)
			for i := range 5 {
				e.sendText(watching, b.user, fmt.Sprint("after ", i+1))
			}
			for _, d := range []*device{a, b} {
				e.eventuallyIn(time.Minute, d.user+" back", func() bool { return d.count(onSyncFinish) == 2 })
			}
			m := a.send(b.user, "after")
			e.eventually("received after the restart", func() bool { return b.received(m.ClientMsgID) == 1 })
			if got := texts(b.scroll(conversation, 20)); !slices.Equal(got, []string{"before", "after"}) {
				t.Errorf("history %q", got)
			}
			want := []string{"by c", "after 1", "after 2", "after 3", "after 4", "after 5"}
			if got := texts(b.scroll(single(b.user, c), 20)); !slices.Equal(got, want) {
				t.Errorf("history with c %q", got)
			}
			for _, token := range []string{a.token, token, e.admin} {
				e.must("/user/get_users_info", token, obj{"userIDs": []string{c}}, nil)
			}
			for _, d := range []*device{a, b} {
				if n := d.count(onKicked, onTokenInvalid, onTokenExpired); n != 0 {
					t.Errorf("%s logged out", d.user)
				}
			}
		})
	}
}

// sent is one message of a load and what became of it.
type sent struct {
	msg *sdkws.MsgData
	ack *sdkws.UserSendMsgResp // nil: not answered
}

// load is one pair of the crash test: a sends to b.
type load struct {
	a, b           string
	tokenA, tokenB string
	envelope       envelope
	messages       []*sent                   // of all rounds
	seen           map[string]*sdkws.MsgData // what b was pushed, by clientMsgID
}

const (
	crashRounds      = 3
	crashPairs       = 6
	crashOutstanding = 16
	crashAcks        = 3000 // in a round, over all pairs, before the kill
)

// kill -9 under load, three times on one folder: what was acknowledged is there,
// with the seq order and times that were given out, nothing is there twice, and
// what somebody saw is there too. Messages without an answer are sent again.
func TestKillNine(t *testing.T) {
	t.Parallel()
	e := alone(t)
	loads := make([]*load, crashPairs)
	for i := range loads {
		l := &load{a: e.user(fmt.Sprint("a", i)), b: e.user(fmt.Sprint("b", i)), envelope: envelopes[i%len(envelopes)], seen: map[string]*sdkws.MsgData{}}
		l.tokenA, l.tokenB = e.token(l.a, android), e.token(l.b, iOS)
		loads[i] = l
	}
	for round := range crashRounds {
		crash(e, loads)
		if err := e.srv.start(); err != nil {
			t.Fatal(err)
		}
		acked, open := 0, 0
		for _, l := range loads {
			for _, s := range l.messages {
				if s.ack != nil {
					acked++
				} else {
					open++
				}
			}
			l.check(e)
		}
		t.Logf("round %d: %d acknowledged before the kill, %d open", round+1, acked, open)
	}
	if err := e.srv.terminate(); err != nil {
		t.Error(err)
	}
}

// crash runs the load until enough was acknowledged and kills the server in the
// midst of it.
func crash(e *env, loads []*load) {
	e.Helper()
	acks := make(chan struct{}, crashAcks+len(loads)*crashOutstanding)
	var clients sync.WaitGroup
	for _, l := range loads {
		from, to := e.rawToken(l.a, android, l.envelope, l.tokenA), e.rawToken(l.b, iOS, l.envelope, l.tokenB)
		clients.Go(func() {
			l.run(from, acks)
			<-to.done
			for _, m := range to.pushes(nil) {
				l.seen[m.ClientMsgID] = m
			}
		})
	}
	deadline := time.After(time.Minute)
	for n := range crashAcks {
		select {
		case <-acks:
		case <-deadline:
			e.Errorf("%d acknowledgements in a minute", n)
			e.srv.kill()
			clients.Wait()
			e.FailNow()
		}
	}
	e.srv.kill()
	clients.Wait()
}

// run sends until the connection ends, with a fixed number of messages unanswered.
func (l *load) run(from *raw, acks chan<- struct{}) {
	type open struct {
		s  *sent
		ch <-chan *rawResponse
	}
	window := make(chan open, crashOutstanding)
	var answers sync.WaitGroup
	answers.Go(func() {
		for o := range window {
			resp, err := from.await(o.ch)
			if err != nil || resp.ErrCode != 0 {
				continue
			}
			var ack sdkws.UserSendMsgResp
			if err := proto.Unmarshal(resp.Data, &ack); err != nil {
				continue
			}
			o.s.ack = &ack
			select {
			case acks <- struct{}{}:
			default: // enough of them
			}
		}
	})
	for i := 0; from.alive(); i++ {
		s := &sent{msg: from.text(l.b, fmt.Sprint("load ", i))}
		l.messages = append(l.messages, s)
		ch, err := from.start(reqSend, s.msg)
		if err != nil {
			break
		}
		window <- open{s, ch}
	}
	close(window)
	answers.Wait()
}

// check sends again what was not answered, in order, and compares what is stored
// with what was given out.
func (l *load) check(e *env) {
	e.Helper()
	r := e.rawToken(l.a, android, l.envelope, l.tokenA)
	defer r.close()
	conversation := single(l.a, l.b)
	before := e.newest(r, conversation)
	answered := int64(0)
	for _, s := range l.messages {
		if s.ack != nil {
			answered++
		}
	}
	if before < answered {
		e.Fatalf("%s: %d stored, %d acknowledged", l.a, before, answered)
	}
	for _, s := range l.messages {
		if s.ack == nil {
			s.ack = &sdkws.UserSendMsgResp{}
			e.ask(r, reqSend, s.msg, s.ack)
		}
	}
	stored := e.pullAll(r, conversation)
	if err := inOrder(stored); err != nil {
		e.Fatalf("%s: %v", l.a, err)
	}
	byID := map[string]*sdkws.MsgData{}
	for _, m := range stored {
		byID[m.ClientMsgID] = m
	}
	for _, s := range l.messages {
		m := byID[s.msg.ClientMsgID]
		if m == nil || m.ServerMsgID != s.ack.ServerMsgID || m.SendTime != s.ack.SendTime {
			e.Fatalf("%s: acknowledged %v, stored %v", l.a, s.ack, m)
		}
	}
	if len(stored) != len(l.messages) {
		e.Fatalf("%s: %d stored, %d sent", l.a, len(stored), len(l.messages))
	}
	for id, was := range l.seen {
		if is := byID[id]; is == nil || is.Seq != was.Seq || is.SendTime != was.SendTime || is.ServerMsgID != was.ServerMsgID {
			e.Fatalf("%s: pushed %v, stored %v", l.b, was, byID[id])
		}
	}
}
