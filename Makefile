# make run    build and serve on this machine, nothing to install
# make check  what Go alone can check, for an ordinary user
# make test   everything, with what it needs installed
SHELL := /bin/bash
GO ?= go
DATA ?= ./cairn-data
ADDR ?= 127.0.0.1:8090
LDFLAGS = $(shell release/version.sh ldflags)

# One kind of build for everything but the race detector, so that what one step
# has compiled serves the next.
export GOFLAGS += -trimpath
PURE := CGO_ENABLED=0 $(GO)
HOST := $(shell $(GO) env GOHOSTOS)/$(shell $(GO) env GOHOSTARCH)
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What tests need beside Go is kept here from one run to the next.
TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cairn
VERSITYGW_VERSION := v1.8.0
CLIENTS := api/clienttest/node_modules/.package-lock.json
VERSITYGW := $(TOOLS)/versitygw-$(VERSITYGW_VERSION)/versitygw
RCLONE_VERSION := v1.76.0
RCLONE := $(TOOLS)/rclone-$(RCLONE_VERSION)/rclone
POSTGRES = $(or $(CAIRN_POSTGRES),$(shell dirname $$(readlink -f $$(command -v postgres || ls -v /usr/lib/postgresql/*/bin/postgres 2>/dev/null | tail -n 1) /dev/null | head -n 1)))
NGINX = $(shell PATH=$$PATH:/usr/sbin command -v nginx)

# Hosts are modules of their own, as those of their authors are: what they need beside
# Cairn, such as SQLite, is compiled for them alone.
HOSTS := internal/hosts/minimal internal/hosts/records internal/hosts/sessions
TEST_HOSTS = for h in $(HOSTS); do (cd $$h && $(PURE) vet ./... && $(PURE) test -timeout 30m -vet=off -ldflags=-w ./...) || exit 1; done

.PHONY: all ready ready-aside build run check test soak fuzz model vet cross release image fmt nginx postgres spin clean

all: build

build:
	$(PURE) build -ldflags '$(LDFLAGS)' -o bin/cairn ./cmd/cairn

run: build
	./bin/cairn serve --dev --addr $(ADDR) --data $(DATA)

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

vet:
	$(PURE) vet ./...

check: fmt vet build
	@test -x $(POSTGRES)/postgres || echo "no PostgreSQL (Debian: apt-get install postgresql): the tests with it are left out"
	$(PURE) test -timeout 30m -vet=off ./...
	@$(TEST_HOSTS)

# Tests whose work is one goroutine's are left out where the race detector is on,
# and run without it, beside the others.
LEFT_OUT = $(shell git grep -l race[.]LeaveOut -- '*_test.go')
LEFT_OUT_TESTS = ${shell awk -F'[ (]' '/^func Test/ {n = $$2} /race[.]LeaveOut/ {print "^" n "$$"}' $(LEFT_OUT)}
space := $() $()

# Everything: needs a C compiler for the race detector, and the network for
# the static checker. pebblegozstd: with cgo, Pebble would compress by a
# library in C, which no build of ours does.
test: ready-aside
	@echo "make test: uses Go and a C compiler (race detector); fetches $(STATICCHECK), versitygw $(VERSITYGW_VERSION) and rclone $(RCLONE_VERSION) through the Go module proxy; PostgreSQL (Debian's packages); spin; Node, with upload clients and the TypeScript client's tools from npm"
	@command -v cc >/dev/null || { echo "no C compiler: install gcc or clang (Debian: apt-get install gcc)"; exit 1; }
	$(PURE) run $(STATICCHECK) -tags nosqlite ./...
	@log=$$(mktemp); api/client/js/check.sh test >$$log 2>&1 & client=$$!; \
	export CAIRN_CLIENTS=1 CAIRN_NGINX=$(NGINX) CAIRN_POSTGRES=$(POSTGRES) CAIRN_VERSITYGW=$(VERSITYGW) CAIRN_RCLONE=$(RCLONE); \
	plainlog=$$(mktemp); $(PURE) test -p 1 -timeout 30m -vet=off -ldflags=-w -run '$(subst $(space),|,$(LEFT_OUT_TESTS))' $(sort $(addprefix ./,$(dir $(LEFT_OUT)))) >$$plainlog 2>&1 & plain=$$!; \
	hostslog=$$(mktemp); ( $(TEST_HOSTS) ) >$$hostslog 2>&1 & hosts=$$!; \
	$(GO) test -race -timeout 30m -tags pebblegozstd -vet=off -ldflags=-w ./...; tests=$$?; \
	wait $$plain; plain=$$?; cat $$plainlog; rm $$plainlog; \
	wait $$hosts; hosts=$$?; cat $$hostslog; rm $$hostslog; \
	wait $$client; client=$$?; cat $$log; rm $$log; \
	exit $$((tests | plain | hosts | client))

# Vets and builds for other platforms than this one, for which vet and build do. make test
# only type-checks for them (internal/arch, TestTypesOfPlatforms). Nothing of it is run, so
# it is not optimised: that finds no mistakes, and takes a third of the time. SQLite, which
# is not ours, is left out: it takes a minute.
cross:
	@export GOFLAGS="$(GOFLAGS) '-gcflags=all=-N -l'"; for p in $(filter-out $(HOST),$(PLATFORMS)); do \
		export GOOS=$${p%/*} GOARCH=$${p\#*/}; \
		out=$$($(PURE) vet -tags nosqlite ./... 2>&1 && $(PURE) build -tags nosqlite -o /dev/null -ldflags='-s -w' ./cmd/cairn 2>&1) || \
			{ echo "$$p: $$out"; exit 1; }; \
		echo "vet and build for $$p: good"; \
	done

# Archives, packages, bills of materials, sums and a signature in dist/: release/build.sh
# says what it can be told.
release:
	PLATFORMS="$(PLATFORMS)" GO="$(GO)" release/build.sh

# A container's image, by whatever builds one.
IMAGE ?= cairn
DOCKER ?= docker
image:
	$(DOCKER) build -f release/Dockerfile --build-arg LDFLAGS="$$(release/version.sh ldflags)" -t $(IMAGE) .

# What the tests need. make test makes it side by side, so that nothing waits for the
# network alone; but apt-get runs once at a time, and what shares the build cache in turn.
ready-aside:
	@$(MAKE) --no-print-directory -j3 READY=1 ready

ready: fmt vet build nginx postgres spin $(VERSITYGW) $(RCLONE) $(CLIENTS)
ifdef READY
build: | vet
postgres: | nginx
spin: | postgres
$(VERSITYGW): | build
$(RCLONE): | $(VERSITYGW)
$(CLIENTS): | spin
endif

# Long runs: more seeds, more crash points, more kills.
soak: build nginx postgres spin $(VERSITYGW) $(RCLONE) $(CLIENTS)
	@command -v chromium >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium; }
	CAIRN_CLIENTS=1 CAIRN_NGINX=$(NGINX) CAIRN_POSTGRES=$(POSTGRES) CAIRN_BROWSER=$$(command -v chromium) CAIRN_VERSITYGW=$(VERSITYGW) CAIRN_RCLONE=$(RCLONE) CAIRN_SOAK=$${CAIRN_SOAK:-20} $(PURE) test -count=1 -timeout 60m ./...
	export CAIRN_SOAK=$${CAIRN_SOAK:-20}; $(TEST_HOSTS)
	api/client/js/check.sh soak
	release/check.sh
	$(MAKE) cross fuzz

# Every fuzz target for so long; what they find stays beside the tests.
FUZZTIME ?= 10m
fuzz:
	@for dir in $$($(GO) list -f '{{.Dir}}' ./...); do \
		for name in $$(grep -hos '^func Fuzz[A-Za-z0-9]*' $$dir/*_test.go | cut -d' ' -f2); do \
			echo "fuzz $$name in $$dir for $(FUZZTIME)"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$dir || exit 1; \
		done; \
	done

# The protocol of collection, each schedule of two cycles: some GB of memory.
model: spin
	CAIRN_MODEL=$${CAIRN_MODEL:-2} $(PURE) test -count=1 -v -timeout 120m ./internal/model

# S3 services for the tests, built once. Of rclone only what serves a directory:
# 20 seconds of a core, where all of it takes minutes.
$(VERSITYGW):
	GOBIN=$(@D) CGO_ENABLED=0 $(GO) install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)

define RCLONE_MAIN
package main

import (
	_ "github.com/rclone/rclone/backend/local"
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/serve/s3"
)

func main() { cmd.Main() }
endef
export RCLONE_MAIN

$(RCLONE):
	@mkdir -p $(@D)/source && cd $(@D)/source && echo "$$RCLONE_MAIN" >main.go && \
		{ test -f go.mod || $(GO) mod init tools/rclone; } && \
		$(GO) get github.com/rclone/rclone/{backend/local,cmd,cmd/serve/s3}@$(RCLONE_VERSION) && \
		$(PURE) build -o ../rclone .

# A proxy for the tests of doctor; where there is none they are left out.
nginx:
	@test -n "$(NGINX)" || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light >/dev/null; } || \
		echo "no nginx, and no apt-get that could install it: the tests with it are left out"

# A server for the tests of pgstore, which start one of their own.
postgres:
	@test -x $(POSTGRES)/postgres || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; } || \
		{ echo "no PostgreSQL, and no apt-get that could install it: set CAIRN_POSTGRES to the directory of its binaries"; exit 1; }

# Explores the model of collection; where there is none that test is left out.
spin:
	@command -v spin >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends spin >/dev/null; } || \
		echo "no spin, and no apt-get that could install it: the tests with it are left out"

# Upload clients of others, as their lock file names them.
$(CLIENTS): api/clienttest/package-lock.json
	@command -v npm >/dev/null || { apt-get update && apt-get install -y --no-install-recommends nodejs npm; }
	cd api/clienttest && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

clean:
	rm -rf bin dist
