package e2e

import (
	"flag"
	"testing"
	"time"
)

var flagIdle = flag.Duration("idle", 3*time.Minute, "how long TestIdle does nothing")

// Acceptance 4: connections on which nothing happens stay. The SDK pings every
// 24 s; a browser's client only answers pings.
func TestIdle(t *testing.T) {
	t.Parallel()
	e := shared(t)
	d := e.device(e.user("sdk"), android).login()
	connects := d.count(onConnecting)

	user := e.user("web")
	var silent []*raw
	token := e.token(user, web)
	for _, v := range envelopes {
		q := v.query(user, web, token)
		q.Set("isMsgResp", "true")
		r, err := dial(e.srv.ws, user, web, v, q)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.close)
		go r.read()
		silent = append(silent, r)
	}
	began := time.Now()
	e.eventuallyIn(*flagIdle+time.Minute, "time passed", func() bool {
		for _, r := range silent {
			if !r.alive() {
				t.Fatalf("%s: connection lost after %v: %v", r.envelope.name, time.Since(began), r.err)
			}
		}
		return time.Since(began) >= *flagIdle
	})
	for _, r := range silent {
		e.ask(r, reqNewestSeq, newestOf(user), nil)
		r.mu.Lock()
		pings := r.pings
		r.mu.Unlock()
		if want := int(*flagIdle / (30 * time.Second)); pings < want {
			t.Errorf("%s: %d pings in %v, want at least %d", r.envelope.name, pings, *flagIdle, want)
		}
		m, _ := e.sendText(r, d.user, "are you there?")
		e.eventually("message after the silence", func() bool { return d.received(m.ClientMsgID) == 1 })
	}
	if got := d.count(onConnecting); got != connects || d.count(onConnectFailed) != 0 {
		t.Errorf("the SDK connected %d times, failed %d times", got, d.count(onConnectFailed))
	}
}
