# podgate's commands. `make` lists them.
CARGO ?= cargo
CONFIG ?= examples/local.yaml
REPORT ?= target/kubernetes-real.md
SCALE_REPORT ?= docs/kubernetes-scale.md
REFERENCE_REPORT ?= docs/reference-deployment.md
export PODGATE_CACHE ?= $(CURDIR)/.cache

# test-stops: how many.
N ?= 200
# test-abuse and test-overload: seconds of each; test-abuse: the abuses whose name holds this.
S ?= 60
ABUSE ?=
# test-durability
CUTS ?= 10000
FLIPS ?= 100000
# fuzz: seconds for each target, which targets, and the longest input; what grows with the square of it shows in long
# ones only (make fuzz T=3600 MAX_LEN=1048576).
T ?= 60
MAX_LEN ?= 8192
# test-laws: MiB of the large inputs; and of what callgrind counts the sizes in KiB, the tests and the generators.
MIB ?= 16
KIB ?= 8,1024
LAWS ?=
ONLY ?=
TARGETS ?= request item json json_differential frames grpc http gzip zstd deflate pack snappy snappy_framed yaml ottl audit lines

.PHONY: help check test test-built test-deployed image-test test-real-kube test-real-peers test-ottl test-lines test-node-logs lines-cost sim sim-days sampling-estimates sampling-cost test-all test-laws test-laws-count test-real test-real-long test-memory test-handshakes test-edge-sdk test-watches test-kafka bench bench-gateway bench-gate bench-versus bench-half bench-scale order fuzz fuzz-check test-stops test-overload test-abuse test-durability run demo demo-picture deny ci image release-pgo pgo-profile accept test-accept test-deploy test-image test-image-twice sim-tiers soak test-kafka-steady bench-hops

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

check: ## format, lints, links of the docs and the law of the house (tests/tidy.rs); under a minute when built
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --lib
	$(CARGO) test --locked --all-features --test tidy

test-built: # all that make test runs
	$(CARGO) test --locked --all-features --no-run

test: ## everything that needs neither network nor cluster; under 5 minutes when built
	$(CARGO) test --locked --all-features

# sim: how many, from which on, of which kind; or the one to play again.
SEEDS ?= 1000
FIRST ?= 0
SEED ?=
KIND ?=
# sim-days
DAYS ?= 30
PODS ?= 50000

sim: ## the gateway on a paused clock in a scripted world: make sim SEEDS=10000, or one again: make sim KIND=file SEED=17
	$(if $(STRICT),PODGATE_SIM_STRICT=1) PODGATE_SIM_KIND=$(KIND) $(if $(SEED),PODGATE_SIM_SEED=$(SEED),PODGATE_SIM_SEEDS=$(SEEDS) PODGATE_SIM_FIRST=$(FIRST)) $(CARGO) test --locked --release --all-features --test sim -- --nocapture $(if $(SEED),--exact one_seed,what_was_acknowledged)

sim-tiers: ## fifty agents before five to nine gateways, and four samplers of a Kafka group, under faults: make sim-tiers SEEDS=20
	PODGATE_TIER_SEEDS=$(SEEDS) PODGATE_TIER_FIRST=$(FIRST) $(CARGO) test --locked --release --all-features --test sim -- --nocapture --exact behind_fifty_agents_every_span_arrives_or_is_counted_and_only_traces_that_the_hash_moves_are_torn
	PODGATE_TIER_SEEDS=$(SEEDS) PODGATE_TIER_FIRST=$(FIRST) $(CARGO) test --locked --release --all-features --lib -- --nocapture receivers::kafka::tests

sampling-estimates: ## weighted estimates against the truth: 100 seeds of 100,000 traces for each set of policies
	PODGATE_LONG=1 $(CARGO) test --locked --release --all-features --test sampling -- --nocapture weighted_counts

sampling-cost: ## what the journal, weights and a shadow cost of the whole process, in instructions (needs valgrind); some minutes
	$(CARGO) build --locked --release --bin podgate
	python3 tests/sampling/cost.py target/release/podgate

sim-days: ## thirty virtual days of a busy node, on which 50,000 pods come and go: nothing may grow (DAYS=2 PODS=3000 for less)
	PODGATE_SIM_DAYS=$(DAYS) PODGATE_SIM_PODS=$(PODS) $(CARGO) test --locked --release --all-features --test sim -- --nocapture --exact a_busy_node_does_not_grow_by_the_day

test-all: ## test, with 10,000 ledger schedules and the large memory tests
	PODGATE_SCHEDULES=10000 PODGATE_LARGE=1 $(CARGO) test --locked --release --all-features

test-laws: ## the law of linear work at 16 MiB (MIB=64 for more), optimised; minutes
	PODGATE_LAWS=$(MIB) $(CARGO) test --locked --release --all-features --test laws $(LAWS)

test-laws-count: ## the same law in instructions, exactly, by valgrind: KIB=8,1024 LAWS="linear" ONLY="attributes" for some
	$(CARGO) test --locked --release --all-features --test laws --no-run
	python3 tests/laws/count.py --sizes "$(KIB)" --tests "$(LAWS)" --only "$(ONLY)"

test-real: test-real-kube test-real-peers test-deploy test-lines ## against a real kube-apiserver with etcd, the Python and the Node SDK, grpc-go, grpc-java, Elasticsearch 8.19, a Collector behind podgate and a memory cgroup (needs Go, Python, Node, a JDK with Maven, Chromium; builds once into .cache)

test-real-kube: ## the part of test-real beside the API server; a quarter of an hour, which mostly waits
	$(CARGO) build --locked --release
	python3 tests/real/accept.py target/release/podgate
	python3 tests/real/tokens.py target/release/podgate
	python3 tests/real/audit.py target/release/podgate
	python3 tests/real/tiers.py target/release/podgate
	$(CARGO) build --locked --all-features --example apm_server
	python3 tests/real/run.py target/release/podgate --report $(REPORT) --reference $(REFERENCE_REPORT)

test-real-peers: ## the part of test-real beside SDKs, clients, a browser, Elasticsearch, a Collector, proxies and a memory cgroup
	$(CARGO) build --locked --release
	python3 tests/real/edge.py target/release/podgate
	python3 tests/real/browser.py target/release/podgate
	python3 tests/real/page.py target/release/podgate
	python3 tests/real/elasticsearch/suite.py target/release/podgate
	python3 tests/real/behind/suite.py target/release/podgate
	python3 tests/real/memory.py target/release/podgate
	python3 tests/real/proxies.py target/release/podgate
	python3 tests/real/documents.py target/release/podgate
	python3 tests/real/kafka/suite.py target/release/podgate
	python3 tests/real/kafka/memory.py target/release/podgate
	python3 tests/real/node_logs.py target/release/podgate
	python3 tests/real/ottl/suite.py --seed 1

test-kafka: ## ten minutes of samplers and a broker that die and come back, beside a real Apache Kafka (needs a JDK with Maven)
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/kafka/suite.py target/release/podgate --long

test-kafka-steady: ## one sampler at half of its capacity for MINUTES=10: lag and memory stay flat; figures go to docs/scale.md (needs a JDK with Maven)
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/kafka/steady.py target/release/podgate --minutes $(or $(MINUTES),10)

test-ottl: ## OTTL and patterns beside a Collector's own packages and Go's regexp; part of test-real, there with one seed and here with the day's (needs Go; a minute when built)
	python3 tests/real/ottl/suite.py $(if $(TEXTS),--texts $(TEXTS)) $(if $(SEED),--seed $(SEED))

test-node-logs: ## files of a node, ten that rotate and five containers', 10,000 lines a second, while podgate is killed or stopped 60 times; three minutes
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/node_logs.py target/release/podgate --ends 60 --rate 10000

test-lines: ## lines of files beside a Collector's own file_log: recorded answers and made-up ones (needs Go; minutes once)
	python3 tests/real/lines/suite.py $(if $(SEED),--seed $(SEED))

lines-cost: ## CPU of lines and audit events beside a Collector, memory by files; ten minutes, figures go to docs/logs.md and docs/audit.md
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/lines/cost.py target/release/podgate

# image: which architectures, and cargo's profile (image-test builds faster, for the tests of the image alone).
ARCH ?= amd64,arm64
PROFILE ?= dist

release-pgo: ## the released program for this machine: the recorded profile and one unit of code; target/TARGET/dist/podgate, a quarter of an hour
	python3 image/recorded.py build

pgo-profile: ## record the profile anew (image/podgate.profdata.gz): needs llvm-tools, which rustup has; half an hour
	python3 image/recorded.py record

order: ## record anew which functions stand side by side in the released program (build/order.txt); needs valgrind and Go; ten minutes
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/order.py target/release/podgate

image: ## the image of both architectures as an OCI layout and as files that engines load, in target/image; needs no container engine
	python3 image/build.py --arch $(ARCH) --profile $(PROFILE)

image-test: ## the image of amd64 for the tests of the image, which is not optimised, built twice: one digest
	python3 image/build.py --arch amd64 --profile image-test --output target/image-amd64
	python3 tests/real/deploy/twice.py --arch amd64 --profile image-test --first target/image-amd64/layout

test-deploy: image-test test-deployed ## image, manifests and chart: the image of amd64, rendered, admitted by a real API server, started; part of test-real

test-deployed: # with the image that is there
	$(CARGO) build --locked --release --bin podgate
	PODGATE_IMAGE_PROFILE=image-test python3 tests/real/deploy/suite.py target/release/podgate --image target/image-amd64/layout --without arm64

test-image: ## the released image of both architectures: built, unpacked, run by its user, arm64 under qemu-user; a quarter of an hour
	$(CARGO) build --locked --release --bin podgate
	python3 image/build.py
	python3 tests/real/deploy/suite.py target/release/podgate --image target/image/layout --only image

test-image-twice: ## the whole image built twice from nothing in two folders, with another umask and clock: one digest; half an hour and more
	python3 tests/real/deploy/twice.py --arch $(ARCH) --profile $(PROFILE)

test-real-long: ## the part of test-real beside the API server, with senders that batch for ten minutes; writes docs/kubernetes-real.md
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/run.py target/release/podgate --long --report docs/kubernetes-real.md

test-memory: ## requests that grow, beside an honest client, in a real memory cgroup of 256 MiB; two minutes, figures go to docs/hardening.md
	$(CARGO) build --locked --release
	python3 tests/real/memory.py target/release/podgate

# test-edge-sdk: the long form, LONG=1 or SECONDS=... for each client.
LONG ?=
SECONDS ?=

test-edge-sdk: ## the receiver seen by stock SDKs and gRPC clients; a minute, writes docs/conformance-sdk.md; LONG=1: an hour's requests of each client on one connection (ten minutes at most, or SECONDS=...), figures go to docs/hardening.md
	$(CARGO) build --locked --release
	python3 tests/real/edge.py target/release/podgate --report docs/conformance-sdk.md $(if $(LONG)$(SECONDS),--long $(or $(SECONDS),600))

# test-watches: the profile of the program that plays the nodes. Its own work is no figure; optimised it leaves more of the
# machine to the API server, and takes minutes to build.
NODES_PROFILE ?= release
NODES = target/$(if $(filter dev,$(NODES_PROFILE)),debug,$(NODES_PROFILE))/examples/node_watches

test-watches: ## what 500 nodes cost a real API server, and 10,000 pods podgate; 8 minutes (WATCHES="--watches 50 --pods 500" for less)
	$(CARGO) build --locked --release --bin podgate
	$(CARGO) build --locked --all-features --profile $(NODES_PROFILE) --example node_watches
	python3 tests/real/watches.py target/release/podgate $(NODES) --report $(SCALE_REPORT) $(WATCHES)

# soak: hours, further words of the runner, and where the figures go.
HOURS ?= 1
SOAK ?=
SOAK_REPORT ?= docs/hardening.md

soak: ## an hour of a busy node: pods come, restart and go, next hops end and come back, nothing may grow (HOURS=8; SOAK="--seconds 60" for a short one); needs Go; writes a section of docs/hardening.md
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/soak/suite.py target/release/podgate --hours $(HOURS) --lines target/soak.jsonl --report $(SOAK_REPORT) $(SOAK)

# Attacker and honest clients run in the test binary: it is optimised too, so that its own work is not what is measured.
OUTSIDE = PODGATE_BIN=$(CURDIR)/target/release/podgate $(CARGO) test --locked --release --all-features --test edge_process

test-stops: ## N=200 graceful stops under load, back end up, down and hanging; figures go to docs/hardening.md
	PODGATE_STOPS=$(N) $(OUTSIDE) stops

test-durability: ## the log on disk: 10,000 seeds of power cuts, 100,000 flips, a cut at every byte, every fault at every call (CUTS=... FLIPS=... for less); kill -9 of the binary 500 times, over six configurations (KILLS=60 for less); an outage of OUTAGE=600 seconds, what it costs
	PODGATE_WAL_CUTS=$(CUTS) PODGATE_WAL_FLIPS=$(FLIPS) $(CARGO) test --locked --release --all-features --test wal -- --nocapture
	PODGATE_KILLS=$(or $(KILLS),500) PODGATE_OUTAGE=$(or $(OUTAGE),600) PODGATE_COST=$(or $(COST),10) $(CARGO) test --locked --release --all-features --test durability -- --nocapture --test-threads=1

test-overload: ## ten times more than the back end takes, by 100 tenants; figures go to docs/hardening.md
	PODGATE_OVERLOAD_SECONDS=$(S) $(OUTSIDE) overload

test-abuse: ## every abuse for a minute beside honest clients; figures go to docs/hardening.md (S=10 for less, ABUSE="gzip" for one, printed only)
	PODGATE_ABUSE_SECONDS=$(S) PODGATE_ABUSE="$(ABUSE)" $(OUTSIDE) abuse $(if $(ABUSE),-- --nocapture)

test-handshakes: ## SHAKES=1000 handshakes of TLS a second for a minute beside honest clients (S=15 for less); figures go to docs/hardening.md
	PODGATE_SHAKE_SECONDS=$(S) PODGATE_SHAKES=$(or $(SHAKES),1000) $(OUTSIDE) handshakes_leave -- --nocapture

bench: ## micro benches: the byte path beside prost, enrichment, sampling, Elasticsearch documents
	$(CARGO) bench --locked --all-features --bench micro
	$(CARGO) bench --locked --all-features --bench enrich
	$(CARGO) bench --locked --all-features --bench sampling
	$(CARGO) bench --locked --all-features --bench elastic

bench-gateway: ## the whole process, pinned to one core, beside a floor program and a tonic + prost pipeline
	$(CARGO) build --locked --release
	$(CARGO) bench --locked --all-features --bench gateway

# bench-gate: the reason to write benches/baseline.json anew, and which cases.
WHY ?=
CASES ?=

bench-gate: ## instructions and allocations of a request, counted by valgrind, against benches/baseline.json (WHY="the reason" writes it anew, CASES="W1 W9" for some); two minutes when built
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/order.py target/release/podgate --check
	python3 benches/gate/gate.py target/release/podgate $(if $(WHY),--why "$(WHY)") $(if $(CASES),--case $(CASES))

# bench-versus: the other program, repeats, seconds of a measurement, rows by a word of their names, and where the figures go.
COLLECTOR ?=
REPEATS ?= 3
BENCH_SECONDS ?= 6
ROWS ?=
VERSUS_REPORT ?= docs/performance.md
# bench-hops: names of hops, by commas.
HOPS ?=

bench-versus: ## podgate beside the OpenTelemetry Collector, row by row in turn: make bench-versus COLLECTOR=path (needs Go, Python and a quiet machine; three quarters of an hour; REPEATS=1 ROWS=W9 for less); writes a section of docs/performance.md
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/versus.py target/release/podgate --collector "$(COLLECTOR)" --repeats $(REPEATS) --seconds $(BENCH_SECONDS) --rows "$(ROWS)" --lines target/versus.jsonl --report $(VERSUS_REPORT)

bench-half: ## p50 and p99 at half of saturation beside the Collector: make bench-half COLLECTOR=path (needs Go and a quiet machine; ten minutes; REPEATS=1 ROWS=W9 for less); writes a section of docs/performance.md
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/scale/half.py target/release/podgate --collector "$(COLLECTOR)" --repeats $(REPEATS) --seconds $(BENCH_SECONDS) --rows "$(ROWS)" --lines target/half.jsonl --report $(VERSUS_REPORT)

# bench-scale: further words of the runner, and where figures and pictures go.
SCALE ?=
SCALE_PICTURES ?= docs/pictures

bench-scale: ## CPU and memory by traffic, connections, spans a request, pods, policies and held traces, on one core and two: make bench-scale COLLECTOR=path for a Collector at the ends (needs Go and a quiet machine; a quarter of an hour; SCALE="--seconds 1.5 --pods 500" for less); writes a section of docs/performance.md
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/scale/suite.py target/release/podgate $(if $(COLLECTOR),--collector "$(COLLECTOR)") --lines target/scale.jsonl --pictures $(SCALE_PICTURES) --report $(VERSUS_REPORT) $(SCALE)

bench-hops: ## CPU per span of each hop between tiers beside a Collector, REPEATS=3; half an hour, figures go to docs/scale.md (needs Go, a JDK with Maven and a quiet machine; HOPS=balance,sample for some)
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/kafka/hops.py target/release/podgate --repeats $(REPEATS) --seconds 8 --hops "$(HOPS)" --lines target/hops.jsonl

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
			-max_len=$(MAX_LEN) -dict=fuzz/dictionary.txt -artifact_prefix=fuzz/artifacts/$$target- -print_final_stats=1 -verbosity=0 \
			fuzz/found/$$target fuzz/corpus/$$target || exit 1; \
	done

fuzz-check: ## the fuzz targets compile (their corpora are replayed by make test)
	$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target -- -D warnings

# accept: the image that the cluster's nodes pull, and how to reach the cluster.
IMAGE ?= podgate:0.1.0
DURATION ?= 2m

accept: ## the proof on your cluster: make accept KUBECONFIG=~/.kube/config IMAGE=registry.example/podgate:0.1.0 (DURATION=10m, NAMESPACE=name)
	$(CARGO) build --locked --release --bin podgate
	target/release/podgate accept --image $(IMAGE) --duration $(DURATION) $(if $(filter command,$(origin KUBECONFIG)),--kubeconfig $(KUBECONFIG)) $(if $(NAMESPACE),--namespace $(NAMESPACE))

test-accept: ## the same against a real API server and a stand-in of a node; needs Go and root, a minute; part of test-real
	$(CARGO) build --locked --release --bin podgate
	python3 tests/real/accept.py target/release/podgate

run: ## run a configuration: make run CONFIG=examples/local.yaml
	$(CARGO) run --locked --release -- --config $(CONFIG)

demo: ## the main job on this machine, nothing else installed
	$(CARGO) run --locked --release -- demo

demo-picture: ## the demo's screen after 40 s of a real run, for the README
	$(CARGO) build --locked --release --bin podgate
	target/release/podgate demo --plain --duration 40s --svg docs/demo.svg

deny: ## licences, sources, banned crates, advisories (needs cargo-deny)
	$(CARGO) deny check

# Compilers take what processor time the suites leave, which mostly wait; what measures runs alone, behind them.
LOW = nice -n 19

ci: export PODGATE_REAL_STRICT = 1
ci: ## exactly what CI runs
	$(CARGO) fmt --check
	$(CARGO) build --locked --release
	python3 .ci/beside.py \
		"compiled=$(LOW) $(MAKE) test-built check fuzz-check image-test && $(MAKE) test-deployed" \
		"kube=$(MAKE) test-real-kube REFERENCE_REPORT=target/reference-deployment.md" \
		"peers=$(MAKE) test-real-peers"
	$(MAKE) bench-gate
	$(MAKE) soak SOAK="--seconds 60" SOAK_REPORT=target/soak.md
	$(MAKE) test-watches NODES_PROFILE=dev SCALE_REPORT=target/kubernetes-scale.md WATCHES="--watches 50 --pods 500 --steady 10"
	$(MAKE) test
