# The commands of the project; `make` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python -m

# The promtool at hand, or else that of the image that compose runs.
PROMTOOL_OF_IMAGE = docker run --rm --volume '$(CURDIR)/deploy/prometheus:/etc/prometheus:ro' --workdir /etc/prometheus \
	--entrypoint promtool $(shell sed -n 's|.*image: \(prom/.*\)|\1|p' docker-compose.yml)
PROMTOOL = $(or $(shell command -v promtool),$(PROMTOOL_OF_IMAGE))

# What the image says of itself. The time is that of the commit: so the same commit says the same.
image up: export VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' app/__init__.py)
ifneq ($(wildcard .git),)
image up: export REVISION = $(shell git describe --always --exclude '*' --abbrev=40 --dirty)
image up: export CREATED = $(shell git log -1 --format=%cI)
image up: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint format lock bench image up down e2e check-rules clean

help: ## list the commands
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run: $(VENV)/run.stamp ## serve on http://localhost:8000, management on :8001
	$(BIN) app.server

test: $(VENV)/dev.stamp ## run the tests that need no Docker
	$(BIN) pytest
	$(if $(shell command -v promtool),$(MAKE) check-rules)

lint: $(VENV)/dev.stamp ## check style and types
	$(BIN) ruff check
	$(BIN) ruff format --check
	$(BIN) mypy app tests
	$(VENV)/bin/hadolint Dockerfile

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

image: ## build the image hello-wsgi:dev
	docker compose build app

up: ## build and run the service and Prometheus in containers
	docker compose up --detach --wait
	@echo 'the service:    http://localhost:8000/hello'
	@echo 'its management: http://localhost:8001/metrics'
	@echo 'Prometheus:     http://localhost:9090'

down: ## stop them, and remove their data
	docker compose --profile '*' down --volumes

e2e: $(VENV)/dev.stamp ## run the tests that need Docker
	@docker version >/dev/null || { echo 'make e2e needs Docker with compose, and found no engine' >&2; exit 1; }
	$(MAKE) check-rules PROMTOOL="$(PROMTOOL_OF_IMAGE)"
	$(BIN) pytest --timeout 300 tests/container

check-rules: ## check Prometheus' configuration and rules with promtool
	cd deploy/prometheus && $(PROMTOOL) check config --lint=all --lint-fatal prometheus.yml
	cd deploy/prometheus && $(PROMTOOL) test rules tests/*.yml

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
