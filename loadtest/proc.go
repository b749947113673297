//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is USER_HZ, the unit of CPU times in /proc; 100 on all of Linux.
const ticksPerSecond = 100

// usage is what a process has used so far.
type usage struct {
	cpu time.Duration // user and system
	rss int64         // bytes, now
}

// process reads figures of a process from /proc. pid 0 is unknown: all reads as zero.
type process struct {
	pid  int
	name string
}

func (p *process) usage() (usage, error) {
	if p.pid == 0 {
		return usage{}, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return usage{}, err
	}
	// The name, in parentheses, may hold anything; the state follows it.
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 22 {
		return usage{}, fmt.Errorf("/proc/%d/stat: too short", p.pid)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	pages, err3 := strconv.ParseInt(f[21], 10, 64)
	return usage{
		cpu: time.Duration(user+system) * time.Second / ticksPerSecond,
		rss: pages * int64(os.Getpagesize()),
	}, errors.Join(err1, err2, err3)
}

// ownCPU is the generator's user and system time.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// stolen is how long virtual cores that had work waited for real ones, all together;
// 0 where the kernel does not tell.
func stolen() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) < 9 || string(f[0]) != "cpu" {
		return 0
	}
	ticks, _ := strconv.ParseInt(string(f[8]), 10, 64)
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// findProcess returns the process pid or, if that is 0, the one that listens on port.
// It fails if there is none, or none whose descriptors may be read.
func findProcess(pid int, port uint16) (*process, error) {
	if pid == 0 {
		inodes, err := listeners(port)
		if err != nil {
			return &process{}, err
		}
		if pid, err = ownerOf(inodes); err != nil {
			return &process{}, fmt.Errorf("port %d: %w", port, err)
		}
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return &process{}, err
	}
	return &process{pid: pid, name: strings.TrimSpace(string(name))}, nil
}

// listeners returns the socket links, as /proc/<pid>/fd shows them, that listen on port.
func listeners(port uint16) (map[string]bool, error) {
	const listening = "0A"
	links := map[string]bool{}
	suffix := fmt.Sprintf(":%04X", port)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(file)
		if err != nil {
			continue // no IPv6
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			v := strings.Fields(lines.Text())
			if len(v) > 9 && v[3] == listening && strings.HasSuffix(v[1], suffix) {
				links["socket:["+v[9]+"]"] = true
			}
		}
		f.Close()
	}
	if len(links) == 0 {
		return nil, fmt.Errorf("nothing listens on port %d", port)
	}
	return links, nil
}

func ownerOf(links map[string]bool) (int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*/fd")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // another user's process, or one that ended
		}
		for _, e := range entries {
			if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && links[link] {
				return strconv.Atoi(filepath.Base(filepath.Dir(dir)))
			}
		}
	}
	return 0, errors.New("its process is not visible; give --server-pid")
}

// fdsForOthers is how many descriptors stay free for HTTP, files and the runtime.
const fdsForOthers = 64

// descriptors raises the descriptor limit as far as this process may, and returns
// how many connections fit.
func descriptors() (int, error) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("descriptor limit: %w", err)
	}
	if r.Cur < r.Max {
		r.Cur = r.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
			return 0, fmt.Errorf("raise the descriptor limit to %d: %w", r.Max, err)
		}
	}
	return int(min(r.Cur, 1<<30)) - fdsForOthers, nil
}

// servers are the processes that a run loads. One goroutine reads them.
type servers struct {
	processes []*process
	ops       []string // ops addresses; empty: no figures from inside
	known     map[int]usage
	log       func(format string, args ...any)
}

// serverFigures is what all servers together have used so far.
type serverFigures struct {
	usage
	stolen  time.Duration      // of this machine's cores, by its host
	metrics map[string]float64 // of opsMetrics; nil if they were not read
}

// opsMetrics are the names that figures are made of.
var opsMetrics = []string{
	"go_memstats_heap_objects", "go_memstats_heap_alloc_bytes", "go_gc_duration_seconds_count", "go_gc_duration_seconds_sum",
	"gannet_storage_commit_seconds_count", "gannet_storage_commit_seconds_sum",
}

// find finds the processes that listen at the WebSocket addresses.
func (s *servers) find(o *options, r *report) {
	s.ops, s.known, s.log = o.ops.texts, map[int]usage{}, r.warn
	for _, addr := range o.addrs {
		p, err := findProcess(o.serverPID, addr.Port())
		if err != nil {
			r.warn("no figures of the server: %v", err)
			continue
		}
		if slices.ContainsFunc(s.processes, func(q *process) bool { return q.pid == p.pid }) {
			continue
		}
		s.processes = append(s.processes, p)
		r.Server = strings.TrimPrefix(fmt.Sprintf("%s, %s pid %d", r.Server, p.name, p.pid), ", ")
	}
}

// sample reads what the servers have used, and with inside their metrics too. A
// server that is gone counts as it was last.
func (s *servers) sample(ctx context.Context, inside bool) (f serverFigures) {
	for _, p := range s.processes {
		if u, err := p.usage(); err == nil && u.rss > 0 {
			s.known[p.pid] = u
		}
		f.cpu += s.known[p.pid].cpu
		f.rss += s.known[p.pid].rss
	}
	f.stolen = stolen()
	if !inside || len(s.ops) == 0 {
		return f
	}
	f.metrics = map[string]float64{}
	for _, base := range s.ops {
		if err := readMetrics(context.WithoutCancel(ctx), base, f.metrics); err != nil {
			s.log("no figures from inside the server: %v", err)
			f.metrics, s.ops = nil, nil
			break
		}
	}
	return f
}

// read is sample after a collection of the servers' garbage, if collect says so.
func (s *servers) read(ctx context.Context, collect bool) serverFigures {
	if collect {
		for _, base := range s.ops {
			for range 3 { // pools give up what they hold at the second; sample tells what is wrong
				_, _ = get(context.WithoutCancel(ctx), base+"/debug/pprof/heap?gc=1")
			}
		}
	}
	return s.sample(ctx, true)
}

// get returns the body of an ops endpoint.
func get(ctx context.Context, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Timeout: apiTimeout}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", url, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return string(text), err
}

// readMetrics adds a server's opsMetrics to sums.
func readMetrics(ctx context.Context, ops string, sums map[string]float64) error {
	text, err := get(ctx, ops+"/metrics")
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if x, err := strconv.ParseFloat(value, 64); err == nil && slices.Contains(opsMetrics, name) {
			sums[name] += x
		}
	}
	return err
}

// machine says where a result was measured.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"` // of the machine, whatever this process may use
	Memory int64  `json:"memoryBytes"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

func thisMachine() machine {
	m := machine{Go: runtime.Version(), CPU: fieldOf("/proc/cpuinfo", "model name")}
	cpus, _ := os.ReadFile("/proc/cpuinfo")
	m.Cores = max(runtime.NumCPU(), bytes.Count(cpus, []byte("processor\t")))
	kb, _ := strconv.ParseInt(strings.TrimSuffix(fieldOf("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	m.Memory = kb << 10
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(release))
	return m
}

// fieldOf returns the first "name: value" of a file of /proc, or "".
func fieldOf(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// commit is the checked-out commit with "-dirty" if the tree has changes; "" outside git.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
