# Starling. `make help` lists the targets. Works with GNU make 3.81 and a BSD
# userland. Variables: FUZZTIME, TESTFLAGS (more flags of go test).

GO          ?= go
FUZZTIME    ?= 30s
TESTFLAGS   ?=
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
SCRIPTS     := deploy/local/*.sh .ci/run

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# The go command notes version and commit in the binary, but gives up where git
# is there and cannot read the repository.
.PHONY: build
build: ## bin/starling, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(shell git status --porcelain >/dev/null 2>&1 && echo auto || echo false) -o bin/starling ./cmd/starling

# The race detector needs cgo, and with it a C compiler.
.PHONY: test
test: ## the whole test suite, with the race detector where there is a C compiler
	@if command -v $(firstword $(shell $(GO) env CC)) >/dev/null; then \
		echo "CGO_ENABLED=1 $(GO) test -race -timeout 20m $(TESTFLAGS) ./..."; \
		CGO_ENABLED=1 $(GO) test -race -timeout 20m $(TESTFLAGS) ./...; \
	else \
		echo "no C compiler: testing without the race detector"; \
		$(GO) test -timeout 20m $(TESTFLAGS) ./...; \
	fi

.PHONY: race
race: ## the test suite with the race detector; fails where it cannot run
	CGO_ENABLED=1 $(GO) test -race -timeout 20m $(TESTFLAGS) ./...

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, and shellcheck where it is installed
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	@if command -v shellcheck >/dev/null; then echo "shellcheck $(SCRIPTS)"; shellcheck $(SCRIPTS); else echo "shellcheck is not installed: skipped"; fi

.PHONY: fuzz
fuzz: ## every fuzz target in turn, each for FUZZTIME (30s)
	@grep -rE '^func Fuzz[A-Za-z0-9_]*\(' --include='*_test.go' . \
		| sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | sort -u \
		| while read -r package target; do \
			echo "fuzzing $$target in $$package for $(FUZZTIME)"; \
			CGO_ENABLED=0 $(GO) test "$$package" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) || exit 1; \
		done

.PHONY: bench
bench: build ## measure against a bare net/http echo server on this machine
	deploy/local/bench.sh

.PHONY: bench-faults
bench-faults: build ## load five nodes while one is killed, paused, slowed; print what clients saw
	deploy/local/faults.sh

.PHONY: bench-grow
bench-grow: build ## join, leave, replace and remove nodes under load; check every read and every acknowledged write
	deploy/local/grow.sh

.PHONY: bench-import
bench-import: build ## import 200,000 lines, and put them one a request, in turns; print the ratio
	deploy/local/import.sh

.PHONY: bench-list
bench-list: build ## page through 100,000 keys of which nine in ten were deleted; print what a page costs
	deploy/local/list.sh

.PHONY: bench-converge
bench-converge: build ## change keys while one of five nodes is away; print how all become equal, and at what cost
	deploy/local/converge.sh

.PHONY: cluster
cluster: build ## build, start five local nodes, show a put and a get at each level
	deploy/local/cluster.sh up
	deploy/local/tour.sh
	@echo
	@echo "The console: $$(deploy/local/cluster.sh endpoints | sed -n 1p)/"
	@echo "The cluster runs on. Stop it with deploy/local/cluster.sh down, remove its data with deploy/local/cluster.sh wipe."

# The catalogue is read from a real node; all else is rendered from it.
.PHONY: monitoring
monitoring: ## render deploy/monitoring, docs/metrics.md and docs/runbooks anew
	$(GO) test ./cmd/internal/node -run TestCatalogueIsWhatANodeExposes -update
	$(GO) run ./cmd/internal/monitoring/render

.PHONY: cover
cover: ## test coverage per function, coverage.out for go tool cover
	$(GO) test -timeout 20m -coverpkg=./... -coverprofile=coverage.out $(TESTFLAGS) ./...
	$(GO) tool cover -func=coverage.out | tail -n 1

.PHONY: clean
clean: ## remove what the other targets built; the local cluster's data stays
	rm -rf bin coverage.out
