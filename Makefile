# The two commands of the README, and those of daily work. Everything installs what it needs.
SHELL := /bin/bash
ONCE ?=
SECONDS ?= 60
TARGETS ?= manifest reference challenge tar layer entries stack

.PHONY: demo test lint fmt bench fuzz deps-test

demo: ## Build, start the platform, push a demo app, show it; ONCE=1 ends after the check
	@cargo build --quiet --package slipway --package xtask
	@cargo xtask demo $(if $(ONCE),--once,)

test: deps-test ## Install what the tests need and run them all
	@cargo test --workspace --no-fail-fast

deps-test:
	@./.ci/install-test-tools

lint: ## What the tests do not see: formatting and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTFLAGS='--cfg fuzzing' cargo check --manifest-path fuzz/Cargo.toml --target-dir $${CARGO_TARGET_DIR:-target}/fuzz

fmt:
	cargo fmt --all

bench: ## Numbers, side by side with their peers; see docs/numbers.md
	cargo build --release --package slipway
	cargo xtask bench

fuzz: ## Strangers' bytes, SECONDS for each of TARGETS; what is found stays in fuzz/corpus and fuzz/artifacts
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@for target in $(TARGETS); do \
	  mkdir -p fuzz/corpus/$$target; \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/corpus-seeds/$$target \
	    -- -max_total_time=$(SECONDS) -rss_limit_mb=512 -timeout=20 -print_final_stats=1 || exit 1; \
	done
	@rm -rf /dev/shm/slipway-fuzz-*
