package api

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	officialFile = "testdata/official.txt"
	compatFile   = "../docs/compat.md"
	compatBegin  = "<!-- made by go test ./api -run TestCompat -rewrite -->\n"
	compatEnd    = "<!-- end of what is made -->\n"
)

// TestCompat compares docs/compat.md with what is served: its tables hold every
// call of the official server. A call that is not served has its reason in
// officialFile, and every call that is served stands there.
func TestCompat(t *testing.T) {
	state := map[string]string{}
	for _, c := range served(t) {
		state[c] = "yes"
	}
	commands, pushes := commandTable(t)
	for id, handled := range commands {
		if !handled {
			state[fmt.Sprintf("ws %d", id)] = "refused"
		}
	}
	for _, id := range pushes {
		state[fmt.Sprintf("push %d", id)] = "yes"
	}
	official, err := os.ReadFile(officialFile)
	if err != nil {
		t.Fatal(err)
	}
	tables, faults := compatTables(string(official), state)
	for _, f := range faults {
		t.Errorf("%s: %s", officialFile, f)
	}
	_, faults = compatTables("= t\nv3 /nowhere\nv3 /nowhere\nv3 /msg/send_msg\n", map[string]string{"v3 /msg/send_msg": "yes", "ws 1": "yes"})
	if len(faults) != 3 {
		t.Errorf("a call without a reason, a repeated and a forgotten one are not seen: %v", faults)
	}
	text, err := os.ReadFile(compatFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), compatBegin)
	_, after, ends := strings.Cut(rest, compatEnd)
	if !ok || !ends {
		t.Fatalf("%s lacks its marks", compatFile)
	}
	want := before + compatBegin + "\n" + tables + compatEnd + after
	if *rewrite {
		if err := os.WriteFile(compatFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s is stale; look at its difference after go test ./api -run TestCompat -rewrite", compatFile)
	}
}

// compatTables makes the tables of the page from the list of official calls and
// from what is served, and says where the two do not fit.
func compatTables(official string, state map[string]string) (tables string, faults []string) {
	var summary, b strings.Builder
	summary.WriteString("| table | calls | served |\n|---|---|---|\n")
	title, calls, yes := "", 0, 0
	end := func() {
		if title != "" {
			fmt.Fprintf(&summary, "| %s | %d | %d |\n", title, calls, yes)
			b.WriteByte('\n')
		}
		calls, yes = 0, 0
	}
	listed := map[string]bool{}
	for line := range strings.Lines(official) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if next, ok := strings.CutPrefix(line, "= "); ok {
			end()
			title = next
			fmt.Fprintf(&b, "### %s\n\n| call | served | remark |\n|---|---|---|\n", title)
			continue
		}
		kind, rest, _ := strings.Cut(line, " ")
		name, remark, _ := strings.Cut(rest, " ")
		call := kind + " " + name
		if listed[call] {
			faults = append(faults, call+" is there twice")
			continue
		}
		listed[call] = true
		calls++
		is := state[call]
		if is == "" {
			is = "no"
			if remark == "" {
				faults = append(faults, call+" is not served and has no reason")
			}
		}
		if is == "yes" {
			yes++
		}
		if kind == "GET" {
			name = "GET " + name
		}
		fmt.Fprintf(&b, "| `%s` | %s |%s|\n", name, is, strings.TrimRight(" "+remark, " ")+" ")
	}
	end()
	for call := range state {
		if !listed[call] {
			faults = append(faults, call+" is served and not there")
		}
	}
	slices.Sort(faults)
	return summary.String() + "\n" + b.String(), faults
}
