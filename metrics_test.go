package main

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gannet/core"
	"gannet/gateway"
	"gannet/storage"
)

func TestCollector(t *testing.T) {
	var s snapshot
	s.gateway = gateway.Stats{Sessions: 5, Endings: map[string]uint64{"slow": 2, "kicked": 1}, HandshakeErrors: map[int]uint64{1506: 4}}
	s.core = core.Stats{Sent: 7}
	s.storage = storage.Stats{DiskBytes: 9}
	s.storage.Commits, s.storage.SyncSum = 3, 2*time.Millisecond
	s.storage.SyncTimes[0], s.storage.SyncTimes[2] = 1, 2
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(func() snapshot { return s }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += "{" + l.GetValue() + "}"
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			if h := m.Histogram; h != nil {
				got[name] = float64(h.GetSampleCount())
				for _, b := range h.Bucket {
					got[fmt.Sprintf("%s<%v", name, b.GetUpperBound())] = float64(b.GetCumulativeCount())
				}
			}
		}
	}
	for name, want := range map[string]float64{
		"gannet_gateway_sessions":                     5,
		"gannet_gateway_endings_total{slow}":          2,
		"gannet_gateway_endings_total{kicked}":        1,
		"gannet_gateway_handshake_errors_total{1506}": 4,
		"gannet_core_messages_sent_total":             7,
		"gannet_storage_disk_bytes":                   9,
		"gannet_storage_commit_seconds":               3,
		"gannet_storage_commit_seconds<3.2e-05":       1,
		"gannet_storage_commit_seconds<6.4e-05":       1,
		"gannet_storage_commit_seconds<0.000128":      3,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v, want %v", name, v, want)
		}
	}
}

// Names say their room and end in _total exactly if they count; the table of
// docs/operations.md lists them all with their help.
func TestMetricsAreDocumented(t *testing.T) {
	var want, got []string
	for _, m := range metrics {
		shape := `^gannet_(gateway|api|core|storage)_[a-z0-9_]+$`
		if counts := m.kind == prometheus.CounterValue; !regexp.MustCompile(shape).MatchString(m.name) ||
			counts != regexp.MustCompile(`_total$`).MatchString(m.name) {
			t.Errorf("name %s", m.name)
		}
		name := m.name
		if m.label != "" {
			name += "{" + m.label + "}"
		}
		want = append(want, name+" "+m.help)
	}
	want = append(want, syncName+" "+syncHelp)
	for _, row := range regexp.MustCompile("(?m)^\\| `(gannet_[^`]+)` \\| ([^|]+) \\|$").FindAllStringSubmatch(section(t, "docs/operations.md", "Metrics"), -1) {
		got = append(got, row[1]+" "+row[2])
	}
	for i, row := range want {
		if !slices.Contains(got, row) {
			t.Errorf("docs/operations.md lacks %s", row)
		} else if i < len(got) && got[i] != row {
			t.Errorf("docs/operations.md: row %d is %s, want %s", i+1, got[i], row)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d rows for %d metrics", len(got), len(want))
	}
}
