//go:build linux

package main

import (
	"errors"
	"flag"
	"time"
)

// shape is what scenarios differ in. A field that a scenario has no flag for is zero.
type shape struct {
	pairs, outstanding, payload             int
	rate                                    float64 // messages a second in all; 0: a closed loop
	conns, users                            int
	keep, storm, backoff                    bool
	groups, members, online, senders, spare int
	logins                                  float64 // a second
	change                                  time.Duration
	heap                                    bool // measure the server's heap, after a collection, with all connections held
}

// scenario is a kind of load: its flags, and who talks with whom.
type scenario struct {
	name, about string
	flags       func(fs *flag.FlagSet, o *options)
	check       func(o *options) error
	layout      func(o *options) []cell
}

// cell is users who talk among themselves only, so that one worker has all of them.
// Cells follow each other in the list of all users.
type cell struct {
	users   int // of the group, if there is one, online or not
	online  int // the first so many are connected
	spare   int // the last so many, who are not in its group at first
	grouped bool
	talks   []talk // First is in the cell; IDs are filled in later
}

// cellOf is how many equal cells there are.
func cellsOf(n int, c cell) []cell {
	cells := make([]cell, n)
	for i := range cells {
		cells[i] = c
	}
	return cells
}

// scenarios is the closed table of them.
var scenarios = []scenario{
	{
		name: "idle", about: "connections do nothing",
		flags: func(fs *flag.FlagSet, o *options) {
			fs.IntVar(&o.conns, "conns", 1000, "connections, each of its own user")
			o.heap = true
		},
		check:  func(o *options) error { return positive(o.conns) },
		layout: func(o *options) []cell { return cellsOf(o.conns, cell{users: 1, online: 1}) },
	},
	{
		name: "connect", about: "connections are made: one after the other, or all at once after a loss (--storm)",
		flags: func(fs *flag.FlagSet, o *options) {
			fs.IntVar(&o.conns, "conns", 20000, "connections to make, or with --storm to hold and lose")
			fs.IntVar(&o.users, "users", 1000, "users who connect in turn; with --keep and --storm each connection has its own")
			fs.BoolVar(&o.keep, "keep", false, "keep connections, instead of closing each at once")
			fs.BoolVar(&o.storm, "storm", false, "hold all, drop all at once, and see all come back")
			fs.BoolVar(&o.backoff, "backoff", false, "failed attempts of a storm wait 1, 2, 4, 8, 16 s as in the SDK, instead of repeating at once")
			o.script = newConnector
		},
		check: func(o *options) error {
			if o.keep || o.storm {
				o.users = o.conns
			}
			o.users = min(o.users, o.conns)
			o.dialers = min(o.dialers, o.users)
			return positive(o.conns, o.users)
		},
		layout: func(o *options) []cell { return cellsOf(o.users, cell{users: 1, online: 1}) },
	},
	{
		name: "p2p", about: "pairs of users write to each other",
		flags: func(fs *flag.FlagSet, o *options) {
			fs.IntVar(&o.pairs, "pairs", 200, "pairs of users; one of each writes to the other")
			messageFlags(fs, o, 8)
		},
		check: func(o *options) error { return positive(o.pairs, o.outstanding) },
		layout: func(o *options) []cell {
			return cellsOf(o.pairs, cell{users: 2, online: 2, talks: []talk{{Size: 2, Senders: 1}}})
		},
	},
	{
		name: "group", about: "members of groups write to all others",
		flags: func(fs *flag.FlagSet, o *options) {
			fs.IntVar(&o.groups, "groups", 1, "groups; nobody is in two")
			fs.IntVar(&o.members, "members", 1000, "members of each")
			fs.IntVar(&o.online, "online", 0, "members who are connected; 0: all")
			fs.IntVar(&o.senders, "senders", 1, "members who write, in turn")
			fs.DurationVar(&o.change, "change", 0, "meanwhile invite and kick 10 users by turns, with this pause; 0: do not")
			messageFlags(fs, o, 1)
		},
		check: func(o *options) error {
			if o.online == 0 {
				o.online = o.members
			}
			if o.online < 2 || o.online > o.members || o.senders > o.online {
				return errors.New("--online must be 2 … --members, and --senders at most --online")
			}
			if o.change > 0 {
				o.script, o.spare = newChanger, 10
			}
			return positive(o.groups, o.senders, o.outstanding)
		},
		layout: func(o *options) []cell {
			return cellsOf(o.groups, cell{users: o.members + o.spare, spare: o.spare, online: o.online, grouped: true,
				talks: []talk{{Group: "*", Size: o.online, Senders: o.senders}}})
		},
	},
	{
		name: "mixed", about: "a day of chat: logins, sync, pairs, groups, reads, typing, presence",
		flags: func(fs *flag.FlagSet, o *options) {
			fs.IntVar(&o.online, "online", 1000, "users; rounded up to whole groups")
			fs.IntVar(&o.members, "members", 20, "users who have a group, and are pairs as well; an even number")
			fs.Float64Var(&o.logins, "logins", 0, "users who log out and in again, per second; 0: each once in 100 s")
			openLoopFlags(fs, o, "0.1 for each user")
			o.script = newDay
		},
		check: func(o *options) error {
			if o.members < 2 || o.members%2 != 0 {
				return errors.New("--members must be even")
			}
			if o.rate == 0 {
				o.rate = float64(o.online) / 10
			}
			if o.logins <= 0 {
				o.logins = float64(o.online) / 100
			}
			return positive(o.online)
		},
		layout: func(o *options) []cell {
			c := cell{users: o.members, online: o.members, grouped: true, talks: []talk{{Group: "*", Size: o.members, Senders: o.members}}}
			for first := 0; first < o.members; first += 2 {
				c.talks = append(c.talks, talk{First: first, Size: 2, Senders: 2})
			}
			return cellsOf((o.online+o.members-1)/o.members, c)
		},
	},
	{
		name: "openim", about: "OpenIM's published test, scaled: users online, 34 messages/s of pairs for each 1,000",
		flags: func(fs *flag.FlagSet, o *options) {
			fs.IntVar(&o.online, "online", 10000, "users")
			openLoopFlags(fs, o, "in the proportion of 1,700/s to 50,000 users")
		},
		check: func(o *options) error {
			if o.rate == 0 {
				o.rate = float64(o.online) * 1700 / 50000
			}
			return positive(o.online - 1)
		},
		layout: func(o *options) []cell {
			return cellsOf(o.online/2, cell{users: 2, online: 2, talks: []talk{{Size: 2, Senders: 2}}})
		},
	},
}

// messageFlags are those of scenarios that send.
func messageFlags(fs *flag.FlagSet, o *options, outstanding int) {
	fs.IntVar(&o.outstanding, "outstanding", outstanding, "closed loop: messages of a pair or group that may lack their ack or a delivery")
	fs.Float64Var(&o.rate, "rate", 0, "open loop: messages per second in all, latency from the intended time; 0 is a closed loop")
	fs.IntVar(&o.payload, "payload", 200, "bytes of text in a message")
	fs.DurationVar(&o.warmup, "warmup", 2*time.Second, "time before measuring; its messages are checked, not counted")
}

// openLoopFlags are those of scenarios that always send at a rate.
func openLoopFlags(fs *flag.FlagSet, o *options, standard string) {
	o.outstanding = 1 // not looked at
	fs.Float64Var(&o.rate, "rate", 0, "messages per second in all, latency from the intended time; 0: "+standard)
	fs.IntVar(&o.payload, "payload", 200, "bytes of text in a message")
	fs.DurationVar(&o.warmup, "warmup", 2*time.Second, "time before measuring; its messages are checked, not counted")
}

func positive(numbers ...int) error {
	for _, n := range numbers {
		if n < 1 {
			return errors.New("numbers of users, connections, groups and messages must be at least 1")
		}
	}
	return nil
}
