//go:build linux

package main

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/netip"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

const (
	// eventsMax is how many ready sockets one round serves. What these cause to be
	// sent leaves at the round's end, with one write per socket.
	eventsMax = 128
	readBytes = 64 << 10

	// pingEvery and silentMax are the Go SDK's: a control ping every 24 s, and a
	// connection on which nothing arrived for 30 s is given up.
	pingEvery = 24 * time.Second
	silentMax = 30 * time.Second
	// upgradeMax is the Go SDK's bound on a handshake.
	upgradeMax = 45 * time.Second

	sysEpollPwait2 = 441 // on every architecture that Go has
)

var errSilent = errors.New("nothing heard for 30 s")

// events is what a loop tells its scenario, always on the loop's goroutine.
type events interface {
	opened(c *conn)                  // the handshake is done
	message(c *conn, payload []byte) // one binary message; payload is valid until return
	closed(c *conn, err error)       // by the server, by a fault, or refused at the handshake
}

// loop drives many client connections from one goroutine. It is not for concurrent use.
type loop struct {
	on      events
	epfd    int
	servers []server // connection id goes to server id modulo their number
	accept  string   // Sec-WebSocket-Accept that answers the key of every upgrade

	conns   []*conn // by conn.id; nil before the first dial, closed ones too
	dials   int32   // ever made; tells an event of a slot's former connection
	dialing int     // connections whose handshake is not done
	open    int
	dirty   []*conn // have bytes to write at the end of the round

	now   int64 // nanos, read after the last system call that may have waited
	read  [readBytes]byte
	ready [eventsMax]syscall.EpollEvent
	rng   *mathrand.PCG

	pingCredit float64 // connections that are due for a ping
	pingAt     int     // the next one
	pingedAt   int64   // when pingCredit was last brought up to date
	pings      int64   // sent since somebody set it to 0
	pongs      int64
}

// server is where connections go.
type server struct {
	address syscall.Sockaddr
	family  int
	head    string // what follows the path and query in each upgrade request
}

var processStart = time.Now()

// nanos is the clock of every latency: Unix nanoseconds when the process started, and
// monotonic from there. So the workers of a run have the same clock.
func nanos() int64 { return processStart.UnixNano() + int64(time.Since(processStart)) }

// newLoop makes a loop for up to slots connections to addrs. One Sec-WebSocket-Key
// serves all of them: servers only hash it.
func newLoop(addrs []netip.AddrPort, on events, slots int, seed uint64) (*loop, error) {
	l := &loop{on: on, now: nanos(), rng: mathrand.NewPCG(seed, seed), conns: make([]*conn, slots)}
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	l.accept = base64.StdEncoding.EncodeToString(sum[:])
	for _, addr := range addrs {
		s := server{family: syscall.AF_INET, head: fmt.Sprintf(" HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n", addr, key)}
		if addr.Addr().Is4() {
			s.address = &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
		} else {
			s.address, s.family = &syscall.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}, syscall.AF_INET6
		}
		l.servers = append(l.servers, s)
	}
	l.pingedAt = l.now
	var err error
	l.epfd, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return l, err
}

// pin keeps the calling goroutine, which drives the loop, on a thread whose timers
// fire without the usual 50 µs of slack.
func (l *loop) pin() {
	runtime.LockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, 29 /* PR_SET_TIMERSLACK */, 1, 0)
}

// close closes every connection and the loop; no event is told.
func (l *loop) close() {
	for _, c := range l.conns {
		if c != nil && c.state != stateClosed {
			syscall.Close(c.fd)
			c.state = stateClosed
		}
	}
	syscall.Close(l.epfd)
}

// dial starts slot id's connection, which will ask for target (path and query). The
// slot's former one must be closed.
func (l *loop) dial(id int, target string) error {
	to := &l.servers[id%len(l.servers)]
	fd, err := syscall.Socket(to.family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if err = syscall.Connect(fd, to.address); err != nil && err != syscall.EINPROGRESS {
		syscall.Close(fd)
		return fmt.Errorf("connect: %w", err)
	}
	l.dials++
	c := &conn{id: int32(id), dial: l.dials, fd: fd, state: stateUpgrading, armed: true, dialed: nanos()}
	c.heard = c.dialed
	c.out = append(append(append(c.out, "GET "...), target...), to.head...)
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT, Fd: c.id, Pad: c.dial}
	if err = syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		syscall.Close(fd)
		return fmt.Errorf("epoll: %w", err)
	}
	l.conns[id] = c
	l.dialing++
	return nil
}

// poll is one round: it waits until a socket is ready, at most until the time
// until (of nanos), reads, tells events, and writes what they and earlier calls
// of send left.
func (l *loop) poll(until int64) error {
	l.flush()
	n, err := l.wait(time.Duration(until - nanos()))
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	l.now = nanos()
	for _, e := range l.ready[:n] {
		c := l.conns[e.Fd]
		if c.dial != e.Pad {
			continue
		}
		if c.state != stateClosed && e.Events&syscall.EPOLLOUT != 0 {
			l.write(c)
		}
		if c.state != stateClosed && e.Events&^syscall.EPOLLOUT != 0 {
			l.receive(c)
		}
	}
	l.keepalive()
	l.flush()
	return nil
}

// wait is epoll_wait with a timeout in nanoseconds: whole milliseconds would send
// an open loop's messages late.
func (l *loop) wait(timeout time.Duration) (int, error) {
	limit := syscall.NsecToTimespec(int64(max(0, timeout)))
	n, _, errno := syscall.Syscall6(sysEpollPwait2, uintptr(l.epfd), uintptr(unsafe.Pointer(&l.ready[0])),
		eventsMax, uintptr(unsafe.Pointer(&limit)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, nil
	case syscall.ENOSYS: // Linux before 5.11
		n, err := syscall.EpollWait(l.epfd, l.ready[:], int(max(0, timeout)/time.Millisecond))
		return max(0, n), err
	}
	return 0, errno
}

// receive reads once and consumes every complete frame. Only a partial one is
// copied, so that most connections never have a buffer.
func (l *loop) receive(c *conn) {
	n, err := syscall.Read(c.fd, l.read[:])
	l.now = nanos()
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return
	case err != nil:
		l.drop(c, fmt.Errorf("read: %w", err))
		return
	case n == 0:
		l.drop(c, io.EOF)
		return
	}
	c.heard = l.now
	p := l.read[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, p...)
		p = c.in
	}
	rest, err := l.consume(c, p)
	if err != nil {
		l.drop(c, err)
		return
	}
	if c.state == stateClosed {
		return
	}
	switch {
	case len(rest) > 0:
		c.in = append(c.in[:0], rest...)
	case cap(c.in) <= readBytes:
		c.in = c.in[:0]
	default:
		c.in = nil
	}
}

// write sends what c.out holds, and arms writability while the socket is full.
func (l *loop) write(c *conn) {
	c.dirty = false
	for len(c.out) > 0 {
		n, err := syscall.Write(c.fd, c.out)
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			l.drop(c, fmt.Errorf("write: %w", err))
			return
		}
		c.out = c.out[:copy(c.out, c.out[n:])]
	}
	if full := len(c.out) > 0; full != c.armed {
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: c.id, Pad: c.dial}
		if full {
			event.Events |= syscall.EPOLLOUT
		}
		if err := syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_MOD, c.fd, &event); err != nil {
			l.drop(c, fmt.Errorf("epoll: %w", err))
			return
		}
		c.armed = full
	}
}

// flush writes to the sockets that send has marked.
func (l *loop) flush() {
	for i := 0; i < len(l.dirty); i++ { // closed, told by write, may add to it
		c := l.dirty[i]
		if c.dirty && !c.armed && c.state != stateClosed {
			l.write(c)
		}
		c.dirty = false
	}
	l.dirty = l.dirty[:0]
}

// drop closes c for err and tells it.
func (l *loop) drop(c *conn, err error) {
	l.hangUp(c)
	l.on.closed(c, err)
}

// abort closes c by a reset, as a network that is gone would, without telling it: no
// port is left waiting.
func (l *loop) abort(c *conn) {
	_ = syscall.SetsockoptLinger(c.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	l.hangUp(c)
}

// hangUp closes c without telling it.
func (l *loop) hangUp(c *conn) {
	if c.state == stateUpgrading {
		l.dialing--
	} else {
		l.open--
	}
	syscall.Close(c.fd)
	c.state, c.in, c.out = stateClosed, nil, nil
}

// keepalive pings each connection every pingEvery, spread evenly, and gives up
// those that have been silent, as the SDK does.
func (l *loop) keepalive() {
	since := l.now - l.pingedAt
	if since < int64(10*time.Millisecond) || len(l.conns) == 0 {
		return
	}
	l.pingedAt = l.now
	l.pingCredit += float64(since) / float64(pingEvery) * float64(len(l.conns))
	for ; l.pingCredit >= 1; l.pingCredit-- {
		l.pingAt = (l.pingAt + 1) % len(l.conns)
		c := l.conns[l.pingAt]
		if c == nil {
			continue
		}
		quiet := time.Duration(l.now - c.heard)
		switch {
		case c.state == stateOpen && quiet > silentMax:
			l.drop(c, errSilent)
		case c.state == stateUpgrading && quiet > upgradeMax:
			l.drop(c, errors.New("handshake not answered in 45 s"))
		case c.state == stateOpen:
			l.pings++
			l.send(c, opPing, strconv.AppendInt(nil, l.now, 10))
		}
	}
}
