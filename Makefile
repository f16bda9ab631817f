# The commands of the project; `make` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python -m

# Minimum versions, as in README.md.
MIN_ENGINE := 25.0
MIN_COMPOSE := 2.24
MIN_BUILDX := 0.13
MIN_KUBECTL := 1.34
# Shell function: require PROGRAM MINIMUM FOUND
REQUIRE = require() { printf '%s\n' "$$2" "$${3:-0}" | sort -cV 2>/dev/null || \
	{ echo "$$1 $$2 or newer is required, found: $${3:-none}" >&2; exit 1; }; }

# promtool from the PATH, or else from the image of compose. Recipes run it in deploy/prometheus.
PROMTOOL_OF_IMAGE = image=$$(docker build --quiet --target unchecked .) && \
	docker run --rm --workdir /etc/prometheus --entrypoint promtool $$image
PROMTOOL = $(or $(shell command -v promtool),$(PROMTOOL_OF_IMAGE))

# Document with the runbooks of the alerts.
RUNBOOKS = $(shell sed -n 's/^Runbooks = "\([^"]*\)".*/\1/p' pyproject.toml)

# The rules for the Prometheus operator. Generated, because kustomize cannot read the files of Prometheus.
PROMETHEUS_RULE := deploy/kubernetes/components/prometheus-rule/prometheus-rule.yaml
# Of that version, and with what it depends on as of that day.
CHECKOV := $(VENV)/bin/uvx --quiet --python $(VENV)/bin/python --exclude-newer 2026-11-23 checkov@3.3.30
KIND_KUBECTL := kubectl --context kind-hello-wsgi
# The actionlint at hand, or else that of its Go module.
ACTIONLINT = $(or $(shell command -v actionlint),go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12)

# Labels of the image. The time is that of the commit, so that builds of a commit are identical.
# Without a commit, the defaults of the Dockerfile apply.
image up push: export VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' app/__init__.py)
ifneq ($(and $(wildcard .git),$(shell git rev-parse --quiet --verify HEAD 2>/dev/null)),)
image up push: export REVISION = $(shell git describe --always --exclude '*' --abbrev=40 --dirty)
image up push: export CREATED = $(shell git log -1 --format=%cI)
image up push: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint format lock bench soak image push up down check-docker e2e readme links check-rules manifests \
	check-manifests check-workflows kind-up kind-down package hooks clean

help: ## list the commands
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

run: $(VENV)/run.stamp ## serve on http://localhost:8000, management on :8001
	$(BIN) app.server

test: $(VENV)/dev.stamp $(VENV)/gunicorn.stamp ## run the tests that need no Docker
	$(BIN) pytest --numprocesses 3 --dist worksteal
	$(if $(shell command -v promtool),$(MAKE) check-rules)

lint: $(VENV)/dev.stamp ## check style and types
	$(BIN) ruff check
	$(BIN) ruff format --check
	$(BIN) mypy app tests
	$(VENV)/bin/hadolint Dockerfile deploy/*/Dockerfile
	$(VENV)/bin/shellcheck .ci/run

format: $(VENV)/dev.stamp ## put the code in style
	$(BIN) ruff check --fix
	$(BIN) ruff format

lock: $(VENV)/dev.stamp ## lock the newest packages that pyproject.toml allows
	$(BIN) uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' pyproject.toml --output-file requirements.txt
	$(BIN) uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --group dev --constraints requirements.txt \
		--output-file requirements-dev.txt
	$(BIN) uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --group peers --constraints requirements.txt \
		--output-file tests/bench/peers/requirements.txt

bench: $(VENV)/dev.stamp build/peers.stamp ## measure the service beside others; takes minutes, needs wrk, nginx and strace
	$(BIN) tests.bench

soak: $(VENV)/dev.stamp ## run load, churn, slow and hostile clients at once for SOAK_SECONDS (240)
	$(BIN) tests.soak

image: check-docker ## build the image hello-wsgi:dev
	docker compose build app

push: check-docker ## build the image for amd64 and arm64 and push it to IMAGE, with SBOM and provenance
	@$(REQUIRE); \
	require 'Docker Buildx' $(MIN_BUILDX) "$$(docker buildx version 2>/dev/null | sed 's/[^ ]* v*\([^ ]*\).*/\1/')"
	@test -n '$(IMAGE)' || { echo 'make push needs IMAGE, as in make push IMAGE=registry.example.com/hello-wsgi' >&2; exit 1; }
	mkdir -p build
	docker buildx build --platform linux/amd64,linux/arm64 --sbom true --provenance mode=max \
		--build-arg VERSION --build-arg REVISION --build-arg CREATED --build-arg SOURCE \
		--output type=image,push=true,rewrite-timestamp=true --tag '$(IMAGE):$(VERSION)' \
		--metadata-file build/image.json .

up: check-docker ## build and run the service and Prometheus in containers
	docker compose up --build --detach --wait
	@port() { docker compose port "$$@" | sed 's/.*://'; }; \
	echo "service:    http://localhost:$$(port app 8000)/hello"; \
	echo "management: http://localhost:$$(port app 8001)/metrics"; \
	echo "Prometheus: http://localhost:$$(port prometheus 9090)"

down: ## stop the containers and remove their data
	docker compose --profile '*' down --volumes

check-docker: ## check the versions of Docker Engine and Compose
	@$(REQUIRE); \
	require 'Docker Engine' $(MIN_ENGINE) "$$(docker version --format '{{.Server.Version}}')"; \
	require 'Docker Compose' $(MIN_COMPOSE) "$$(docker compose version --short 2>/dev/null | sed 's/^v//')"

e2e: $(VENV)/dev.stamp check-docker ## run the tests that need Docker
	$(MAKE) check-rules PROMTOOL='$$(PROMTOOL_OF_IMAGE)'
	$(BIN) pytest --timeout 300 tests/container

readme: $(VENV)/dev.stamp ## run the commands of README.md; needs Docker, and its ports
	$(BIN) pytest --timeout 600 tests/docs/commands.py

links: $(VENV)/dev.stamp ## ask every address that the documents link to
	$(BIN) pytest tests/docs/addresses.py

check-rules: ## check Prometheus' configuration and rules with promtool
	cd deploy/prometheus && $(PROMTOOL) check config --lint=all --lint-fatal prometheus.yml
	cd deploy/prometheus && $(PROMTOOL) test rules tests/*.yml

manifests: $(VENV)/dev.stamp $(PROMETHEUS_RULE) ## render the Kubernetes manifests into build/manifests
	mkdir -p build/manifests
	set -e; for overlay in $(notdir $(wildcard deploy/kubernetes/overlays/*)); do \
		$(VENV)/bin/kubectl kustomize deploy/kubernetes/overlays/$$overlay > build/manifests/$$overlay.yaml; done

check-manifests: manifests ## test the Kubernetes manifests, and scan them for what is insecure
	$(BIN) pytest tests/deploy/test_kubernetes.py
	$(CHECKOV) --file build/manifests/production.yaml --framework kubernetes --quiet --compact --skip-download \
		--skip-check "$$(grep -oE 'CKV2?_K8S_[0-9]+' deploy/README.md | paste -sd , -)"

check-workflows: $(VENV)/dev.stamp ## check GitHub's workflows with actionlint and zizmor
	$(ACTIONLINT) -shellcheck $(VENV)/bin/shellcheck
	$(VENV)/bin/zizmor --offline --quiet --persona pedantic .github

# The restart, because the image's tag is always the same: a pod that runs would keep the image that it has.
kind-up: ## run the service in Kubernetes on this machine; needs kind and kubectl
	@$(REQUIRE); \
	require kubectl $(MIN_KUBECTL) "$$(kubectl version --client 2>/dev/null | sed -n 's/^Client Version: v//p')"; \
	command -v kind >/dev/null || { echo 'make kind-up needs kind, and found none on the PATH' >&2; exit 1; }
	kind get clusters | grep -qx hello-wsgi || kind create cluster --name hello-wsgi
	$(MAKE) image
	kind load docker-image hello-wsgi:dev --name hello-wsgi
	$(KIND_KUBECTL) apply -k deploy/kubernetes/overlays/local
	$(KIND_KUBECTL) --namespace hello-wsgi rollout restart deployment/hello-wsgi
	$(KIND_KUBECTL) --namespace hello-wsgi rollout status deployment/hello-wsgi --timeout 2m
	@echo 'To reach it: $(KIND_KUBECTL) --namespace hello-wsgi port-forward service/hello-wsgi 8000:http'

kind-down: ## remove that cluster
	@command -v kind >/dev/null || { echo 'make kind-down needs kind, and found none on the PATH' >&2; exit 1; }
	kind delete cluster --name hello-wsgi

package: $(VENV)/dev.stamp ## build the Python package into dist
	rm -rf dist
	$(BIN) build

hooks: $(VENV)/dev.stamp ## have git run make lint before each commit
	$(BIN) pre_commit install

clean: ## remove what the other commands made
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find app tests -name __pycache__ -exec rm -rf {} +

# Also rewrites the links in the alerts, when RUNBOOKS has changed.
$(PROMETHEUS_RULE): $(wildcard deploy/prometheus/rules/*.yml) pyproject.toml
	perl -pi -e 's|runbook_url: .*#|runbook_url: $(RUNBOOKS)#|' deploy/prometheus/rules/alerts.yml
	{ printf '%s\n' '# Generated from deploy/prometheus/rules by `make manifests`.' 'apiVersion: monitoring.coreos.com/v1' \
		'kind: PrometheusRule' 'metadata:' '  name: hello-wsgi' 'spec:' '  groups:'; \
	awk 'FNR == 1 {groups = 0} groups {print $$0 ? "  " $$0 : ""} /^groups:/ {groups = 1}' $(filter %.yml,$^); } > $@

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

build/peers.stamp: tests/bench/peers/requirements.txt
	$(PYTHON) -m venv --clear build/peers
	build/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	touch $@

# The request files of gunicorn's own tests come with its source only.
$(VENV)/gunicorn.stamp: $(VENV)/run.stamp
	rm -rf $(VENV)/gunicorn && mkdir $(VENV)/gunicorn
	$(BIN) pip download --quiet --disable-pip-version-check --no-deps --no-binary gunicorn --require-hashes \
		--requirement requirements.txt --dest $(VENV)/gunicorn
	tar --extract --gzip --file $(VENV)/gunicorn/gunicorn-*.tar.gz --directory $(VENV)/gunicorn --strip-components 1
	touch $@
