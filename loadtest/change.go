//go:build linux

package main

import (
	"context"
	"time"

	"gannet/internal/im"
	"gannet/internal/wire"
)

// noticeMax is how long a change's notification may take to reach the last member.
const noticeMax = int64(10 * time.Second)

// changer is the script of group --change: while messages flow, users who are not
// connected are invited and kicked by turns, and every connected member must be told.
type changer struct {
	w      *worker
	api    *api
	states []changing // by thread
	byID   map[string]*changing
}

// changing is the membership of one group.
type changing struct {
	t        *thread
	spare    []string // who come and go
	inside   bool
	due      int64         // nanos of the next change
	began    int64         // of the current one; 0: none
	answered chan error    // of its HTTP request; nil once it was read
	took     time.Duration // of the request, before answered
	told     []bool        // by member
	missing  int           // members not told
}

func newChanger(w *worker) script {
	c := &changer{w: w, api: newAPI(w.order.API), states: make([]changing, len(w.threads)), byID: map[string]*changing{}}
	c.api.token = w.order.Token
	for i, t := range w.threads {
		s := &c.states[i]
		s.t, s.spare, s.told = t, w.order.Talks[i].Spare, make([]bool, len(t.members))
		c.byID[im.NotifyGroupID(t.group)] = s
	}
	return c
}

func (c *changer) connects() bool  { return false }
func (c *changer) writes(int) bool { return true }

func (c *changer) tick(now int64) (int64, bool) {
	next := now + wakeMax
	for i := range c.states {
		s := &c.states[i]
		c.check(s, now)
		if s.began == 0 && now >= max(s.due, c.w.plan.Measure) {
			c.change(s, now)
		}
		if s.began == 0 {
			next = min(next, s.due)
		}
	}
	return next, false
}

// change starts a change.
func (c *changer) change(s *changing, now int64) {
	s.began, s.missing, s.answered = now, len(s.told), make(chan error, 1)
	clear(s.told)
	call := c.api.invite
	if s.inside {
		call = c.api.kick
	}
	s.inside = !s.inside
	go func() {
		began := time.Now()
		err := call(context.Background(), s.t.group, s.spare)
		s.took = time.Since(began)
		s.answered <- err
	}()
}

// check ends the current change when it was answered and everybody was told.
func (c *changer) check(s *changing, now int64) {
	if s.began == 0 {
		return
	}
	select {
	case err := <-s.answered:
		s.answered = nil
		if err != nil {
			c.w.faults.add(faultLostAck, "change of %s: %v", s.t.group, err)
			s.missing = 0
		} else {
			c.w.tally.Times[tChange].record(int64(s.took))
			c.w.tally.Counts[nChanges]++
		}
	default:
	}
	if s.missing > 0 && now-s.began > noticeMax {
		c.w.faults.add(faultLostNotice, "change of %s to %d members", s.t.group, s.missing)
		s.missing = 0
	}
	if s.answered == nil && s.missing == 0 {
		s.began, s.due = 0, now+int64(c.w.opts.change)
	}
}

func (c *changer) push(conn *conn, conversation string, m *wire.Msg) {
	s := c.byID[conversation]
	if s == nil || m.ContentType != im.NotifyMemberInvited && m.ContentType != im.NotifyMemberKicked {
		return
	}
	member := int(conn.id) - s.t.first
	if s.began == 0 || member < 0 || member >= len(s.told) || s.told[member] ||
		s.inside != (m.ContentType == im.NotifyMemberInvited) {
		c.w.faults.add(faultDoubleDelivery, "notification %d of %s to %s", m.ContentType, s.t.group, c.w.order.Users[conn.id].UserID)
		return
	}
	s.told[member] = true
	if s.missing--; s.missing == 0 {
		c.w.time(tNotice, s.began, c.w.loop.now)
	}
}

func (c *changer) opened(*conn)                 {}
func (c *changer) closed(*conn, error) bool     { return false }
func (c *changer) answer(*conn, *wire.Response) {}

func (c *changer) settled() bool {
	for i := range c.states {
		if c.check(&c.states[i], c.w.loop.now); c.states[i].began != 0 {
			return false
		}
	}
	return true
}

func (c *changer) finish() {
	for i := range c.states {
		if s := &c.states[i]; s.began != 0 {
			c.w.faults.add(faultLostNotice, "change of %s to %d members", s.t.group, s.missing)
		}
	}
}
