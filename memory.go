package main

import (
	"os"
	"runtime/debug"
	gometrics "runtime/metrics"
	"time"
)

// tuneGC leaves alone what GOGC and GOMEMLIMIT set.
func tuneGC(g GC) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(g.Percent)
	}
	if os.Getenv("GOMEMLIMIT") == "" && g.MemoryLimitBytes > 0 {
		debug.SetMemoryLimit(g.MemoryLimitBytes)
	}
}

const (
	releaseEvery = time.Minute
	releaseMin   = 16 << 20 // bytes worth a collection
)

// releaser gives memory back to the system that a storm of logins or messages left
// behind. The runtime alone keeps what the next cycle of collection could use: with
// gc.percent 400 five times the live heap, for ever if nothing happens.
type releaser struct {
	samples   [4]gometrics.Sample
	allocated uint64 // bytes, since the start, at the last look
}

func newReleaser() *releaser {
	r := new(releaser)
	for i, name := range [...]string{
		"/gc/heap/allocs:bytes", "/gc/heap/live:bytes", "/memory/classes/heap/objects:bytes", "/memory/classes/heap/free:bytes",
	} {
		r.samples[i].Name = name
	}
	r.look()
	return r
}

// look collects garbage and releases memory if there is enough to win and if the
// process took so little since the last look that it will not soon want it back. It
// reports whether it did.
func (r *releaser) look() bool {
	gometrics.Read(r.samples[:])
	allocated, live := r.samples[0].Value.Uint64(), r.samples[1].Value.Uint64()
	held := r.samples[2].Value.Uint64() + r.samples[3].Value.Uint64()
	since := allocated - r.allocated
	r.allocated = allocated
	if held < live+releaseMin || since > (held-live)/4 {
		return false
	}
	debug.FreeOSMemory()
	return true
}

// run looks every minute until stop is closed.
func (r *releaser) run(stop <-chan struct{}) {
	t := time.NewTicker(releaseEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			r.look()
		}
	}
}
