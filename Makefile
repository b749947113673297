# No target prints this help. ARGS are passed on by run and load.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Runs, not seconds: at a time limit go test can report "context deadline exceeded"
# of its own making as a failure (golang.org/issue/75804).
FUZZTIME    ?= 5000x
ARGS        ?=
OUT         ?= bin/load

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build run test race fmt vet lint imports fuzz e2e bench record load check clean

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/gannet
	go build -o bin/gannet .

run: ## the server with its defaults; ARGS='--data /tmp/x' adds flags
	go run . $(ARGS)

test: ## every unit test
	go test ./...

race: ## every unit test under the race detector (needs a C compiler)
	go test -race -short ./...

fmt: ## fail if a file is not formatted
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted:"; echo "$$files"; exit 1; fi

vet: ## go vet
	go vet ./...
	cd e2e && go vet ./...

lint: ## staticcheck
	go run $(STATICCHECK) ./...

imports: ## who may import whom
	go test -count=1 -run '^TestImport' .

fuzz: ## every fuzz target for FUZZTIME (5000x) each
	@set -e; grep -rEo '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' --exclude-dir=e2e . | sort | \
	while IFS=: read -r file decl; do \
		echo "fuzz $${file%/*} $${decl#func }"; \
		go test -run '^$$' -fuzz "^$${decl#func }$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x "$${file%/*}"; \
	done

e2e: ## the official SDK against a real server process (needs a C compiler)
	cd e2e && go test -count=1 -timeout 20m ./...

bench: ## every Go benchmark
	go test -run '^$$' -bench . -benchmem ./...

record: ## every benchmark six times into bench/results; ARGS='-bench Hop ./bench' narrows it
	bench/record.sh $(ARGS)

load: build ## the five-minute standard load test; results in OUT (bin/load); ARGS='--only group --runs 3' picks
	go build -o bin/loadtest ./loadtest
	$(if $(filter-out 1,$(shell nproc)),taskset -c 1) bin/loadtest standard --server bin/gannet --out $(OUT) $(ARGS)

check: test fmt vet lint imports race fuzz e2e ## all that CI runs

clean: ## remove what build made; data folders stay
	rm -rf bin
