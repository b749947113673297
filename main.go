// Command gannet is an instant-messaging server that speaks OpenIM: unmodified
// OpenIM SDK clients over WebSocket, AppServers over HTTP.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"go.yaml.in/yaml/v3"
)

const usage = `gannet is an instant-messaging server for OpenIM clients.

  gannet [serve] [flags]   run the server
  gannet config [flags]    print the effective configuration, secrets masked
  gannet version           print the version

Every key of config.example.yaml is also a variable: limits.max-frame-bytes is
GANNET_LIMITS_MAX_FRAME_BYTES. Defaults < file < environment < flags:

`

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run executes one command and returns the exit code: 0 done, 1 failed, 2 asked
// for wrongly.
func run(args, environ []string, stdout, stderr io.Writer) int {
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "version":
		fmt.Fprintln(stdout, "gannet", version())
		return 0
	case "help":
		args = []string{"--help"}
	case "serve", "config":
	default:
		fmt.Fprintf(stderr, "gannet: unknown command %q (serve, config, version, help)\n", command)
		return 2
	}
	help := &strings.Builder{}
	c, err := loadConfig(args, environ, help)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage, help)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "gannet: bad configuration:\n  %s\n", strings.ReplaceAll(err.Error(), "\n", "\n  "))
		return 2
	}
	if command == "config" {
		err = printConfig(stdout, c)
	} else {
		err = serve(c, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "gannet: %v\n", err)
		return 1
	}
	return 0
}

func printConfig(w io.Writer, c *Config) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(c.masked()); err != nil {
		return err
	}
	return enc.Close()
}

// version names the build: module version, commit and its state, toolchain.
func version() string {
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown " + runtime.Version()
	}
	text := bi.Main.Version
	for _, s := range bi.Settings {
		switch {
		case s.Key == "vcs.revision":
			text += " " + s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			text += " modified"
		}
	}
	return fmt.Sprintf("%s %s %s/%s", text, bi.GoVersion, runtime.GOOS, runtime.GOARCH)
}
