//go:build linux

// Command loadtest drives a server that speaks OpenIM with simulated SDK clients
// and measures it. It is a client only: it shares the wire format with the server,
// nothing else. docs/loadtest.md says what each figure means.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the run found a fault, a refusal, or nothing at all
	exitUsage  = 2 // wrong flags, or the run could not start
)

// gcPercent trades memory for fewer collections beside the measurement.
const gcPercent = 400

func main() {
	debug.SetGCPercent(gcPercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once
	_, code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	os.Exit(code)
}

const usageText = `usage: loadtest p2p  [flags]   pairs of users write to each other
       loadtest idle [flags]   connections do nothing
       loadtest <scenario> -h  lists the flags`

// options are the flags of every scenario.
type options struct {
	ws, api, ops, secret, admin, prefix, sdk, compression, compressor, json string
	serverPID, dialers                                                      int
	seed                                                                    uint64
	duration                                                                time.Duration
}

func (o *options) define(fs *flag.FlagSet) {
	fs.StringVar(&o.ws, "ws", "ws://127.0.0.1:10001", "WebSocket address of the server; loopback only")
	fs.StringVar(&o.api, "api", "http://127.0.0.1:10002", "HTTP API of the server; loopback only")
	fs.StringVar(&o.ops, "ops", "", "ops address (http://127.0.0.1:10003) for the server's heap figures; loopback only")
	fs.StringVar(&o.secret, "secret", "openIM123", "the server's secret")
	fs.StringVar(&o.admin, "admin", "imAdmin", "an administrator's user ID")
	fs.StringVar(&o.prefix, "users-prefix", "load", "user IDs are <prefix>_000000 and up; generators at work together need different ones")
	fs.StringVar(&o.sdk, "sdk", "go", "SDK to simulate: go (gob) or js (JSON)")
	fs.StringVar(&o.compression, "compression", "gzip", "gzip, as the SDKs ask for, or none")
	fs.StringVar(&o.compressor, "compressor", "stencil", "how p2p compresses: stencil, or sdk for a compressor's run per message (dear; js always does)")
	fs.StringVar(&o.json, "json", "", "write the result to this file")
	fs.IntVar(&o.serverPID, "server-pid", 0, "the server's process; 0 finds the one that listens at --ws")
	fs.IntVar(&o.dialers, "dialers", 64, "handshakes in flight")
	fs.Uint64Var(&o.seed, "seed", 1, "of the texts")
	fs.DurationVar(&o.duration, "duration", 10*time.Second, "time to measure")
}

// runner is what a scenario works with.
type runner struct {
	opts   options
	sdk    sdk
	addr   netip.AddrPort
	path   string
	api    *api
	server *process
	known  usage // of the server when it was last read; one goroutine reads it
	report *report
	log    io.Writer
}

// progress prints a line for somebody who watches.
func (r *runner) progress(format string, args ...any) { fmt.Fprintf(r.log, format+"\n", args...) }

// usage is the server's; the last one known once it is gone.
func (r *runner) usage() usage {
	if u, err := r.server.usage(); err == nil && u.rss > 0 {
		r.known = u
	}
	return r.known
}

// execute runs the scenario that args name and returns its report, if there is
// one, and the exit code.
func execute(ctx context.Context, args []string, out, log io.Writer) (*report, int) {
	if len(args) == 0 {
		fmt.Fprintln(log, usageText)
		return nil, exitUsage
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	fs.SetOutput(log)
	r := &runner{log: log, server: &process{}}
	r.opts.define(fs)
	var check func() error
	var run func() error
	switch args[0] {
	case "p2p":
		var o p2pOptions
		o.define(fs)
		check, run = o.check, func() error { return runP2P(ctx, r, &o) }
	case "idle":
		var o idleOptions
		o.define(fs)
		check, run = o.check, func() error { return runIdle(ctx, r, &o) }
	default:
		fmt.Fprintln(log, usageText)
		return nil, exitUsage
	}
	if err := fs.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, exitOK
		}
		return nil, exitUsage
	}
	err := check()
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err == nil {
		err = r.prepare(ctx, fs)
	}
	if err == nil {
		err = run()
	}
	if err != nil {
		fmt.Fprintf(log, "loadtest %s: %v\n", args[0], err)
		return nil, exitUsage
	}
	return r.report, r.conclude(out)
}

// prepare checks the common options and logs in.
func (r *runner) prepare(ctx context.Context, fs *flag.FlagSet) (err error) {
	o := &r.opts
	if o.duration <= 0 || o.dialers < 1 {
		return errors.New("--duration and --dialers must be positive")
	}
	if r.sdk, err = newSDK(o.sdk, o.compression, o.compressor); err != nil {
		return err
	}
	if r.addr, r.path, err = loopback("--ws", o.ws, "ws"); err != nil {
		return err
	}
	if _, _, err = loopback("--api", o.api, "http"); err != nil {
		return err
	}
	if o.ops != "" {
		if _, _, err = loopback("--ops", o.ops, "http"); err != nil {
			return err
		}
	}
	r.report = &report{
		Scenario: fs.Name(), Started: time.Now(), Machine: thisMachine(), Commit: commit(), Settings: map[string]string{},
	}
	r.report.Command = "loadtest " + fs.Name()
	fs.VisitAll(func(f *flag.Flag) { r.report.Settings[f.Name] = shown(f) })
	fs.Visit(func(f *flag.Flag) { r.report.Command += " --" + f.Name + " " + shown(f) })
	if r.server, err = findProcess(o.serverPID, r.addr.Port()); err != nil {
		r.report.warn("no figures of the server: %v", err)
	} else {
		r.report.Server = fmt.Sprintf("%s, pid %d", r.server.name, r.server.pid)
	}
	r.api = newAPI(strings.TrimSuffix(o.api, "/"))
	return r.api.login(ctx, o.secret, o.admin)
}

// shown is a flag's value without secrets.
func shown(f *flag.Flag) string {
	if f.Name == "secret" {
		return "***"
	}
	return f.Value.String()
}

// loopback takes a URL apart and refuses every host but this one: the generator is
// a weapon against servers that are not the caller's.
func loopback(name, text, scheme string) (netip.AddrPort, string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != scheme || u.RawQuery != "" {
		return netip.AddrPort{}, "", fmt.Errorf("%s %q: want %s://127.0.0.1:port", name, text, scheme)
	}
	host := u.Hostname()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return netip.AddrPort{}, "", fmt.Errorf("%s %q: only loopback addresses", name, text)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return netip.AddrPort{}, "", fmt.Errorf("%s %q: needs a port", name, text)
	}
	path := u.Path
	if path == "" {
		path = "/"
	}
	return netip.AddrPortFrom(ip, uint16(port)), path, nil
}

// conclude prints and writes the report, and judges it.
func (r *runner) conclude(out io.Writer) int {
	r.report.print(out)
	code := exitOK
	if len(r.report.Faults) > 0 || len(r.report.Refusals) > 0 || !r.report.measured() {
		code = exitFailed
	}
	if r.opts.json != "" {
		if err := r.report.writeJSON(r.opts.json); err != nil {
			fmt.Fprintf(r.log, "loadtest: %v\n", err)
			code = exitUsage
		}
	}
	return code
}
