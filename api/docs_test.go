package api

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const docsFile = "../docs/http-api.md"

// The examples of docs/http-api.md work in their order on a fresh server, and
// answer as shown: each ```sh block's last line is compared with the ```json block
// after it.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(sh|json)\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	p := startProcess(t, t.TempDir())
	const mark = "=== end of block ==="
	var script strings.Builder
	shown := []string{} // by block of shell; "" if nothing is
	for _, b := range blocks {
		if b[1] == "json" {
			shown[len(shown)-1] = b[2]
			continue
		}
		shown = append(shown, "")
		script.WriteString(strings.NewReplacer("127.0.0.1:10000", p.port("10000"), "127.0.0.1:10002", p.port("10002"), "\ncurl", "\necho\ncurl").Replace(b[2]))
		script.WriteString("echo\necho '" + mark + "'\n")
	}
	out, err := exec.Command("bash", "-e", "-o", "pipefail", "-c", script.String()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := strings.Split(string(out), mark+"\n")
	if len(answers) != len(shown)+1 || len(shown) < 25 {
		t.Fatalf("%d blocks, %d answers\n%s", len(shown), len(answers), out)
	}
	for i, want := range shown {
		lines := strings.Split(strings.TrimSpace(answers[i]), "\n")
		for _, line := range lines {
			if line != "" && !strings.HasPrefix(line, `{"errCode":0,`) {
				t.Errorf("block %d: %s", i+1, line)
			}
		}
		if want == "" {
			continue
		}
		var got, as any
		last := lines[len(lines)-1]
		if err := json.Unmarshal([]byte(last), &got); err != nil {
			t.Errorf("block %d: %v: %s", i+1, err, last)
			continue
		}
		if err := json.Unmarshal([]byte(want), &as); err != nil {
			t.Errorf("block %d shows no JSON: %v", i+1, err)
			continue
		}
		if why := differs(got, as, "answer"); why != "" {
			t.Errorf("block %d: %s:\n%s\n%s", i+1, why, last, want)
		}
	}
}

// Every route is documented.
func TestDocsNameEveryRoute(t *testing.T) {
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	for path := range routes(nil) {
		if !regexp.MustCompile("[`: 0-9]" + regexp.QuoteMeta(path) + "[` ,]").Match(text) {
			t.Errorf("%s is not in %s", path, docsFile)
		}
	}
}
