package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	sdklog "github.com/openimsdk/tools/log"
)

var (
	flagServer = flag.String("gannet", "", "server binary to test; empty: built from the parent folder")
	flagSDKLog = flag.String("sdklog", "", "existing folder for the SDK's debug log; empty: none is kept")
)

// Set by TestMain, constant afterwards.
var (
	serverBinary string
	common       *process // the server of all tests that do not stop one
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gannet-e2e-")
	if err != nil {
		return fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := quietSDK(dir); err != nil {
		return fatal(err)
	}
	if serverBinary = *flagServer; serverBinary == "" {
		serverBinary = filepath.Join(dir, "gannet")
		build := exec.Command("go", "build", "-o", serverBinary, ".")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			return fatal(fmt.Errorf("building the server: %w\n%s", err, out))
		}
	}
	common, err = newProcess(filepath.Join(dir, "common"))
	if err != nil {
		return fatal(err)
	}
	if err := common.start(); err != nil {
		return fatal(err)
	}
	// The tests wait far more than they work: run more of them at once than there
	// are cores, so that the idle test's three minutes are everybody's.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("6")
	}
	code := m.Run()
	if err := common.terminate(); err != nil {
		fmt.Fprintf(os.Stderr, "the common server: %v\n%s", err, common.tail(nil))
		return 1
	}
	return code
}

func fatal(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// quietSDK sends the SDK's log, which goes to standard output by default, to
// where the flag says.
func quietSDK(dir string) error {
	level, where := sdklog.LevelError, dir
	if *flagSDKLog != "" {
		level, where = sdklog.LevelDebug, *flagSDKLog
	}
	return sdklog.InitLoggerFromConfig("sdk", "", "", "", level, false, false, where+"/", 1, 24, "", true)
}
