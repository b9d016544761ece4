# `make` prints this help. Every target sets up what it needs: a virtual environment in .venv with the versions of
# constraints.txt, made with uv where it is installed and with Python's own venv and pip where it is not.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTENSION := sqlml/native/sqlml.duckdb_extension
PYTEST_ARGS ?=
SWEEP_ARGS ?=
BENCH_ARGS ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
.PRECIOUS: $(VENV)-%/.installed
.PHONY: help setup ext ext-where-possible demo demo-hbase test check rust format lint types imports bench sweep models build clean

help: ## Print this help
	@echo "make <target>, one of:"
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything in it (the other targets do this by themselves)

# The stamp is newer than both files exactly when nothing has to be installed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "sqlml needs Python 3.11 or newer, and $(PYTHON) is older. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV): a few minutes the first time, nothing later."
	@if command -v uv >/dev/null 2>&1; then \
	  { test -x $(BIN)/python || uv venv --quiet --python "$$(command -v $(PYTHON))" $(VENV); } && \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else \
	  { test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV); } && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@

ext: ## Build the native extension with cargo, the engine `native` (says what is missing without it)
	@$(PYTHON) udfs/build.py $(EXTENSION)
	@echo $(EXTENSION)

# cargo knows itself what has changed. Without it everything else works, with the engines sql and python.
ext-where-possible:
	@$(PYTHON) udfs/build.py --where-possible $(EXTENSION)

demo: $(STAMP) ext-where-possible ## Run the main job on real data: train, register, deploy, query, compare, roll back
	@$(BIN)/sqlml demo

demo-hbase: $(STAMP) ## The same with the models in a real HBase, which it starts and stops (needs Java 17 and Maven)
	@$(BIN)/python -m tests.hbase.server run -- sh -c \
	  '$(BIN)/sqlml demo --folder .demo-hbase --artifacts "hbase://$$HBASE_HOST:$$HBASE_PORT/models/demo"'

# By file: tests of one share what they made. (loadgroup of pytest-xdist 3.8 does not group under pytest 9.2.)
# In the order of their names: by their number of tests, the files with the few longest would come last, one process alone.
test: $(STAMP) ext-where-possible ## Run the tests in two processes (PYTEST_ARGS="-k name" for some of them, WORKERS=0 for one process)
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: format lint types imports rust test ## What CI runs: format, lint, types, import contracts, tests; of the extension, too, where cargo is

# The library is linked already when its tests are: one build serves both.
rust: ## Format, lints and tests of the native extension (says so and does nothing without cargo)
	@if ! command -v cargo >/dev/null 2>&1; then echo "There is no cargo here: the native extension is not checked." >&2; exit 0; fi; \
	cd udfs && cargo fmt --check && cargo clippy --quiet --locked --all-targets -- -D warnings && cargo test --quiet --locked

format: $(STAMP) ## Fail if a file is not formatted
	@$(BIN)/ruff format --check .

lint: $(STAMP) ## Run the linter
	@$(BIN)/ruff check .

types: $(STAMP) ## Check the types of sqlml/ (mypy --strict)
	@$(BIN)/mypy

imports: $(STAMP) ## Check that imports go one way
	@$(BIN)/lint-imports

# Peers pin what sqlml does not (orbital 0.6: an onnx before 1.23), so they have environments of their own.
$(VENV)-%/.installed: pyproject.toml constraints.txt
	@echo "Setting up $(VENV)-$*: a few minutes the first time, nothing later."
	@test -x $(VENV)-$*/bin/python || $(PYTHON) -m venv $(VENV)-$*
	@grep -v '^onnx==' constraints.txt > $(VENV)-$*/constraints.txt
	@$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint $(VENV)-$*/constraints.txt --editable '.[$*]'
	@touch $@

bench: $(VENV)-bench/.installed ext ## Every engine beside its peers, as ratios (BENCH_ARGS="--only memory --save")
	@$(VENV)-bench/bin/python -m bench $(BENCH_ARGS)

sweep: $(VENV)-sweep/.installed ## Every estimator of scikit-learn through sqlml, skl2onnx and orbital (SWEEP_ARGS="SVC KMeans")
	@$(VENV)-sweep/bin/python -m bench.sweep $(SWEEP_ARGS)

models: $(STAMP) ## Write docs/models.md from a test run: every estimator, exact or refused and why
	@WRITE_MODELS_PAGE=1 $(BIN)/python -m pytest -q tests/convert/test_every_estimator.py

build: $(STAMP) ## Make the wheel in dist/, with the native extension where cargo can build it
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean: ## Remove everything that the other targets made
	rm -rf $(VENV) $(VENV)-sweep $(VENV)-bench .bench udfs/target udfs/build sqlml/native .demo .demo-hbase build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
