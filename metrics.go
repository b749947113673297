package main

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gannet/api"
	"gannet/core"
	"gannet/gateway"
	"gannet/storage"
)

// snapshot is what the rooms count, taken once per scrape.
type snapshot struct {
	gateway gateway.Stats
	api     api.Stats
	core    core.Stats
	storage storage.Stats
}

// metric maps a part of a snapshot to one name. Values are read by value, or, if
// the metric has a label, by labelled: label value → value.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*snapshot) float64
	label      string
	labelled   func(*snapshot) map[string]uint64
}

func count(name, help string, value func(*snapshot) uint64) metric {
	return metric{name: name, help: help, kind: prometheus.CounterValue,
		value: func(s *snapshot) float64 { return float64(value(s)) }}
}

func countBy(name, label, help string, labelled func(*snapshot) map[string]uint64) metric {
	return metric{name: name, help: help, kind: prometheus.CounterValue, label: label, labelled: labelled}
}

func gauge[N int | int64 | uint64](name, help string, value func(*snapshot) N) metric {
	return metric{name: name, help: help, kind: prometheus.GaugeValue,
		value: func(s *snapshot) float64 { return float64(value(s)) }}
}

// metrics is the closed table of what the rooms show; docs/operations.md repeats
// it and a test compares the two.
var metrics = []metric{
	gauge("gannet_gateway_connections", "Open connections, handshakes and closing ones included.",
		func(s *snapshot) int64 { return s.gateway.Connections }),
	gauge("gannet_gateway_connections_max", "Connections allowed.",
		func(s *snapshot) int { return s.gateway.MaxConns }),
	gauge("gannet_gateway_sessions", "Logged-in connections.",
		func(s *snapshot) int64 { return s.gateway.Sessions }),
	count("gannet_gateway_accepted_total", "Connections accepted.",
		func(s *snapshot) uint64 { return s.gateway.Accepted }),
	countBy("gannet_gateway_handshake_errors_total", "code", "Handshakes refused, by errCode.",
		func(s *snapshot) map[string]uint64 {
			byCode := make(map[string]uint64, len(s.gateway.HandshakeErrors))
			for code, n := range s.gateway.HandshakeErrors {
				byCode[strconv.Itoa(code)] = n
			}
			return byCode
		}),
	countBy("gannet_gateway_endings_total", "reason", "Connections ended, by reason (docs/protocol.md).",
		func(s *snapshot) map[string]uint64 { return s.gateway.Endings }),
	countBy("gannet_gateway_drops_total", "reason", "Frames and requests not carried out, by reason.",
		func(s *snapshot) map[string]uint64 { return s.gateway.Drops }),
	count("gannet_gateway_frames_in_total", "WebSocket frames read.",
		func(s *snapshot) uint64 { return s.gateway.FramesIn }),
	count("gannet_gateway_frames_out_total", "WebSocket frames written.",
		func(s *snapshot) uint64 { return s.gateway.FramesOut }),
	count("gannet_gateway_in_bytes_total", "Bytes read from sockets.",
		func(s *snapshot) uint64 { return s.gateway.BytesIn }),
	count("gannet_gateway_out_bytes_total", "Bytes written to sockets.",
		func(s *snapshot) uint64 { return s.gateway.BytesOut }),
	count("gannet_gateway_requests_total", "Requests accepted as a known command.",
		func(s *snapshot) uint64 { return s.gateway.Requests }),
	gauge("gannet_gateway_requests_in_flight", "Requests queued or running.",
		func(s *snapshot) int64 { return s.gateway.InFlight }),
	gauge("gannet_gateway_requests_queued_bytes", "Bytes of the requests in flight.",
		func(s *snapshot) int64 { return s.gateway.QueuedBytes }),
	gauge("gannet_gateway_lane_queue_requests", "Sends waiting for a worker.",
		func(s *snapshot) int { return s.gateway.LaneQueue }),
	gauge("gannet_gateway_read_queue_requests", "Other requests waiting for a worker.",
		func(s *snapshot) int { return s.gateway.ReadQueue }),
	gauge("gannet_gateway_inbox_bytes", "Frames waiting for an event loop.",
		func(s *snapshot) int64 { return s.gateway.InboxBytes }),

	count("gannet_api_requests_total", "HTTP requests answered.",
		func(s *snapshot) uint64 { return s.api.Requests }),
	count("gannet_api_failed_total", "HTTP requests answered with an errCode.",
		func(s *snapshot) uint64 { return s.api.Failed }),
	count("gannet_api_panics_total", "Handlers that panicked; also counted as failed.",
		func(s *snapshot) uint64 { return s.api.Panics }),
	count("gannet_api_refused_connections_total", "Connections over the API's limit.",
		func(s *snapshot) uint64 { return s.api.Refused }),
	gauge("gannet_api_connections", "Open connections of the API.",
		func(s *snapshot) int { return s.api.Conns }),

	count("gannet_core_messages_sent_total", "Messages accepted.",
		func(s *snapshot) uint64 { return s.core.Sent }),
	count("gannet_core_messages_repeated_total", "Resends answered from the first message.",
		func(s *snapshot) uint64 { return s.core.Repeated }),
	count("gannet_core_messages_refused_total", "Messages refused by a rule.",
		func(s *snapshot) uint64 { return s.core.Refused }),
	count("gannet_core_messages_busy_total", "Messages refused because too much was in flight.",
		func(s *snapshot) uint64 { return s.core.Busy }),
	count("gannet_core_messages_delivered_total", "Messages handed to live sessions, or found without any.",
		func(s *snapshot) uint64 { return s.core.Delivered }),
	count("gannet_core_pushes_total", "Frames handed to the gateway for receivers.",
		func(s *snapshot) uint64 { return s.core.Pushes }),
	count("gannet_core_kicked_total", "Sessions ended by a newer login or by force.",
		func(s *snapshot) uint64 { return s.core.Kicked }),
	count("gannet_core_kick_overflow_total", "Logins refused because too many kicks were waiting.",
		func(s *snapshot) uint64 { return s.core.KickOverflow }),
	count("gannet_core_marks_lost_total", "At-marks not set because too many jobs were waiting.",
		func(s *snapshot) uint64 { return s.core.MarksLost }),
	gauge("gannet_core_in_flight_bytes", "Messages decided and not yet delivered.",
		func(s *snapshot) int64 { return s.core.InFlightBytes }),
	gauge("gannet_core_hot_conversations", "Conversation states in memory.",
		func(s *snapshot) int { return s.core.HotStates }),
	gauge("gannet_core_online_users", "Users with at least one session.",
		func(s *snapshot) int { return s.core.Online }),
	gauge("gannet_core_sessions", "Sessions known to presence.",
		func(s *snapshot) int { return s.core.Sessions }),
	gauge("gannet_core_tokens", "Token states in memory.",
		func(s *snapshot) int { return s.core.Tokens }),

	count("gannet_storage_batches_total", "Batches committed.",
		func(s *snapshot) uint64 { return s.storage.Batches }),
	count("gannet_storage_writes_total", "Records written or deleted.",
		func(s *snapshot) uint64 { return s.storage.Ops }),
	count("gannet_storage_committed_bytes_total", "Bytes committed, as written to the log.",
		func(s *snapshot) uint64 { return s.storage.Bytes }),
	count("gannet_storage_append_waits_total", "Times a writer found the commit queue full.",
		func(s *snapshot) uint64 { return s.storage.AppendWaits }),
	gauge("gannet_storage_queue_batches", "Batches waiting for the next commit.",
		func(s *snapshot) int { return s.storage.QueueBatches }),
	gauge("gannet_storage_queue_bytes", "Bytes waiting for the next commit.",
		func(s *snapshot) int { return s.storage.QueueBytes }),
	gauge("gannet_storage_views", "Snapshots open.",
		func(s *snapshot) int { return s.storage.Views }),
	gauge("gannet_storage_message_ids", "Message IDs in the filter that tells new messages from resends.",
		func(s *snapshot) uint64 { return uint64(s.storage.MessageIDs.Keys) }),
	gauge("gannet_storage_message_ids_bytes", "Memory of that filter.",
		func(s *snapshot) uint64 { return uint64(s.storage.MessageIDs.Bytes) }),
	count("gannet_storage_message_ids_wrong_total", "New messages that the filter took for possible resends: each cost a look-up.",
		func(s *snapshot) uint64 { return uint64(s.storage.MessageIDs.Wrong) }),
	count("gannet_storage_stalls_total", "Times Pebble held back writes.",
		func(s *snapshot) uint64 { return s.storage.Stalls }),
	count("gannet_storage_corruptions_total", "Reads that found corrupt data.",
		func(s *snapshot) uint64 { return s.storage.Corruptions }),
	count("gannet_storage_compactions_total", "Compactions done.",
		func(s *snapshot) uint64 { return uint64(s.storage.Compactions) }),
	count("gannet_storage_flushes_total", "Memtables flushed.",
		func(s *snapshot) uint64 { return uint64(s.storage.Flushes) }),
	gauge("gannet_storage_compaction_debt_bytes", "Bytes that compactions still have to move.",
		func(s *snapshot) uint64 { return s.storage.CompactionDebt }),
	gauge("gannet_storage_memtable_bytes", "Memory of memtables.",
		func(s *snapshot) uint64 { return s.storage.MemTableBytes }),
	gauge("gannet_storage_l0_files", "Files in level 0.",
		func(s *snapshot) int64 { return s.storage.L0Files }),
	gauge("gannet_storage_l0_sublevels", "Sublevels of level 0: how many of its files a read may visit.",
		func(s *snapshot) int64 { return s.storage.L0Sublevels }),
	gauge("gannet_storage_wal_bytes", "Size of the write-ahead log.",
		func(s *snapshot) uint64 { return s.storage.WALBytes }),
	gauge("gannet_storage_disk_bytes", "Disk space of the store.",
		func(s *snapshot) uint64 { return s.storage.DiskBytes }),
	gauge("gannet_storage_cache_bytes", "Memory of the block cache.",
		func(s *snapshot) int64 { return s.storage.CacheBytes }),
	count("gannet_storage_cache_hits_total", "Blocks found in the cache.",
		func(s *snapshot) uint64 { return uint64(s.storage.CacheHits) }),
	count("gannet_storage_cache_misses_total", "Blocks read from disk.",
		func(s *snapshot) uint64 { return uint64(s.storage.CacheMisses) }),
	count("gannet_storage_filter_hits_total", "Table reads saved by a Bloom filter.",
		func(s *snapshot) uint64 { return uint64(s.storage.FilterHits) }),
	count("gannet_storage_filter_misses_total", "Table reads a Bloom filter did not save.",
		func(s *snapshot) uint64 { return uint64(s.storage.FilterMisses) }),
}

// The one histogram: its count is the number of commits.
const syncName, syncHelp = "gannet_storage_commit_seconds", "Write and sync of one group of batches."

// collector shows snapshots to Prometheus.
type collector struct {
	// Immutable.
	read  func() snapshot
	descs []*prometheus.Desc // parallel to metrics
	sync  *prometheus.Desc
}

func newCollector(read func() snapshot) *collector {
	c := &collector{read: read, sync: prometheus.NewDesc(syncName, syncHelp, nil, nil)}
	for _, m := range metrics {
		var labels []string
		if m.label != "" {
			labels = []string{m.label}
		}
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, labels, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
	out <- c.sync
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.read()
	for i, m := range metrics {
		if m.label == "" {
			out <- prometheus.MustNewConstMetric(c.descs[i], m.kind, m.value(&s))
			continue
		}
		for label, n := range m.labelled(&s) {
			out <- prometheus.MustNewConstMetric(c.descs[i], m.kind, float64(n), label)
		}
	}
	buckets, below := map[float64]uint64{}, uint64(0)
	for i, n := range s.storage.SyncTimes[:len(s.storage.SyncTimes)-1] {
		below += n
		buckets[(32 * time.Microsecond << i).Seconds()] = below
	}
	out <- prometheus.MustNewConstHistogram(c.sync, s.storage.Commits, s.storage.SyncSum.Seconds(), buckets)
}
