# Two commands on a machine that has git, make, apt and cargo: `make run` and `make test`.
# Every target installs what it lacks from Debian (scripts/needs) and says so; NEEDS=skip prevents that.

SHELL := /bin/bash
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/livebox/tools
DENY := 0.20.2
ARGS ?=
CLIENTS ?=
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 600
SOAK_VIEWERS ?= 200
KILLS_SECONDS ?= 120
KILLS_SEED ?= 1

.PHONY: help run test check clients clients-quick lint advisories golden fuzz deb vm-test fresh-root bench soak kills clean

help:  ## what can be made (this list)
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: cargo-is-new-enough  ## build and start livebox with a test picture; ARGS="-f FILE" for your own
	@scripts/needs build run
	cargo build --locked --bins
	cargo run --locked -- serve $(ARGS)

test: cargo-is-new-enough  ## run every test; ARGS="NAME" for some
	@scripts/needs test
	@if cargo nextest --version >/dev/null 2>&1; then set -x; cargo nextest run --locked $(ARGS); \
	else set -x; cargo test --locked --lib --bins --tests $(ARGS); fi

check: style  ## the short loop after a change: formatting, clippy, unit tests, a few tests of the service
	@scripts/needs test
	@if cargo nextest --version >/dev/null 2>&1; then set -x; cargo nextest run --locked --profile quick; \
	else set -x; cargo test --locked --lib --test tidy --test docs; fi

clients: cargo-is-new-enough  ## real players on every way out, into docs/clients.md (forty minutes); CLIENTS="WORDS" for some
	@scripts/needs test clients
	CLIENTS="$(CLIENTS)" cargo test --locked --test clients -- --ignored --nocapture every_client

clients-quick: cargo-is-new-enough  ## each of these players on its usual way out (three minutes)
	@scripts/needs test clients
	cargo test --locked --test clients -- --ignored --nocapture each_client

# cargo-deny reads the crates of every platform; a build fetches only those of this one.
lint: style $(TOOLS)/cargo-deny-$(DENY)/bin/cargo-deny  ## formatting, clippy, licences, sources, lock files
	cargo fetch --locked
	@# Nothing else notices that this lock file lacks a crate that livebox has got.
	cargo fetch --locked --manifest-path fuzz/Cargo.toml
	$(TOOLS)/cargo-deny-$(DENY)/bin/cargo-deny --offline check --hide-inclusion-graph licenses bans sources

advisories: $(TOOLS)/cargo-deny-$(DENY)/bin/cargo-deny  ## known security problems of dependencies (needs the network)
	$(TOOLS)/cargo-deny-$(DENY)/bin/cargo-deny check advisories

golden: cargo-is-new-enough  ## rewrite the golden text files of the tests; read the diff
	@scripts/needs build run
	GOLDEN=write cargo test --locked --lib
	git diff --stat

fuzz: cargo-is-new-enough  ## run each fuzz target for FUZZ_SECONDS (60); needs a nightly toolchain
	@scripts/needs fuzz
	scripts/fuzz $(FUZZ_SECONDS)

deb: cargo-is-new-enough  ## the Debian package, in target/debian/
	@scripts/needs deb
	scripts/deb

vm-test: cargo-is-new-enough  ## install the package in a virtual Debian 13 with a camera and watch it work
	@scripts/needs vm
	scripts/deb
	tests/vm/run

fresh-root:  ## `make run` and `make test` in a Debian 12 that has nothing yet (as root)
	scripts/fresh-root

bench: cargo-is-new-enough  ## figures beside other servers, as tables (8 minutes); ARGS="WORD" for some rows
	@scripts/needs bench
	cargo bench --locked --bench viewers -- $(ARGS)

soak: cargo-is-new-enough  ## everything at once for SOAK_SECONDS (600): viewers come and go, things break
	@scripts/needs test
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_VIEWERS=$(SOAK_VIEWERS) \
	    cargo test --locked --test blackbox soak -- --nocapture

kills: cargo-is-new-enough  ## hosts and commands killed at random for KILLS_SECONDS (120) under fifty viewers; KILLS_SEED (1)
	@scripts/needs test
	KILLS_SECONDS=$(KILLS_SECONDS) KILLS_SEED=$(KILLS_SEED) \
	    cargo test --locked --test blackbox kills -- --nocapture

clean:  ## remove everything that was built here
	cargo clean

.PHONY: style
style: cargo-is-new-enough
	@scripts/needs build
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

.PHONY: cargo-is-new-enough
cargo-is-new-enough:
	@scripts/cargo-is-new-enough

# Unoptimised it is built three times as fast, and it has little to do.
$(TOOLS)/cargo-deny-%/bin/cargo-deny:
	@scripts/needs build
	env -u CARGO_TARGET_DIR cargo install --quiet --locked --debug --root $(TOOLS)/cargo-deny-$* cargo-deny@$*
