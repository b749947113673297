package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gannet/core"
	"gannet/gateway"
	"gannet/internal/im"
)

// section is the text of file between the heading and the next of its level.
func section(t *testing.T, file, heading string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %s", file, heading)
	}
	body, _, _ := strings.Cut(after, "\n## ")
	return body
}

// The endings of docs/protocol.md are those of the gateway, with their codes.
func TestEndingsAreDocumented(t *testing.T) {
	source, err := os.ReadFile("gateway/disconnects.go")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, m := range regexp.MustCompile(`end\w+: +\{"(\w+)", (\d+), `).FindAllStringSubmatch(string(source), -1) {
		want = append(want, m[1]+" "+m[2])
	}
	for _, m := range regexp.MustCompile(`(?m)^\| (\w+) \| (\d+) \| [^|]+ \|$`).FindAllStringSubmatch(section(t, "docs/protocol.md", "Close codes"), -1) {
		got = append(got, m[1]+" "+m[2])
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("documented:\n%v\nin the gateway:\n%v", got, want)
	}
}

// The drops of docs/operations.md are those that the gateway counts.
func TestDropsAreDocumented(t *testing.T) {
	gw, err := gateway.New(gateway.Options{Core: (*core.Core)(nil)})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	_, after, _ := strings.Cut(section(t, "docs/operations.md", "Metrics"), "Drops, by reason:")
	for _, m := range regexp.MustCompile(`(?m)^\| (\w+_?\w*) \| [^|]+ \|$`).FindAllStringSubmatch(after, -1) {
		got[m[1]] = true
	}
	delete(got, "reason")
	for reason := range gw.Stats().Drops {
		if !got[reason] {
			t.Errorf("docs/operations.md lacks %s", reason)
		}
		delete(got, reason)
	}
	for reason := range got {
		t.Errorf("docs/operations.md has %s, the gateway has not", reason)
	}
}

// The error table of docs/protocol.md is the one of internal/im, in its order.
func TestErrorTableIsDocumented(t *testing.T) {
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]+) \| [^|]+ \|$`).FindAllStringSubmatch(section(t, "docs/protocol.md", "Errors"), -1) {
		documented = append(documented, m[1]+" "+m[2])
	}
	for i, e := range im.Errors() {
		want := fmt.Sprintf("%d %s", e.Code, e.Name)
		if i >= len(documented) {
			t.Errorf("row %d is missing: %s", i+1, want)
		} else if documented[i] != want {
			t.Errorf("row %d is %q, the table in internal/im says %q", i+1, documented[i], want)
		}
	}
	if len(documented) > len(im.Errors()) {
		t.Errorf("rows without an error: %q", documented[len(im.Errors()):])
	}
}
