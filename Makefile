# hotpatch: `make test` and `make demo` set up a fresh Debian 12 machine with Go.
export CGO_ENABLED := 0
FUZZTIME ?= 20s
THREADS ?= 2,16,64
MINUTES ?= 20
BIN := bin/hotpatch

build: ; go build -trimpath -o $(BIN) ./cmd/hotpatch

demo: setup build ; $(BIN) demo

test: setup ; go test ./...

lint:
	@test -z "$$(gofmt -l cmd internal bench test)" || { echo "not formatted:"; gofmt -l cmd internal bench test; exit 1; }
	go vet ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo "golangci-lint is not installed: the floors test holds the walls"; fi

# Every fuzz target for FUZZTIME, one after the other.
fuzz:
	@grep -rlE '^func Fuzz' --include='*_test.go' internal | while read -r file; do \
	  sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' "$$file" | while read -r name; do \
	    echo "$$name"; go test "./$$(dirname "$$file")" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x || exit 1; \
	  done || exit 1; done

bench: setup build ; go run ./bench -hotpatch $(BIN) -threads $(THREADS)

# How many real updates can be hotpatched; docs/coverage.tsv says which ones.
coverage: build ; DEBUGINFOD_URLS= $(BIN) parity --debug-dir none --list docs/coverage.tsv --state .cache/coverage --markdown docs/COVERAGE.md || [ $$? = 4 ]

# What is found without symbols, held against the symbols: CORPUS holds folders
# old and new with two builds of the same images, unstripped.
truth: ; go run ./test/truth $(CORPUS)

e2e: setup build ; test/e2e/run.sh

# Daemons under load, with a transition every second.
soak: setup build ; MINUTES=$(MINUTES) test/e2e/soak.sh

# The live tests 50 times, four at a time.
repeat: setup ; test/repeat.sh

torture-identity: setup build ; test/e2e/torture.sh

# The tool killed 1,000 times at random while it works on a process.
torture: setup ; HOTPATCH_TEST_KILLS=1000 go test ./internal/txn -run 'Killed|Exceptions' -count 1 -v -timeout 30m

# The Debian package: dist/hotpatch_VERSION_amd64.deb.
deb: build ; @packaging/build

# A Debian of its own with older services, a repository, and the agent at work.
e2e-host: deb ; scripts/setup.sh host && test/host/run.sh && { [ ! -x test/host/faults.sh ] || test/host/faults.sh; }

man: build ; $(BIN) man docs/man

setup: ; @scripts/setup.sh

.PHONY: build demo test lint fuzz bench coverage truth e2e soak repeat torture-identity torture deb e2e-host man setup
