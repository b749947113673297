package core

import (
	"strings"
	"testing"
)

func TestProfileRecord(t *testing.T) {
	for _, p := range []Profile{{}, {Gender: 2}, {1, "p", "e@x", "0"}, {-1, strings.Repeat("x", 300), "", "\xff"}} {
		b := p.encode()
		got, err := decodeProfile(b)
		if err != nil || got != p {
			t.Errorf("%+v became %+v: %v", p, got, err)
		}
		for n := range len(b) {
			if _, err := decodeProfile(b[:n]); n == 0 && err == nil {
				t.Error("an empty record is no profile")
			}
		}
	}
	if _, err := decodeProfile([]byte{0, 5, 'x'}); err == nil {
		t.Error("a cut text must be refused")
	}
}
