# The commands of the project; `make` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python -m

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint format lock bench clean

help: ## list the commands
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: $(VENV)/run.stamp ## serve on http://localhost:8000, management on :8001
	$(BIN) app.server

test: $(VENV)/dev.stamp ## run the tests that need no Docker
	$(BIN) pytest

lint: $(VENV)/dev.stamp ## check style and types
	$(BIN) ruff check
	$(BIN) ruff format --check
	$(BIN) mypy app tests

format: $(VENV)/dev.stamp ## put the code in style
	$(BIN) ruff check --fix
	$(BIN) ruff format

lock: $(VENV)/dev.stamp ## lock the newest packages that pyproject.toml allows
	$(BIN) uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' pyproject.toml --output-file requirements.txt
	$(BIN) uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --group dev --constraints requirements.txt \
		--output-file requirements-dev.txt

bench: $(VENV)/dev.stamp ## measure what metrics and log cost; takes minutes, needs wrk
	$(BIN) tests.bench.overhead
	$(BIN) tests.bench.scrape_time

clean: ## remove what the other commands made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
	find app tests -name __pycache__ -exec rm -rf {} +

# The virtual environment is made anew when the locked packages change.
$(VENV)/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'hello-wsgi needs Python 3.11 or newer with venv: install python3 and python3-venv, or name another with make PYTHON=...' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN) pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements-dev.txt
	$(BIN) pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	touch $@
