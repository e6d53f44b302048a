# Erlang wants a UTF-8 locale, and rustup may not have told this shell about cargo.
export LC_ALL := C.UTF-8
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help demo demo-postgres test test-newer ci check bench report peers format clean bootstrap fuzz model asan
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: bootstrap ## route a recorded PostgreSQL stream to a million shapes, beside ETS
	cd elixir && MIX_ENV=prod mix run ../demo/demo.exs

# From a server of its own, which is gone afterwards: see demo/postgres/live.exs for what it takes.
demo-postgres: bootstrap ## route what a PostgreSQL at work streams, every answer checked with SQL
	cd elixir && MIX_ENV=prod ../script/with-postgres mix run ../demo/postgres/live.exs

test: bootstrap ## the tests of the engine, then those of the Elixir library
	cargo test --no-default-features
	$(MAKE) model
	cd elixir && mix test

test-newer: ## the Elixir tests on newer releases of Elixir and OTP (needs root and debootstrap)
	script/test-on trixie
	script/test-on sid

FUZZ_SECONDS ?= 60
FUZZ_TARGETS = wal frames segment terms directory

# What is new goes to fuzz/found, what crashes to fuzz/artifacts. Stable Rust has the sanitizers, but hides
# them.
fuzz: export RUSTC_BOOTSTRAP = 1
fuzz: bootstrap ## fuzz every parser for FUZZ_SECONDS (60)
	command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	for target in $(FUZZ_TARGETS); do \
	  mkdir -p fuzz/found/$$target && \
	  cargo fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=20 -malloc_limit_mb=64 || exit 1; \
	done

model: ## try out interleavings of the engine's threads (MODEL_SCHEDULES of each kind)
	cd model && cargo test --test model

asan: export RUSTC_BOOTSTRAP = 1
asan: export RUSTFLAGS = -Zsanitizer=address
asan: export CARGO_TARGET_DIR = target/asan
# What is too much memory is for the caller to be told, as elsewhere.
asan: export ASAN_OPTIONS = allocator_may_return_null=1
asan: ## the tests of the engine under AddressSanitizer
	cargo test --no-default-features --tests --target x86_64-unknown-linux-gnu

# As many random changes against SQL's notion of equality as docs/design.md claims.
ci: export FILTER_CHANGES = 1000000
ci: check test ## everything that must pass before a merge

# Of benches that take seconds, among them those that plots are made of; nothing in docs/ changes.
# Where there is a browser, it has to draw the page.
SMALL_REPORT = REPORT_BENCHES="route_index churn filter" REPORT_KEYS=1000,2000 REPORT_CHURN_KEYS=5000 \
  REPORT_SECONDS=1 REPORT_SHAPES=20000 \
  REPORT_PICTURES=$(if $(shell command -v chromium),yes,no) \
  REPORT_TABLES=target/small-report REPORT_TO=target/small-report

check: bootstrap ## formatting, lints, warnings, docs, benches and small demos
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo fmt --check --manifest-path model/Cargo.toml
	cargo fmt --check --manifest-path benches/peers/Cargo.toml
	cd elixir && mix format --check-formatted && mix format --check-formatted ../demo/*.exs ../demo/*/*.exs
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --no-default-features -- -D warnings
	cargo clippy --tests --manifest-path model/Cargo.toml -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
	cargo bench --no-default-features --no-run
	cd elixir && MIX_ENV=test mix compile --force --warnings-as-errors
	$(SMALL_REPORT) script/report
	$(MAKE) demo SHAPES=50000
	$(MAKE) demo-postgres SHAPES=20000 CHANGES=20000

bench: bootstrap ## micro-benchmarks; LsmIndex beside ETS and Map, in churn, cold, and with its durabilities
	cargo bench --no-default-features
	cd elixir && MIX_ENV=prod mix run bench/route_index.exs
	cd elixir && MIX_ENV=prod mix run bench/churn.exs
	cd elixir && MIX_ENV=prod mix run bench/hot_keys.exs
	cd elixir && MIX_ENV=prod mix run bench/cold.exs
	cd elixir && MIX_ENV=prod mix run bench/durability.exs
	cd elixir && MIX_ENV=prod mix run bench/filter.exs
	cd elixir && MIX_ENV=prod mix run bench/peers.exs

# Chart.js and Chromium come from the system: script/bootstrap installs them. The script has the variables.
report: bootstrap ## all benches, a quarter of an hour, to docs/benchmarks.md and a page with plots (REPORT_KEYS, ...)
	script/report

# RocksDB is that of the system, with ROCKSDB=1: apt-get install librocksdb-dev libclang-dev
peers: export ROCKSDB_INCLUDE_DIR ?= /usr/include
peers: export ROCKSDB_LIB_DIR ?= /usr/lib/$(shell cc -print-multiarch)
peers: bootstrap ## the engine beside LMDB, redb and fjall; ROCKSDB=1 adds RocksDB (KEYS, ROUNDS, TABLES=file)
	cargo run --release --manifest-path benches/peers/Cargo.toml $(if $(ROCKSDB),--features rocksdb)

format: ## rewrite the sources the way CI wants them
	cargo fmt
	cargo fmt --manifest-path fuzz/Cargo.toml
	cargo fmt --manifest-path model/Cargo.toml
	cargo fmt --manifest-path benches/peers/Cargo.toml
	cd elixir && mix format && mix format ../demo/*.exs ../demo/*/*.exs

clean: ## remove everything that was built
	cargo clean
	rm -rf elixir/_build

bootstrap:
	@script/bootstrap
