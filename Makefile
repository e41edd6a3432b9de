# Everything is built inside the repository: .venv (packages), var (data of the embedded PostgreSQL), and node_modules
# beside each package-lock.json.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup run test e2e check format bench schema docs lock clean

# Tests wait more than they compute: for processes that start, end and time out.
TEST_WORKERS ?= 5
BIN := .venv/bin

# The stamp carries a checksum of what it was made from, so that `make setup` costs nothing when
# nothing changed and is never fooled by the file times of a checkout.
SETUP_KEY := $(shell cat requirements-dev.lock pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)
STAMP := .venv/setup-$(SETUP_KEY)
# Folders with a package-lock.json that set-up installs.
NPM_FOLDERS := backend/app/console/assets e2e

help:
	@echo "make setup   install the locked packages (needs Python 3.11 or newer)"
	@echo "make run     set up, then serve a demo with its own PostgreSQL"
	@echo "make test    set up, then run every test, at the end those in a browser"
	@echo "make e2e     set up, then run the browser tests only; one of them: make e2e SPEC=tests/finance-withdrawals-smoke.spec.ts"
	@echo "make check   format, lint, types, floors, SQL"
	@echo "make bench   set up, then measure"
	@echo "make schema  write backend/app/sql/schema.sql from the migrations"
	@echo "make docs    write the tables of error codes and metrics in docs/"
	@echo "make lock    resolve the lock files anew from pyproject.toml"
	@echo "make clean   stop the embedded PostgreSQL of ./var; remove .venv, var, node_modules and caches"

setup: $(STAMP)
	@$(BIN)/python -m backend.scripts.npm_packages $(NPM_FOLDERS)

$(STAMP):
	@set -e; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$${python:-}" ]; then \
	    echo "Hakem needs Python 3.11 or newer and found none. Install it (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python) or name it: make setup PYTHON=/path/to/python3" >&2; exit 3; \
	fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "$$python has no venv module. Install it (Debian, Ubuntu: apt-get install python3-venv) and repeat." >&2; exit 3; \
	fi; \
	echo "setting up .venv with $$("$$python" --version)"; \
	rm -f .venv/setup-*; \
	"$$python" -m venv .venv; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .; \
	touch $(STAMP)

run: setup
	$(BIN)/hakem serve --demo

# Tests start the service and commands hundreds of times: where the environment forbids to keep compiled modules, each
# start would compile all of them again.
test e2e: export PYTHONDONTWRITEBYTECODE =

# Both always run, so that one run shows every failure.
test: setup
	@failed=0; \
	$(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadscope --no-loadscope-reorder --tb short || failed=$$?; \
	$(BIN)/python -m backend.scripts.browser_tests || failed=$$?; \
	exit $$failed

e2e: setup
	$(BIN)/python -m backend.scripts.browser_tests $(SPEC)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --disable-progress-bar backend/app/sql backend/mockpsp

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m bench

schema: setup
	$(BIN)/python -m backend.scripts.write_schema

docs: setup
	$(BIN)/python -m backend.scripts.write_error_codes
	$(BIN)/python -m backend.scripts.write_metrics

# Exact versions with hashes for every platform, without the address of any registry.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url
lock: setup
	$(LOCK) --output-file requirements.lock pyproject.toml
	$(LOCK) --output-file requirements-dev.lock --extra dev pyproject.toml
	$(LOCK) --output-file requirements-node.lock --group node
	for folder in $(NPM_FOLDERS); do (cd $$folder && npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved) || exit; done

clean:
	@if [ -x $(BIN)/hakem ] && [ -d var/postgres ]; then HAKEM_HOME=var DATABASE_URL= $(BIN)/hakem db stop; fi
	rm -rf .venv var build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf $(NPM_FOLDERS:%=%/node_modules) e2e/test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
