# Everything a developer does, one command each. `make help` lists them.
#
# A fresh machine needs Python >= 3.11 and a Rust toolchain; the rest is set up here, in .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := .make
SOURCES := $(shell find src -name '*.rs') Cargo.toml Cargo.lock pyproject.toml build.rs
# Lints see tests and the rest, too.
PY_DIRS := python tests examples benches/python

export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-21s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(STAMPS)/built $(STAMPS)/demo-packages ## Set up, and see the cache at work behind a FastAPI service
	$(BIN)/python examples/demo.py $(ARGS)

.PHONY: gateway
gateway: $(STAMPS)/built $(STAMPS)/demo-packages ## See API keys and rate limits before two backends (DATABASE_URL, REDIS_URL)
	$(BIN)/python examples/gateway/demo.py $(ARGS)

.PHONY: test
test: lint stubs test-rust test-interleavings test-protocol-model test-python ## Set up, and run all tests and checks

.PHONY: dev
dev: $(STAMPS)/built $(STAMPS)/test-packages $(STAMPS)/demo-packages ## Set up everything for development in .venv

.PHONY: test-tools
test-tools: ## Install a browser and promtool for the tests that use them, on Debian and as root
	@bash scripts/get-test-tools.sh

.PHONY: build
build: $(STAMPS)/built ## Build the extension into the virtual environment

.PHONY: fmt
fmt: $(STAMPS)/test-packages ## Format all code
	cargo fmt
	$(BIN)/ruff format $(PY_DIRS)
	$(BIN)/ruff check --fix $(PY_DIRS)

.PHONY: lint
lint: $(STAMPS)/test-packages $(STAMPS)/demo-packages $(STAMPS)/built ## Check format, lints and types
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --features logs -- -D warnings
	cargo clippy --features python -- -D warnings
	$(BIN)/ruff format --check $(PY_DIRS)
	$(BIN)/ruff check $(PY_DIRS)
	$(BIN)/mypy

.PHONY: stubs
stubs: $(STAMPS)/built $(STAMPS)/test-packages ## Compare the hand-written stub with the extension
	$(BIN)/python -m mypy.stubtest velro_cache._engine

.PHONY: test-rust
test-rust: ## Test the engine, without Python
	cargo test --features logs

# A build for each model checker, apart from all others: flags make cargo build everything anew.
.PHONY: test-interleavings
test-interleavings: ## Test the engine with threads in all orders, under loom and shuttle
	@for checker in loom shuttle; do \
	  echo "cargo test --test interleaving, under $$checker"; \
	  RUSTFLAGS="--cfg $$checker" CARGO_TARGET_DIR=target/$$checker \
	    cargo test --profile interleaving --test interleaving || exit 1; \
	done

.PHONY: test-protocol-model
test-protocol-model: ## Try all that can happen between hosts, in a model (ARGS=--show-output)
	cargo clippy -p velro-cache-protocol-model --all-targets -- -D warnings
	cargo test --profile interleaving -p velro-cache-protocol-model -- $(ARGS)

.PHONY: test-python
test-python: $(STAMPS)/built $(STAMPS)/test-packages $(STAMPS)/demo-packages ## Test the package (PYTEST_ARGS="-k name")
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: chaos
chaos: $(STAMPS)/built $(STAMPS)/test-packages $(STAMPS)/demo-packages ## Processes that are killed, frozen and cut off, for long (SCALE=20 ARGS="-k redis")
	VELRO_CHAOS=$(or $(SCALE),20) $(BIN)/python -m pytest tests/chaos $(ARGS)

# A CPython without a GIL is an interpreter of its own, with packages and a build of its own.
FREE_THREADED := .venv-free-threaded
WITHOUT_GIL := env -u PYO3_PYTHON VIRTUAL_ENV=$(CURDIR)/$(FREE_THREADED) \
  CARGO_TARGET_DIR=target/free-threaded

.PHONY: test-free-threaded
test-free-threaded: $(STAMPS)/free-threaded-built ## Test without a GIL; builds such a CPython if there is none
	$(FREE_THREADED)/bin/python -m pytest tests/free_threaded tests/unit tests/integration \
	  tests/memory $(PYTEST_ARGS)

.PHONY: bench-free-threaded
bench-free-threaded: $(STAMPS)/free-threaded-built ## One thread and two without a GIL; writes docs/free-threaded.md
	$(FREE_THREADED)/bin/python benches/python/free_threaded.py --write $(ARGS)

# The oldest that is supported, the last one whose routes are a flat list, and the newest.
FASTAPI_VERSIONS := 0.121 0.136 newest
FASTAPI_VENV     := .venv-fastapi

# Older versions warn about packages younger than they are; `make test` heeds all warnings.
.PHONY: test-fastapi-versions
test-fastapi-versions: $(FASTAPI_VERSIONS:%=$(STAMPS)/fastapi-%) ## Test with the FastAPIs that are supported (FASTAPI_VERSIONS=0.121)
	@for version in $(FASTAPI_VERSIONS); do \
	  python=$(FASTAPI_VENV)-$$version/bin/python; \
	  $$python -c 'import fastapi, starlette; print("FastAPI", fastapi.__version__, "on Starlette", starlette.__version__)'; \
	  $$python -m pytest tests/fastapi -W ignore::DeprecationWarning $(PYTEST_ARGS) || exit 1; \
	done

.PHONY: bench
bench: $(STAMPS)/built $(STAMPS)/bench-packages ## Compare with other caches; writes docs/benchmarks.md (ARGS=--quick)
	$(BIN)/python benches/python/run.py $(ARGS)

.PHONY: soak
soak: $(STAMPS)/built ## Use a cache 100 million times, watch its memory; writes docs/soak.md (ARGS=2000000)
	nice $(BIN)/python benches/python/soak.py --write $(ARGS)

.PHONY: bench-engine
bench-engine: ## Compare with other Rust caches; writes docs/benchmarks-engine.md (ARGS=--quick)
	cargo run --release -p velro-cache-benches --bin engine_ratios -- $(ARGS)

.PHONY: bench-hit-ratio
bench-hit-ratio: ## Compare hit ratios; with TRACES=dir, writes docs/hit-ratio.md
	cargo run --release -p velro-cache-benches --bin hit_ratio -- \
	  $(if $(TRACES),--traces '$(TRACES)') $(ARGS)

.PHONY: bench-invalidation
bench-invalidation: $(STAMPS)/built $(STAMPS)/test-packages ## What a revocation costs; writes docs/benchmarks-invalidation.md
	$(BIN)/python benches/python/invalidation.py --write $(ARGS)

.PHONY: bench-http
bench-http: $(STAMPS)/built $(STAMPS)/demo-packages $(STAMPS)/bench-packages ## What guards cost a request; writes docs/benchmarks-http.md
	$(BIN)/python benches/python/http_guards.py --write $(ARGS)

.PHONY: bench-api-keys
bench-api-keys: $(STAMPS)/built $(STAMPS)/demo-packages $(STAMPS)/bench-packages ## What an API key costs a request (ARGS=--quick)
	$(BIN)/python benches/python/api_keys.py $(ARGS)

.PHONY: bench-prediction
bench-prediction: $(STAMPS)/built $(STAMPS)/bench-packages ## What loading ahead is worth (ARGS="--traces DIR")
	$(BIN)/python benches/python/prediction.py $(ARGS)

.PHONY: bench-rate-limit
bench-rate-limit: $(STAMPS)/built $(STAMPS)/test-packages ## What a check of a rate limit costs, beside others (ARGS=--quick)
	$(BIN)/python benches/python/rate_limit.py $(ARGS)
	cargo bench -p velro-cache-benches --bench rate_limit

.PHONY: bench-dashboard
bench-dashboard: $(STAMPS)/built $(STAMPS)/demo-packages ## What an open dashboard costs a service; writes docs/dashboard.md
	$(BIN)/python benches/python/dashboard.py --write $(ARGS)

.PHONY: screenshots
screenshots: $(STAMPS)/built $(STAMPS)/test-packages $(STAMPS)/demo-packages ## Take the pictures of the pages, in Chromium
	$(BIN)/python scripts/screenshots.py $(ARGS)

.PHONY: bench-safety
bench-safety: $(STAMPS)/built $(STAMPS)/bench-packages ## See who hangs or crashes; writes docs/safety.md
	$(BIN)/python benches/python/safety.py $(ARGS)

.PHONY: test-benches
test-benches: ## Check and test the Rust benchmarks; builds the other caches
	cargo clippy -p velro-cache-benches --all-targets -- -D warnings
	cargo test -p velro-cache-benches

.PHONY: wheel
wheel: $(STAMPS)/venv ## Build a wheel into dist/
	$(BIN)/maturin build --release --out dist

.PHONY: clean
clean: ## Remove what was built, and the virtual environment
	rm -rf target dist $(VENV) $(FREE_THREADED) $(FASTAPI_VENV)-* $(STAMPS) python/velro_cache/_engine*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv: pyproject.toml
	@mkdir -p $(STAMPS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "velro-cache needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..."; exit 1; }
	@command -v cargo >/dev/null || \
	  { echo "velro-cache is built from Rust; no 'cargo' was found. See https://rustup.rs"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip 'maturin>=1.9.4,<2'
	@touch $@

$(STAMPS)/built: $(STAMPS)/venv $(SOURCES)
	$(BIN)/maturin develop --release --quiet
	@touch $@

# hypothesis and pydantic: the last with wheels for 3.13 without a GIL.
$(STAMPS)/free-threaded-venv: scripts/get-free-threaded-python.sh
	@mkdir -p $(STAMPS)
	test -x $(FREE_THREADED)/bin/python || "$$(scripts/get-free-threaded-python.sh)" -m venv $(FREE_THREADED)
	$(FREE_THREADED)/bin/python -m pip install --quiet 'maturin>=1.9.4,<2' pytest pytest-asyncio \
	  pytest-timeout 'hypothesis<6.150' pydantic==2.12.3 rich fastapi httpx
	@touch $@

$(STAMPS)/free-threaded-built: $(STAMPS)/free-threaded-venv $(SOURCES)
	$(WITHOUT_GIL) $(FREE_THREADED)/bin/maturin develop --release --quiet
	@touch $@

# `--group` reads the dependency groups of pyproject.toml.
$(STAMPS)/%-packages: $(STAMPS)/venv
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@

# The package is not built again: what .venv has of it points to this folder.
$(STAMPS)/fastapi-%: $(STAMPS)/venv | $(STAMPS)/built
	test -x $(FASTAPI_VENV)-$*/bin/python || $(BIN)/python -m venv $(FASTAPI_VENV)-$*
	$(FASTAPI_VENV)-$*/bin/python -m pip install --quiet --upgrade pip
	$(FASTAPI_VENV)-$*/bin/python -m pip install --quiet --upgrade --group test --group demo \
	  $(if $(filter newest,$*),fastapi,'fastapi==$*.*')
	cp -r $(VENV)/lib/python*/site-packages/velro_cache[.-]* $(FASTAPI_VENV)-$*/lib/python*/site-packages
	@touch $@

$(STAMPS)/bench-packages: $(STAMPS)/venv benches/python/requirements.txt
	$(BIN)/python -m pip install --quiet -r benches/python/requirements.txt
	@touch $@
