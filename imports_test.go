package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rooms says which packages of ours each room may import. The command is "main".
// Tests are free: a room is often tested on the real store.
var rooms = map[string][]string{
	"internal/im":   {},
	"internal/wire": {"internal/im"},
	"core":          {"internal/im", "internal/wire"},
	"storage":       {"internal/im", "core"},
	"gateway":       {"internal/im", "internal/wire", "core"},
	"api":           {"internal/im", "internal/wire", "core"},
	"loadtest":      {"internal/im", "internal/wire"},
	"main":          {"internal/im", "internal/wire", "core", "storage", "gateway", "api"},
	"bench":         {"internal/im", "internal/wire", "core", "storage", "gateway", "api"},
}

// engines says which rooms may import which modules; bench may import all.
var engines = map[string][]string{
	"github.com/openimsdk/protocol":           {"internal/wire", "core", "storage", "gateway", "api", "loadtest"},
	"google.golang.org/protobuf":              {"internal/wire", "core", "storage", "gateway", "api", "loadtest"},
	"github.com/klauspost/compress":           {"internal/wire"},
	"github.com/golang-jwt/jwt":               {"core", "loadtest"},
	"github.com/cockroachdb/pebble":           {"storage"},
	"github.com/panjf2000/gnet":               {"gateway"},
	"github.com/gobwas/ws":                    {"gateway", "loadtest"},
	"github.com/valyala/fasthttp":             {"api"},
	"github.com/bytedance/sonic":              {"api"},
	"github.com/prometheus/client_golang":     {"api", "main"},
	"go.yaml.in/yaml":                         {"main"},
	"github.com/HdrHistogram/hdrhistogram-go": {"loadtest"},
}

// TestImports walks every package and fails on an arrow that the tables lack.
// e2e is a module of its own.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == "e2e") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		room := roomOf(path.Dir(filepath.ToSlash(name)))
		if room == "" {
			t.Errorf("%s: its folder is no room; give it a row in rooms", name)
			return nil
		}
		seen[room] = true
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := refuse(room, imported); why != "" {
				t.Errorf("%s imports %s: %s", name, imported, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !seen["main"] || !seen["internal/im"] {
		t.Errorf("walked only %v", seen)
	}
}

// roomOf maps a folder to its room; folders below a room belong to it.
func roomOf(dir string) string {
	if dir == "." {
		return "main"
	}
	for room := range rooms {
		if dir == room || strings.HasPrefix(dir, room+"/") {
			return room
		}
	}
	return ""
}

// refuse says why room may not import the package; "" if it may.
func refuse(room, imported string) string {
	first, rest, _ := strings.Cut(imported, "/")
	switch {
	case first == "gannet":
		if to := roomOf(rest); to != room && !slices.Contains(rooms[room], to) {
			return room + " may not import " + to
		}
		return ""
	case !strings.Contains(first, "."):
		return "" // standard library
	}
	for module, users := range engines {
		if imported == module || strings.HasPrefix(imported, module+"/") {
			if room != "bench" && !slices.Contains(users, room) {
				return module + " belongs to " + strings.Join(users, ", ")
			}
			return ""
		}
	}
	return "an unknown module; give it a row in engines, and its reason in the commit"
}

// The rules themselves refuse what they should.
func TestImportRules(t *testing.T) {
	for _, tc := range []struct {
		room, imported string
		ok             bool
	}{
		{"core", "gannet/internal/wire", true},
		{"core", "gannet/storage", false},
		{"core", "gannet/core/sub", true},
		{"core", "net/http", true},
		{"core", "github.com/cockroachdb/pebble/v2", false},
		{"core", "github.com/golang-jwt/jwt/v5", true},
		{"storage", "github.com/cockroachdb/pebble/v2/vfs", true},
		{"storage", "gannet/gateway", false},
		{"gateway", "gannet/api", false},
		{"gateway", "github.com/gobwas/ws", true},
		{"gateway", "github.com/gobwas/wsx", false},
		{"internal/im", "gannet/internal/wire", false},
		{"internal/im", "github.com/openimsdk/protocol/sdkws", false},
		{"loadtest", "gannet/core", false},
		{"bench", "github.com/valyala/fasthttp", true},
		{"main", "gannet/storage", true},
		{"main", "gannet/loadtest", false},
		{"api", "example.org/new", false},
	} {
		if why := refuse(tc.room, tc.imported); (why == "") != tc.ok {
			t.Errorf("%s importing %s: %q, want allowed %v", tc.room, tc.imported, why, tc.ok)
		}
	}
}
