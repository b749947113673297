package main

import (
	"runtime"
	"testing"
)

// Memory that a burst left goes back once the process is quiet, and not before.
func TestReleaser(t *testing.T) {
	runtime.GC()
	r := newReleaser()
	burst := make([][]byte, 64)
	for i := range burst {
		burst[i] = make([]byte, 1<<20)
		clear(burst[i])
	}
	runtime.KeepAlive(burst)
	burst = nil
	if r.look() {
		t.Error("released in the middle of a burst")
	}
	runtime.GC() // as the runtime does every two minutes; the last one may have seen the burst in use
	if !r.look() {
		t.Error("not released after it")
	}
	if r.look() {
		t.Error("released again with nothing to win")
	}
}
