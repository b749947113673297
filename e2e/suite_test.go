package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	flagSuite       = flag.Int("suite", 20, "users of the SDK's own test program; 0: it is left out")
	flagSuiteOnline = flag.Float64("suite-online", 0.5, "share of them who write; the others log in afterwards")
	flagSuiteSuper  = flag.Int("suite-super", 0, "users who are everybody's friends; 0: a twentieth of all")
	flagSuiteDir    = flag.String("suite-dir", "", "where the clients' databases go; a memory file system lets 1,000 users take minutes, not hours. Empty: a temporary folder")
)

// suitePackage is the SDK's published test program, at the version of go.mod.
const suitePackage = "github.com/openimsdk/openim-sdk-core/v3/integration_test"

// Where the program expects the server; it has no flag for it.
const (
	suiteWS  = "127.0.0.1:10001"
	suiteAPI = "127.0.0.1:10002"
)

// The SDK's own test program, unmodified, with every check switched on: friends,
// large and common groups, single and group messages of half of the users, the
// others' first login afterwards, then all of it again after every local database
// was deleted. It ends with status 0 when every user's numbers of groups,
// conversations and unread messages became what its formulas say, and with another
// when one did not within 40 looks. Its progress bars swallow much of what it
// prints, its "start success!" at the end too.
func TestOfficialSuite(t *testing.T) {
	t.Parallel()
	users := *flagSuite
	if users == 0 || testing.Short() {
		t.Skip("-suite 0 or -short")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "suite")
	if out, err := exec.Command("go", "build", "-o", program, suitePackage).CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	p, err := newProcess(filepath.Join(dir, "server"))
	if err != nil {
		t.Fatal(err)
	}
	p.ws, p.api = suiteWS, suiteAPI
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)

	work, err := os.MkdirTemp(cmp.Or(*flagSuiteDir, dir), "suite")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	if err := os.Mkdir(filepath.Join(work, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	// A thousand clients are the load, not the server's neighbours: they give way to it.
	cmd := exec.Command("nice", append([]string{"-n", "10", program}, suiteFlags(users)...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = work, output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the thread that starts the program must outlive it
	defer runtime.UnlockOSThread()
	start := time.Now()
	err = cmd.Run()
	took := time.Since(start).Round(time.Second)
	text, readErr := os.ReadFile(output.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	said := lastLines(string(text))
	if err != nil || !strings.Contains(string(text), "DeleteLocalDB end") {
		t.Fatalf("%d users, after %v: %v\n%s\nwrong at the end:\n%s", users, took, err, said, suiteMismatches(work))
	}
	for _, figure := range []string{"statistic msg count", "statistic send msg count", "average time consuming", "maximum time"} {
		if m := regexp.MustCompile(figure + `[^,\n]*`).FindString(string(text)); m != "" {
			t.Log(m)
		}
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	t.Logf("%d users in %v; the program took up to %d MiB", users, took, usage.Maxrss>>10)
}

// suiteFlags sizes the program for a number of users.
func suiteFlags(users int) []string {
	flags := map[string]int{
		"u":   users,
		"su":  cmp.Or(*flagSuiteSuper, max(2, users/20)), // users with all the others as friends
		"lg":  2,                                         // groups of all
		"cg":  2,                                         // groups that each online user makes
		"cgm": min(10, users/2),                          // their members
		"sm":  1,                                         // messages to each friend, 0.5 s apart
		"gm":  2,                                         // messages to each group of one's own and to those of all
	}
	out := []string{"-test", "-lgr", fmt.Sprint(*flagSuiteOnline), "-reg", "-imf", "-crg", "-sem", "-ckgn", "-ckcon", "-ckmsn", "-ckuni"}
	for name, n := range flags {
		out = append(out, fmt.Sprintf("-%s=%d", name, n))
	}
	return out
}

// lastLines returns the end of a program's output without its progress bars.
func lastLines(text string) string {
	var lines []string
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if !strings.ContainsAny(line, "█\x1b") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

var suiteMismatch = regexp.MustCompile(`check num:\d+, (.*?) un correct.*?"userID": "([^"]+)", "[^"]+": (\d+), "correct num": (\d+)`)

// suiteMismatches lists what the program's log says was wrong when it last looked.
func suiteMismatches(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "logs", "*"))
	last := map[string]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		for _, m := range suiteMismatch.FindAllStringSubmatch(string(b), -1) {
			last[m[2]] = fmt.Sprintf("%s: %s %s, not %s", m[2], m[1], m[3], m[4])
		}
	}
	var out []string
	for _, line := range last {
		out = append(out, line)
	}
	return strings.Join(sorted(out), "\n")
}
