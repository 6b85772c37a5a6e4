# A fresh machine needs Python 3.11 or newer and make. `make run` is everything on this machine, without an AWS account.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST_ARGS ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test lint bench bench-suppressions chaos chaos-long fuzz aiosmtpd-tests compose-check lock clean
.DELETE_ON_ERROR:

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED) ## Install and run everything here, against the simulated AWS (Ctrl-C drains)
	@exec $(BIN)/sesgate up --sandbox

test: $(INSTALLED) ## Install and run the tests on all cores; PYTEST_ARGS="-k smtp" runs some of them
	@$(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

lint: $(INSTALLED) ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m deploy.compose_check

bench: $(INSTALLED) ## Measure speed against Postfix and boto3, write docs/performance.md (an hour); BENCH_ARGS="accept-kept --rounds 3"
	@$(BIN)/python -m benchmarks run $(BENCH_ARGS)
	@$(BIN)/python -m benchmarks report

bench-suppressions: $(INSTALLED) ## Measure imports and look-ups of suppressions (some minutes, 15 GiB); BENCH_ARGS="--rows 1000000"
	@$(BIN)/python -m benchmarks.suppressions $(BENCH_ARGS)

chaos: $(INSTALLED) ## Try what is promised under kills, lost brokers, full disks (40 minutes; Ctrl-C, and again: goes on)
	@$(BIN)/python -m tests.chaos run --tier standard

chaos-long: $(INSTALLED) ## The same for about three hours
	@$(BIN)/python -m tests.chaos run --tier long

fuzz: $(INSTALLED) ## Give random input to what reads the words of strangers; FUZZ_SECONDS=600 a target
	@$(BIN)/python -m tests.fuzz $(FUZZ_TARGETS)

aiosmtpd-tests: $(INSTALLED) ## Fetch aiosmtpd's own tests and run them against our protocol
	@$(BIN)/python -m tests.gateway.smtp.upstream

compose-check: $(INSTALLED) ## Check Dockerfile and docker-compose.yml; no container engine is needed
	@$(BIN)/python -m deploy.compose_check

UV_COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: $(VENV)/.python ## Write the lock files anew: all that development needs, and what the image runs and is built with
	@$(BIN)/python -m pip install --quiet uv
	$(UV_COMPILE) --all-extras pyproject.toml -o requirements.lock
	$(UV_COMPILE) --extra postgres --constraint requirements.lock pyproject.toml -o requirements-run.lock
	echo hatchling | $(UV_COMPILE) --constraint requirements.lock - -o requirements-build.lock

clean: ## Remove the environment and all caches; the data in var/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer, or run make with PYTHON=/path/to/python3."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
		|| { echo "sesgate needs Python 3.11 to 3.14, and $(PYTHON) is another one: run make with PYTHON=/path/to/python3.12, for example."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null \
		|| { echo "$(PYTHON) has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(INSTALLED): pyproject.toml requirements.lock | $(VENV)/.python
	@echo "Installing into $(VENV) (a minute or two the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
