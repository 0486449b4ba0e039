# The two commands of the README, and those of daily work. Everything installs what it needs.
SHELL := /bin/bash
ONCE ?=

.PHONY: demo test lint fmt bench deps-test

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

fmt:
	cargo fmt --all

bench: ## Numbers, side by side with their peers; see docs/numbers.md
	cargo build --release --package slipway
	cargo xtask bench
