#!/usr/bin/env bash
# Runs the Go benchmarks and keeps the result in bench/results/<date>-<commit>.txt,
# for benchstat. Usage: bench/record.sh [go test arguments]
#	bench/record.sh                         everything, more than half an hour
#	bench/record.sh -bench Hop ./bench      the hops only, some minutes
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- -bench . ./...
set -- -run '^$' -count 6 -benchmem -timeout 0 "$@"

commit=$(git rev-parse --short HEAD)
git diff --quiet HEAD -- '*.go' go.mod go.sum || commit+=-dirty
file=bench/results/$(date +%F)-$commit.txt
part=$(mktemp)
trap 'rm -f "$part"' EXIT
# Lines that benchstat does not read: as its own "key: value" lines, what differs
# here would keep it from comparing two files.
tee "$part" <<EOF
# machine: $(sed -n 's/^model name[^:]*: //p;T;q' /proc/cpuinfo), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg) before
# disk:    $(stat -f -c %T "${TMPDIR:-/tmp}") at ${TMPDIR:-/tmp}, where the stores are
# kernel:  $(uname -sr)
# go:      $(go env GOVERSION), GOMAXPROCS ${GOMAXPROCS:-$(nproc)}
# commit:  $commit
# command: go test ${*@Q}
EOF
go test "$@" | tee -a "$part"
cp "$part" "$file"
echo "$file" >&2
