# Every target works on a fresh Debian 12 with Go, make and git. What else a target needs it installs when it runs as
# root, or names.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

# sudo and a bare CI job leave /usr/local/go/bin out of PATH.
GO := $(or $(shell command -v go),$(wildcard /usr/local/go/bin/go))
ifeq ($(GO),)
$(error needs Go 1.26 or later in PATH or in /usr/local/go: https://go.dev/dl/)
endif
export PATH := $(dir $(GO)):$(PATH)

# Without a home that can be written to, the caches of Go and of the linter live here.
GO_CACHES_USABLE := $(shell for v in GOCACHE GOMODCACHE; do d=$$($(GO) env $$v 2>/dev/null) && \
	[ -n "$$d" ] && mkdir -p "$$d" 2>/dev/null && [ -w "$$d" ] || exit; done; echo yes)
ifneq ($(GO_CACHES_USABLE),yes)
CACHES := $(CURDIR)/.cache/go-$(shell id -u)
export GOCACHE := $(CACHES)/build
export GOPATH := $(CACHES)/path
export GOMODCACHE := $(CACHES)/mod
export GOLANGCI_LINT_CACHE := $(CACHES)/lint
export GOFLAGS := $(GOFLAGS) -modcacherw
endif
# The version is in VERSION; asking git again fails in a tree of another user, as under sudo.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
# Two builds of one commit are equal, wherever they are made.
REPRODUCIBLE := -trimpath -ldflags "-s -w -buildid= -X main.version=$(VERSION)"

# Kernels for `make kernels`, e.g. KERNELS="5.10 6.1". Empty means all that test/vm knows.
KERNELS ?=
# Systems for `make e2e`, e.g. SYSTEMS="12 chroot rpm". Empty means all that test/e2e knows.
SYSTEMS ?=
# Only the kernel tests that match this, e.g. ONLY=TestKmsg.
ONLY ?=
# A file for the end of each test, one a line as `go test -json` writes it, for CI.
EVENTS ?=
IS_ROOT := $(filter 0,$(shell id -u))
# It runs `go test -json`, prints a line for each package, what failed, what was skipped and why, and counts.
GOTESTSUM := CGO_ENABLED=0 $(GO) tool -modfile=tools/gotestsum.mod gotestsum --format=pkgname --format-hide-empty-pkg

.PHONY: build
build: ## static binary in bin/ctwarden
	CGO_ENABLED=0 $(GO) build $(REPRODUCIBLE) -o bin/ctwarden ./cmd/ctwarden

# The kernel has one nf_conntrack_max and one rate limit for its messages: as root, packages take turns.
.PHONY: test
test: ## all tests; those that need root are skipped without it, with the reason
	@$(if $(IS_ROOT),,echo "make: kernel tests need root and are skipped: sudo make test")
	$(GOTESTSUM) --jsonfile-timing-events="$(EVENTS)" -- -count=1 $(if $(IS_ROOT),-p=1) ./...

# As root, the tests run without its rights: the user namespace has no other user than nobody, who owns root's caches there.
# -short leaves out what waits, and keeps these results out of the cache of other runs, which does not distinguish users.
.PHONY: check
check: lint ## in a minute, as any user: format, vet, lint and the tests that need no root; a result stays until its code changes
	$(if $(IS_ROOT),unshare --user --map-user=65534 --map-group=65534) env $(GOTESTSUM) --hide-summary=skipped -- -short ./...

.PHONY: lint
lint: ## gofmt, go vet and golangci-lint (which has staticcheck in it), at the versions of tools/lint.mod
	@unformatted=$$(git ls-files -co --exclude-standard -- '*.go' | xargs -r gofmt -s -l); \
	if [[ -n $$unformatted ]]; then echo "make: error: gofmt -s -w" $$unformatted >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) tool -modfile=tools/lint.mod golangci-lint run --allow-serial-runners ./...

.PHONY: demo
demo: ## a fire drill on this kernel, as root: fill a table, watch ctwarden save it, put everything back
	@if [[ -z "$(IS_ROOT)" ]]; then \
		echo "make: error: the drill fills a real table and raises nf_conntrack_max: it needs root" >&2; \
		echo "make: hint: sudo make demo" >&2; exit 1; fi
	@$(MAKE) build
	bin/ctwarden drill --host-wide

.PHONY: kernels
kernels: ## the kernel tests as root on Debian kernels in qemu; KERNELS="5.10 6.1" chooses
	@tools/need qemu-system-x86=/usr/bin/qemu-system-x86_64 xz-utils=/usr/bin/xz ca-certificates=/etc/ssl/certs
	$(GOTESTSUM) --jsonfile-timing-events="$(EVENTS)" --ignore-non-json-output-lines --raw-command -- \
		$(GO) run ./test/vm -kernels="$(KERNELS)" -only="$(ONLY)"

.PHONY: packages
packages: ## deb and rpm for amd64 and arm64 in dist/, with checksums and bills of materials, the same bytes each time
	packaging/build packages

.PHONY: static
static: ## tarballs with a static program in dist/
	packaging/build static

.PHONY: reproduce
reproduce: ## build the packages in two directories and compare the checksums
	packaging/reproduce

.PHONY: packagelint
packagelint: packages ## lintian, rpmlint, systemd-analyze and mandoc judge what `make packages` made
	packaging/lint

.PHONY: e2e
e2e: ## the packages on Debian systems in qemu and in roots, as root; SYSTEMS="12 chroot rpm" chooses
	@tools/need qemu-system-x86=/usr/bin/qemu-system-x86_64 mmdebstrap=/usr/bin/mmdebstrap e2fsprogs=/sbin/mke2fs rpm=/usr/bin/rpm
	$(GOTESTSUM) --jsonfile-timing-events="$(EVENTS)" --ignore-non-json-output-lines --raw-command -- \
		$(GO) run ./test/e2e -systems="$(SYSTEMS)"

.PHONY: release
release: ## everything from a tag in dist/, with notes from CHANGELOG.md
	packaging/build release

.PHONY: bench
bench: ## benchmarks of every package, and the side by side comparison where there is one
	$(GO) test -run='^$$' -bench=. -benchmem ./...
	@tools/need conntrack=/usr/sbin/conntrack
	@$(MAKE) build
	$(GO) run ./test/bench

FUZZ_PROMISES ?= 60s
FUZZ_OTHERS ?= 10s

# Go may spend a minute on making one interesting input smaller: 20 tries are enough. What breaks a target is kept below
# its testdata/fuzz, and from then on is a case of `make test`.
.PHONY: fuzz
fuzz: ## every fuzz target for a while: 60 s for the promises of the policy and for hostile text, 10 s for each other one
	@failed=0; while IFS=: read -r file name; do \
		name=$${name#func } time=$(FUZZ_OTHERS); \
		case $$name in FuzzPromises|FuzzHostileTextIsEscaped) time=$(FUZZ_PROMISES) ;; esac; \
		echo "== $$name for $$time in $$(dirname "$$file")"; \
		$(GO) test -run='^$$' -fuzz="^$$name\$$" -fuzztime="$$time" -fuzzminimizetime=20x "./$$(dirname "$$file")" </dev/null || failed=1; \
	done < <(git ls-files -co --exclude-standard -- '*_test.go' | xargs grep -Ho '^func Fuzz[A-Za-z0-9]*' | sort); \
	exit $$failed

# The rest of the tests: each waits for journald, for entries to expire, or for an alert. Prometheus is not installed here,
# because its package starts it: without it, its tests are skipped.
.PHONY: long
long: ## as root, the tests that take minutes: a real journald, a real Prometheus, many seeds and days of the policy
	@if [[ -z "$(IS_ROOT)" ]]; then \
		echo "make: error: a journald in a mount namespace and a flood in a network namespace of their own need root" >&2; \
		echo "make: hint: sudo make long" >&2; exit 1; fi
	@tools/need systemd=/usr/lib/systemd/systemd-journald libsystemd-dev=/usr/include/systemd/sd-journal.h gcc=/usr/bin/gcc
	CTWARDEN_TEST_LONG=1 $(GOTESTSUM) --jsonfile-timing-events="$(EVENTS)" -- -count=1 -p=1 \
		-run 'Alert|Journald|BothSources|Promises|Total|Synchronise' ./internal/cli ./watcher ./policy ./internal/tablesim
	CTWARDEN_TEST_LONG=1 $(GOTESTSUM) --jsonfile-timing-events="$(EVENTS:.json=-journald.json)" --raw-command -- \
		env CGO_ENABLED=1 $(GO) test -json -count=1 -tags journald ./watcher

# The gc of the kernel takes its time: a minute on today's, two before Linux 5.15.
.PHONY: model
model: ## as root, one load on this kernel and on the model of `ctwarden simulate`, and how far they differ: 75 s
	@if [[ -z "$(IS_ROOT)" ]]; then \
		echo "make: error: real packets in a network namespace of their own need root" >&2; \
		echo "make: hint: sudo make model" >&2; exit 1; fi
	$(GO) run ./test/model

.PHONY: clean
clean: ## remove what was built and downloaded
	rm -rf bin dist .cache

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12
