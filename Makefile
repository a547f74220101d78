# Two commands for users: `make demo`, `make test`. Both set up what they need.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
MEMBERS := schemas client runtime services/ingest services/book services/features services/writer services/alerts sim benchmarks
CODE   := $(MEMBERS) tests
FAST   := $(BIN)/python -m pytest -m "not connected" -n logical --dist worksteal

.PHONY: help setup demo test test-fast nightly check lint format lock bench bench-peers docs clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## .venv with every distribution installed for development

# uv comes by pip into the environment itself: nothing is needed beyond Python and make. Bytecode
# and kernels are compiled here, once: each start of a service then takes a second less.
$(READY): requirements/uv.txt requirements/dev.txt $(MEMBERS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tickbus needs Python 3.11 or newer: make PYTHON=python3.11 setup"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python has no venv module here: install it (Debian: python3-venv)"; exit 1; }
	$(BIN)/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	$(BIN)/python -m compileall -q $(MEMBERS)
	$(BIN)/python -m tickbus.warm
	@touch $@

demo: setup  ## everything on this machine: a simulated venue to Parquet, with a live screen
	$(BIN)/tickbus demo

# Fast tests on all cores; those with processes and sockets one after the other: they use all cores.
test: setup  ## the whole test suite, fast tests first
	$(FAST)
	$(BIN)/python -m pytest -m connected

test-fast: setup  ## tests without processes or sockets
	$(FAST)

nightly: setup  ## faults by chance on every venue, many seeds, then eight venues with 200 tickers: an hour
	$(BIN)/python -m pytest tests/end_to_end/nightly_faults.py
	$(BIN)/python -m pytest -s tests/end_to_end/nightly_load.py

check: lint test-fast  ## lint, then fast tests

lint: setup  ## format, rules, types, import contract
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## put the code into its standard form
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

docs: setup  ## regenerate JSON Schema and AsyncAPI from the message types, tables from the venues
	$(BIN)/python -m tickbus_schemas.documents
	$(BIN)/python -m tickbus_ingest.commands.tables

lock: setup  ## pin the newest allowed versions, with hashes and without index hosts
	$(BIN)/uv export --quiet --upgrade --no-emit-workspace --no-header --no-emit-index-url --no-annotate --all-groups --format requirements-txt -o requirements/dev.txt
	@rm -f uv.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links requirements/peers.in -o requirements/peers.txt

bench: setup  ## the benchmarks, as ratios to a limit or a peer measured in the same run
	$(BIN)/tickbus bench

bench-peers: setup  ## the same, beside other programs in an environment of their own
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	$(BIN)/uv pip install --quiet --python .venv-peers/bin/python --require-hashes -r requirements/peers.txt
	$(BIN)/tickbus bench

clean:  ## remove the environment and caches
	rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis
