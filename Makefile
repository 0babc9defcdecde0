# podgate's commands. `make` lists them.
CARGO ?= cargo
CONFIG ?= examples/local.yaml
REPORT ?= docs/kubernetes-real.md
SCALE_REPORT ?= docs/kubernetes-scale.md
export PODGATE_CACHE ?= $(CURDIR)/.cache

.PHONY: help check test test-all test-real test-watches bench bench-gateway run demo deny ci

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

check: ## format, lints and the law of the house (tests/tidy.rs); under a minute when built
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	$(CARGO) test --locked --all-features --test tidy

test: ## everything that needs neither network nor cluster; under 5 minutes when built
	$(CARGO) test --locked --all-features

test-all: ## test, with 10,000 ledger schedules and the large memory tests
	PODGATE_SCHEDULES=10000 PODGATE_LARGE=1 $(CARGO) test --locked --release --all-features

test-real: ## against a real kube-apiserver with etcd, the Python and the Node SDK (needs Go, Python, Node; builds once into .cache)
	$(CARGO) build --locked --release
	python3 tests/real/run.py target/release/podgate --report $(REPORT)

test-watches: ## what 500 nodes cost a real API server, and 10,000 pods podgate; 8 minutes (WATCHES="--watches 50 --pods 500" for less)
	$(CARGO) build --locked --release --bin podgate --example node_watches
	python3 tests/real/watches.py target/release/podgate target/release/examples/node_watches --report $(SCALE_REPORT) $(WATCHES)

bench: ## micro benches: the byte path beside prost, enrichment, sampling
	$(CARGO) bench --locked --all-features --bench micro
	$(CARGO) bench --locked --all-features --bench enrich
	$(CARGO) bench --locked --all-features --bench sampling

bench-gateway: ## the whole process, pinned to one core, beside a floor program and a tonic + prost pipeline
	$(CARGO) build --locked --release
	$(CARGO) bench --locked --all-features --bench gateway

run: ## run a configuration: make run CONFIG=examples/local.yaml
	$(CARGO) run --locked --release -- --config $(CONFIG)

demo: ## the main job on this machine, nothing else installed
	$(CARGO) run --locked --release -- demo

deny: ## licences, sources, banned crates, advisories (needs cargo-deny)
	$(CARGO) deny check

ci: ## exactly what CI runs
	$(MAKE) check
	PODGATE_REAL_STRICT=1 $(MAKE) test-real
	PODGATE_REAL_STRICT=1 $(MAKE) test-watches SCALE_REPORT=target/kubernetes-scale.md WATCHES="--watches 50 --pods 500 --large 1000 --steady 10"
	$(MAKE) test
