# Everything here runs on one machine with Rust, Go, a C compiler, git, openssl, curl and util-linux. The end-to-end
# tests and the demo need root: their nodes use mount namespaces. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
IMAGE_ROOT ?= $(TARGET)/image
IMAGE_PROFILE ?= release
BIN := $(or $(MO_BACKUP_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mo-backup)/bin
export CARGO_TERM_COLOR ?= auto
say = printf '\n== %s (%s)\n' "$(1)" "$$(date +%H:%M:%S)"

.PHONY: help check-machine check-node tools demo test unit chart e2e sweep node-test image-root bench lint clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 20

check-machine: ## says plainly which program this machine lacks
	@missing=
	for program in $(CARGO) go cc ar git openssl curl setpriv unshare flock setsid mount script stty awk; do
	  command -v $$program > /dev/null || missing="$$missing $$program"
	done
	[ -z "$$missing" ] || { echo "missing on this machine:$$missing (needed: Rust, Go 1.26, a C compiler, git, openssl, curl, util-linux)" >&2; exit 1; }

check-node: ## says plainly what this machine lacks for a real node, and the command that installs it
	@bash e2e/cluster/node.sh check

tools: check-machine ## builds Kubernetes, etcd, Helm, two S3 servers and MatrixOne from pinned sources, once
	@nice bash e2e/cluster/build.sh matrixone etcd s3 kube helm minio

demo: tools ## the quickstart on this machine: cluster, S3, MatrixOne, the chart, a backup
	@$(call say,building mo-backup)
	$(CARGO) build --bin mo-backup --example demo
	$(call say,demo)
	$(CARGO) run -q --example demo < /dev/null

test: check-machine ## everything: unit and simulation tests, then the end-to-end tests
	@$(MAKE) --no-print-directory unit tools chart
	$(MAKE) --no-print-directory e2e

unit: check-machine ## the tests that need no cluster: seconds once built
	@$(call say,unit and simulation tests)
	$(CARGO) test --lib --bins
	set -- --test simulator
	for file in tests/*.rs tests/*/main.rs; do
	  [ ! -e "$$file" ] || set -- "$$@" --test "$$(basename "$${file%/main.rs}" .rs)"
	done
	$(CARGO) test "$$@"

chart: tools ## renders the chart with Helm and judges what comes out
	@$(call say,chart)
	HELM=$(BIN)/helm $(CARGO) test --test chart -- --include-ignored

# The tests mostly wait: four at a time keep two processors busy.
e2e: tools ## the end-to-end tests on a real control plane, S3 and MatrixOne (root); TEST=name runs some
	@$(call say,end-to-end tests)
	$(CARGO) test --test e2e -- --test-threads=4 $(TEST) < /dev/null

sweep: tools ## the end-to-end tests with every crash point instead of a sample: long
	@$(call say,end-to-end tests with every crash point)
	E2E_SWEEP=1 $(CARGO) test --test e2e -- $(TEST) < /dev/null
	E2E_SWEEP=1 $(CARGO) test --test protocol < /dev/null

node-test: check-machine check-node tools ## the shipped image, installed by Helm on a real kubelet (root, five Debian packages)
	@$(call say,CoreDNS and the image)
	nice bash e2e/cluster/build.sh coredns
	$(MAKE) --no-print-directory image-root
	$(call say,end-to-end test on a kubelet node)
	IMAGE_ROOT=$(IMAGE_ROOT) $(CARGO) test --test e2e -- kubelet:: < /dev/null

# crt-static: the program brings its C library along, so the image needs none and runs on any kernel of its architecture.
# It goes to the last crate alone; as a RUSTFLAGS it would break procedural macros.
image-root: ## lays out the files of the image in IMAGE_ROOT; the Dockerfile does the same
	@$(CARGO) rustc --locked --profile $(IMAGE_PROFILE) --bin mo-backup -- -C target-feature=+crt-static
	built=$(TARGET)/$(if $(filter dev,$(IMAGE_PROFILE)),debug,$(IMAGE_PROFILE))/mo-backup
	install -D -m 0755 "$$built" $(IMAGE_ROOT)/usr/local/bin/mo-backup
	install -D -m 0644 /etc/ssl/certs/ca-certificates.crt $(IMAGE_ROOT)/etc/ssl/certs/ca-certificates.crt
	install -D -m 0644 LICENSE $(IMAGE_ROOT)/LICENSE

# Bounded: no step of the first waits longer than a quarter of an hour, and the second runs each of its pieces a few times.
bench: ## measures what is promised about memory (10 minutes once built) and fails when it is broken; then costs, side by side
	@$(call say,release build)
	$(CARGO) bench --no-run --bench memory --bench ratios
	$(call say,memory of operator and worker)
	$(CARGO) bench --bench memory
	$(call say,costs side by side)
	timeout 20m $(CARGO) bench --bench ratios

lint: ## formatting, clippy without warnings, licences and advisories where cargo-deny is installed
	@$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets -- -D warnings
	if $(CARGO) deny --version > /dev/null 2>&1; then $(CARGO) deny check; else echo "not run: cargo deny (not installed)"; fi

clean: ## removes what was built here; the programs in $(BIN) stay
	@$(CARGO) clean
	echo "the cluster's programs stay in $(BIN)"
