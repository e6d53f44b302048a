# Erlang wants a UTF-8 locale, and rustup may not have told this shell about cargo.
export LC_ALL := C.UTF-8
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-newer ci check bench format clean bootstrap
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: bootstrap ## route a recorded PostgreSQL stream to a million shapes, beside ETS
	cd elixir && MIX_ENV=prod mix run ../demo/demo.exs

test: bootstrap ## the tests of the engine, then those of the Elixir library
	cargo test --no-default-features
	cd elixir && mix test

test-newer: ## the Elixir tests on newer releases of Elixir and OTP (needs root and debootstrap)
	script/test-on trixie
	script/test-on sid

ci: check test ## everything that must pass before a merge

check: bootstrap ## formatting, lints, warnings, docs, benches and a small demo
	cargo fmt --check
	cd elixir && mix format --check-formatted && mix format --check-formatted ../demo/*.exs
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
	cargo bench --no-default-features --no-run
	cd elixir && MIX_ENV=test mix compile --force --warnings-as-errors
	$(MAKE) demo SHAPES=50000

bench: bootstrap ## micro-benchmarks, then LsmIndex beside ETS and Map
	cargo bench --no-default-features
	cd elixir && MIX_ENV=prod mix run bench/route_index.exs

format: ## rewrite the sources the way CI wants them
	cargo fmt
	cd elixir && mix format && mix format ../demo/*.exs

clean: ## remove everything that was built
	cargo clean
	rm -rf elixir/_build

bootstrap:
	@script/bootstrap
