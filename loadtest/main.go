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
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
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
	if os.Getenv(workerEnv) != "" {
		os.Exit(workHere(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once
	_, code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	os.Exit(code)
}

// options are the flags of every scenario and what is made of them.
type options struct {
	ws, api, ops                      list
	secret, admin, prefix, json, html string
	sdk, compression, compressor      string
	serverPID, dialers, workers       int
	runs                              int
	seed                              uint64
	duration, warmup, drain           time.Duration
	allowRemote                       bool
	name                              string // of the report; "" is the command line
	shape                                    // what differs between scenarios
	scenario                          *scenario
	args                              []string
	addrs                             []netip.AddrPort
	paths                             []string
	script                            func(*worker) script // nil: only the plan
}

func (o *options) define(fs *flag.FlagSet) {
	o.ws.texts, o.api.texts = []string{"ws://127.0.0.1:10001"}, []string{"http://127.0.0.1:10002"}
	fs.Var(&o.ws, "ws", "WebSocket address; several, or given again: the nodes of a cluster, users spread over them")
	fs.Var(&o.api, "api", "HTTP API; one for each --ws: servers that know nothing of each other")
	fs.Var(&o.ops, "ops", "ops address (http://127.0.0.1:10003) for the server's heap, GC and fsync figures; one for each --ws")
	fs.BoolVar(&o.allowRemote, "allow-remote", false, "allow targets other than this machine; only servers you may load")
	fs.StringVar(&o.secret, "secret", "openIM123", "the server's secret")
	fs.StringVar(&o.admin, "admin", "imAdmin", "an administrator's user ID")
	fs.StringVar(&o.prefix, "users-prefix", "load", "user IDs are <prefix>_000000 and up; generators at work together need different ones")
	fs.StringVar(&o.sdk, "sdk", "go", "SDK to simulate: go (gob) or js (JSON)")
	fs.StringVar(&o.compression, "compression", "gzip", "gzip, as the SDKs ask for, or none")
	fs.StringVar(&o.compressor, "compressor", "stencil", "how messages are compressed: stencil, or sdk for a compressor's run per message (dear; js always does)")
	fs.StringVar(&o.json, "json", "", "write the results to this file")
	fs.StringVar(&o.html, "html", "", "write the results with plots to this file")
	fs.StringVar(&o.name, "name", "", "of the run in reports; runs of one name are repetitions; empty: the command")
	fs.IntVar(&o.serverPID, "server-pid", 0, "the server's process; 0 finds those that listen at --ws")
	fs.IntVar(&o.dialers, "dialers", 64, "handshakes in flight")
	fs.IntVar(&o.workers, "workers", 0, "processes of the generator; 0: as many as the descriptor limit asks for")
	fs.IntVar(&o.runs, "runs", 1, "repeat so often; the table shows medians and ranges")
	fs.Uint64Var(&o.seed, "seed", 1, "of the texts")
	fs.DurationVar(&o.duration, "duration", 10*time.Second, "time to measure")
	fs.DurationVar(&o.drain, "drain", 5*time.Second, "how long to wait at the end for what is missing")
}

// list is a flag that may be given several times, or hold several values at once.
type list struct {
	texts []string
	given bool // texts are not the default
}

func (l *list) String() string { return strings.Join(l.texts, ",") }

// Set replaces the default and adds to what was set before.
func (l *list) Set(text string) error {
	if !l.given {
		l.texts, l.given = nil, true
	}
	l.texts = append(l.texts, strings.Split(text, ",")...)
	return nil
}

// parse makes options of a command line; flag.ErrHelp asks for no more.
func parse(args []string, log io.Writer) (*options, *flag.FlagSet, error) {
	o := &options{args: args}
	for i := range scenarios {
		if len(args) > 0 && scenarios[i].name == args[0] {
			o.scenario = &scenarios[i]
		}
	}
	if o.scenario == nil {
		printUsage(log)
		return nil, nil, errors.New("which scenario?")
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	fs.SetOutput(log)
	o.define(fs)
	o.scenario.flags(fs, o)
	if err := fs.Parse(args[1:]); err != nil {
		return nil, nil, err
	}
	if fs.NArg() > 0 {
		return nil, nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return o, fs, o.check()
}

func printUsage(log io.Writer) {
	fmt.Fprintln(log, "usage: loadtest <scenario> [flags]")
	for _, s := range scenarios {
		fmt.Fprintf(log, "  %-9s %s\n", s.name, s.about)
	}
	fmt.Fprintln(log, "  standard  a server of its own, and all of this in five minutes")
	fmt.Fprintln(log, "  compare   a.json b.json: how b differs from a")
	fmt.Fprintln(log, "  <scenario> -h lists the flags")
}

func (o *options) check() error {
	switch {
	case o.duration <= 0 || o.dialers < 1 || o.runs < 1:
		return errors.New("--duration, --dialers and --runs must be positive")
	case o.workers < 0 || o.warmup < 0 || o.drain < 0 || o.rate < 0:
		return errors.New("--workers, --warmup, --drain and --rate must not be negative")
	case o.outstanding > windowMax:
		return fmt.Errorf("--outstanding must be at most %d", windowMax)
	case o.payload != 0 && (o.payload < counterDigits || o.payload > frameMax/2):
		return fmt.Errorf("--payload must be %d … %d", counterDigits, frameMax/2)
	}
	if n := len(o.api.texts); n != 1 && n != len(o.ws.texts) {
		return errors.New("give one --api, or one for each --ws")
	}
	if _, err := newSDK(o.sdk, o.compression, o.compressor); err != nil {
		return err
	}
	for _, text := range o.ws.texts {
		addr, path, err := o.target("--ws", text, "ws")
		if err != nil {
			return err
		}
		o.addrs, o.paths = append(o.addrs, addr), append(o.paths, path)
	}
	for name, texts := range map[string][]string{"--api": o.api.texts, "--ops": o.ops.texts} {
		for i, text := range texts {
			if _, _, err := o.target(name, text, "http"); err != nil {
				return err
			}
			texts[i] = strings.TrimSuffix(text, "/")
		}
	}
	return o.scenario.check(o)
}

// target takes a URL apart and refuses every host but this one unless that is
// allowed: the generator is a weapon against servers that are not the caller's.
func (o *options) target(name, text, scheme string) (netip.AddrPort, string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != scheme || u.RawQuery != "" || u.Port() == "" {
		return netip.AddrPort{}, "", fmt.Errorf("%s %q: want %s://127.0.0.1:port", name, text, scheme)
	}
	host := u.Hostname()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if (err != nil || !ip.IsLoopback()) && !o.allowRemote {
		return netip.AddrPort{}, "", fmt.Errorf("%s %q: only loopback addresses without --allow-remote", name, text)
	}
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, u.Port()))
	if err != nil {
		return netip.AddrPort{}, "", fmt.Errorf("%s %q: %w", name, text, err)
	}
	path := u.Path
	if path == "" {
		path = "/"
	}
	to := addr.AddrPort()
	return netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), path, nil
}

// execute runs the scenario that args name and returns its reports, if there are
// any, and the exit code.
func execute(ctx context.Context, args []string, out, log io.Writer) (*results, int) {
	if len(args) > 0 {
		switch args[0] {
		case "compare":
			return nil, compare(args[1:], out, log)
		case "standard":
			return standard(ctx, args[1:], out, log)
		}
	}
	o, fs, err := parse(args, log)
	if errors.Is(err, flag.ErrHelp) {
		return nil, exitOK
	}
	all := newResults()
	for i := 0; err == nil && i < o.runs && ctx.Err() == nil; i++ {
		var r *report
		if r, err = run(ctx, o, fs, log); err == nil {
			all.Reports = append(all.Reports, r)
		}
	}
	if err != nil {
		fmt.Fprintf(log, "loadtest: %v\n", err)
		return nil, exitUsage
	}
	return all, all.conclude(o.json, o.html, out, log)
}

// shown is a flag's value without secrets.
func shown(f *flag.Flag) string {
	if f.Name == "secret" {
		return "***"
	}
	return f.Value.String()
}
