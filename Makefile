# Two commands do everything: `make run` starts the hub, `make test` tests this copy.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ARGS ?=
PYTHON ?=
TEST_TIERS ?= unit local browser
KUBE_TIERS ?= kube kube-alone
LONG_TIERS ?= long images-long kube-long
READY := .venv/.ready
DOCS_READY := .venv/.ready-docs
DOCS_PORT ?= 8010
OLDEST := 3.11
OLD_READY := .venv-$(OLDEST)/.ready
CACHE := $${XDG_CACHE_HOME:-$$HOME/.cache}/facility
SOURCES := facility tests benchmarks docs images notebooks tools

.PHONY: run help test test-unit test-oldest test-local test-browser test-images test-kube test-gpu \
	test-long test-upstream samples sweep fuzz docs docs-axe docs-serve images images-push images-sbom \
	kube-build kube-up kube-down lint lint-workflows format lock schema chart house notebooks-strip \
	clean changelog release-check dist chart-push

#: Use it

run: $(READY) ## start the hub; ARGS= goes to `facility hub`
	@exec .venv/bin/facility hub $(ARGS)

help: ## say what there is
	@awk -F ':.*## ' '/^#: / {printf "\n%s\n", substr($$0, 4)} \
	  /^[.a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

# The stamp is written last: an installation that was interrupted is finished by the next make.
.venv: $(READY) ## make the environment
$(READY): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" tools/environment
	@touch $(READY)

.venv-$(OLDEST): $(OLD_READY)
$(OLD_READY): requirements.lock pyproject.toml
	@tools/environment .venv-$(OLDEST) $(OLDEST)
	@touch $(OLD_READY)

#: Test it

test: $(READY) lint docs ## lint, types, layers, unit, local and browser tests
	@tools/chromium >/dev/null
	@tools/xrootd >/dev/null
	@.venv/bin/python -m tools.samples >/dev/null
	@.venv/bin/python -m tools.tiers $(TEST_TIERS)

test-unit: $(READY) ## tests without processes or network: seconds
	@.venv/bin/python -m tools.samples >/dev/null
	@.venv/bin/python -m tools.tiers unit

test-oldest: $(READY) ## the same on Python 3.11, the oldest supported, where this machine has it
	@if [ -z "$${CI:-}" ] && ! tools/environment --find $(OLDEST) >/dev/null; then \
	  echo "The unit tier did not run on Python $(OLDEST): this machine has none."; \
	else \
	  $(MAKE) $(OLD_READY) && .venv/bin/python -m tools.samples >/dev/null && \
	  .venv/bin/python -m tools.tiers unit-$(OLDEST); fi

test-local: $(READY) ## tests with real Dask clusters and a real hub
	@tools/xrootd >/dev/null
	@.venv/bin/python -m tools.samples >/dev/null
	@.venv/bin/python -m tools.tiers local

test-browser: $(READY) docs ## tests in a real Chromium
	@tools/chromium >/dev/null
	@.venv/bin/python -m tools.tiers browser

test-images: images ## run each image's smoke test in containers
	@.venv/bin/python -m tools.tiers images

test-kube: images $(OLD_READY) ## tests on that Kubernetes, from kube-up to kube-down
	@tools/chromium >/dev/null
	@.venv/bin/python -m tools.tiers $(KUBE_TIERS)

test-upstream: $(READY) ## tests of reading and running on the newest releases that are allowed
	@tools/xrootd >/dev/null
	@.venv/bin/python -m tools.samples >/dev/null
	@tools/upstream $(ARGS)

test-gpu: $(READY) ## tests on an NVIDIA GPU, where there is one
	@if nvidia-smi -L 2>/dev/null | grep GPU >/dev/null; then \
	  .venv/bin/python -m pip install --quiet --require-hashes -r requirements-gpu.lock; fi
	@.venv/bin/python -m tools.tiers gpu

test-long: $(READY) $(if $(filter %-long,$(LONG_TIERS)),images $(OLD_READY)) ## what takes hours; LONG_TIERS=long needs no Kubernetes
	@.venv/bin/python -m tools.samples >/dev/null
	@.venv/bin/python -m tools.tiers $(LONG_TIERS)

#: Compare and look closer

samples: $(READY) ## fetch the real ROOT files that tests read, once
	@.venv/bin/python -m tools.samples

sweep: $(READY) ## compare what facility.run and coffea read: all branches in DIR=...
	@.venv/bin/python -m tools.sweep $(ARGS) $(DIR)

fuzz: $(READY) ## the same with random trees; ARGS="--seconds 3600", "--seed 7 --cases 1"
	@.venv/bin/python -m tools.sweep --fuzz $(ARGS)

#: Documentation

$(DOCS_READY): $(READY) requirements-docs.lock
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $(DOCS_READY)

docs: $(DOCS_READY) ## build the documentation into build/docs/html; ARGS="--notebooks FOLDER"
	@.venv/bin/python -m tools.docs $(ARGS)

docs-axe: docs ## look at the built pages with axe (accessibility), from npm
	@.venv/bin/python -m tools.docs.accessibility "$$(tools/chromium)"

docs-serve: docs ## show it on http://127.0.0.1:8010; DOCS_PORT= chooses another port
	@.venv/bin/python -m http.server --bind 127.0.0.1 --directory build/docs/html $(DOCS_PORT)

#: Images and Kubernetes

images: $(DOCS_READY) ## build the container images: images/README.md
	@. tools/index.sh && use_index_of .venv/bin/pip && .venv/bin/python -m tools.images build $(ARGS)

images-push: $(READY) ## put them into a registry: ARGS="--registry registry.example/facility"
	@.venv/bin/python -m tools.images push $(ARGS)

images-sbom: $(READY) ## copy the list of packages (SBOM) out of each image, into dist/
	@.venv/bin/python -m tools.images sbom $(ARGS)

kube-build: $(READY) ## build what that Kubernetes is made of; kube-up does it too
	@.venv/bin/python -m tests.kube.bringup build

kube-up: $(READY) ## a real Kubernetes on this machine to test on: tests/kube/README.md
	@.venv/bin/python -m tests.kube.bringup up $(ARGS)

kube-down: $(READY) ## take it down, and say what is left of it
	@.venv/bin/python -m tests.kube.bringup down

#: Change it

lint: $(READY) ## style, types and import layers
	@.venv/bin/ruff check $(wildcard $(SOURCES))
	@.venv/bin/ruff format --check $(wildcard $(SOURCES))
	@.venv/bin/mypy --cache-dir $(CACHE)/mypy
	@.venv/bin/lint-imports --no-logo

lint-workflows: ## check .github/workflows with actionlint, built with Go
	@tools/workflows

format: $(READY) ## put the sources into the common format
	@.venv/bin/ruff check --fix $(wildcard $(SOURCES))
	@.venv/bin/ruff format $(wildcard $(SOURCES))

lock: $(READY) ## resolve requirements.lock again; ARGS=--upgrade for the newest versions
	@tools/lock $(ARGS)

schema: $(READY) ## generate facility/pools.schema.json from the model
	@.venv/bin/facility config schema >facility/pools.schema.json.new
	@mv facility/pools.schema.json.new facility/pools.schema.json

chart: $(READY) ## generate what of the chart follows from the package
	@.venv/bin/python -m tools.chart

house: $(READY) ## generate the map of the package in CONTRIBUTING.md
	@.venv/bin/python -m tools.house

notebooks-strip: $(READY) ## take outputs and counts out of the notebooks
	@.venv/bin/nbstripout notebooks/*.ipynb

clean: ## remove the environment, caches and what was built
	@rm -rf .venv .venv-$(OLDEST) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

#: Release it

changelog: $(READY) ## move what changes/ says into CHANGELOG.md, under the version
	@.venv/bin/towncrier build --yes --version "$$(.venv/bin/python -m tools.release version)"

release-check: $(READY) ## say what keeps TAG=v1.2.3 from being a release of this tree
	@.venv/bin/python -m tools.release check "$(TAG)"

dist: $(READY) ## build the wheel, the source archive and the chart, into dist/
	@.venv/bin/python -m tools.release dist

chart-push: dist ## put the chart into REGISTRY=registry.example/facility
	@.venv/bin/python -m tools.release push "$(REGISTRY)"
