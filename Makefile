# podgate's commands. `make` lists them.
CARGO ?= cargo
CONFIG ?= examples/local.yaml
REPORT ?= docs/kubernetes-real.md
SCALE_REPORT ?= docs/kubernetes-scale.md
export PODGATE_CACHE ?= $(CURDIR)/.cache

# test-stops: how many.
N ?= 200
# test-abuse and test-overload: seconds of each; test-abuse: the abuses whose name holds this.
S ?= 60
ABUSE ?=
# fuzz: seconds for each target, and which targets.
T ?= 60
TARGETS ?= request item json json_differential frames grpc http gzip zstd deflate snappy snappy_framed yaml ottl

.PHONY: help check test test-all test-real test-edge-sdk test-watches bench bench-gateway fuzz fuzz-check test-stops test-overload test-abuse run demo deny ci

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

test-real: ## against a real kube-apiserver with etcd, the Python and the Node SDK and Elasticsearch 8.19 (needs Go, Python, Node, a JDK with Maven, Chromium; builds once into .cache)
	$(CARGO) build --locked --release
	python3 tests/real/run.py target/release/podgate --report $(REPORT)
	python3 tests/real/edge.py target/release/podgate
	python3 tests/real/browser.py target/release/podgate
	python3 tests/real/elasticsearch/suite.py target/release/podgate

test-edge-sdk: ## the receiver seen by the stock Python and Node SDKs and by hand-written requests; half a minute, writes docs/conformance-sdk.md
	$(CARGO) build --locked --release
	python3 tests/real/edge.py target/release/podgate --report docs/conformance-sdk.md

test-watches: ## what 500 nodes cost a real API server, and 10,000 pods podgate; 8 minutes (WATCHES="--watches 50 --pods 500" for less)
	$(CARGO) build --locked --release --bin podgate --example node_watches
	python3 tests/real/watches.py target/release/podgate target/release/examples/node_watches --report $(SCALE_REPORT) $(WATCHES)

# Attacker and honest clients run in the test binary: it is optimised too, so that its own work is not what is measured.
LONG = PODGATE_BIN=$(CURDIR)/target/release/podgate $(CARGO) test --locked --release --all-features --test edge_process

test-stops: ## N=200 graceful stops under load, back end up, down and hanging; figures go to docs/hardening.md
	PODGATE_STOPS=$(N) $(LONG) stops

test-overload: ## ten times more than the back end takes, by 100 tenants; figures go to docs/hardening.md
	PODGATE_OVERLOAD_SECONDS=$(S) $(LONG) overload

test-abuse: ## every abuse for a minute beside honest clients; figures go to docs/hardening.md (S=10 for less, ABUSE="gzip" for one, printed only)
	PODGATE_ABUSE_SECONDS=$(S) PODGATE_ABUSE="$(ABUSE)" $(LONG) abuse $(if $(ABUSE),-- --nocapture)

bench: ## micro benches: the byte path beside prost, enrichment, sampling, Elasticsearch documents
	$(CARGO) bench --locked --all-features --bench micro
	$(CARGO) bench --locked --all-features --bench enrich
	$(CARGO) bench --locked --all-features --bench sampling
	$(CARGO) bench --locked --all-features --bench elastic

bench-gateway: ## the whole process, pinned to one core, beside a floor program and a tonic + prost pipeline
	$(CARGO) build --locked --release
	$(CARGO) bench --locked --all-features --bench gateway

# Coverage counters are a pass of LLVM that the stable compiler has too; cargo-fuzz would add a sanitizer, which is for unsafe code.
FUZZ_FLAGS = --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')

fuzz: ## every way in, T seconds each, by libFuzzer: make fuzz T=60 TARGETS="json gzip"; what is found stays in fuzz/found
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --locked --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --target $(FUZZ_HOST)
	@for target in $(TARGETS); do \
		mkdir -p fuzz/found/$$target fuzz/artifacts; \
		echo "== $$target, $(T) s"; \
		PODGATE_FUZZ=$$target target/fuzz/$(FUZZ_HOST)/release/podgate-fuzz -max_total_time=$(T) -timeout=5 -rss_limit_mb=1024 \
			-max_len=8192 -dict=fuzz/dictionary.txt -artifact_prefix=fuzz/artifacts/$$target- -print_final_stats=1 -verbosity=0 \
			fuzz/found/$$target fuzz/corpus/$$target || exit 1; \
	done

fuzz-check: ## the fuzz targets compile (their corpora are replayed by make test)
	$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz-check -- -D warnings

run: ## run a configuration: make run CONFIG=examples/local.yaml
	$(CARGO) run --locked --release -- --config $(CONFIG)

demo: ## the main job on this machine, nothing else installed
	$(CARGO) run --locked --release -- demo

deny: ## licences, sources, banned crates, advisories (needs cargo-deny)
	$(CARGO) deny check

ci: ## exactly what CI runs
	$(MAKE) check
	$(MAKE) fuzz-check
	PODGATE_REAL_STRICT=1 $(MAKE) test-real
	PODGATE_REAL_STRICT=1 $(MAKE) test-watches SCALE_REPORT=target/kubernetes-scale.md WATCHES="--watches 50 --pods 500 --steady 10"
	$(MAKE) test
