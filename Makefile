# Needs only make and python3 >= 3.11; every verb sets up what it needs. `make help` lists the verbs.

PYTHON ?= python3
PYTEST ?= pytest -q
# one session each: an own control plane, so that what one folder's stories leave behind disturbs no other
SERVER_TESTS := tests/contract tests/unit $(filter-out %__pycache__/,$(sort $(wildcard tests/integration/*/)))
WORKERS ?= 2# processes for tests that start no server
ARGS ?=

UV := build/tools/uv
# --inexact: an extra that somebody added himself stays, e.g. `build/tools/uv sync --inexact --extra profiles`
SYNC := $(UV) sync --quiet --frozen --inexact
RUN := $(UV) run --no-sync

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check check-format check-lint check-types check-imports check-shape check-generated audit format generated servers scoreboard chaos clean setup setup-demo

help: ## list the verbs
	@sed -nE 's/^([a-z%-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: setup-demo ## the main job: a recording of vLLM on H200, then an hour in the simulator against HPA
	@$(RUN) python -m examples.h200_pd.demo $(ARGS)
	@$(RUN) python -m examples.tunnel_hour.demo $(ARGS)

test: setup ## all tests; finds or installs the servers they need, a test without its server skips and says so
	@$(PYTHON) -m tools.servers || test -z "$$CI"
	$(RUN) $(PYTEST) -n $(WORKERS) -m "not integration"
	@set -e; for folder in $(SERVER_TESTS); do echo "integration: $$folder"; $(RUN) $(PYTEST) -rs -m integration $$folder || [ $$? -eq 5 ]; done

test-fast: setup ## the tests that need neither servers nor patience; ARGS="-k word" for some of them
	$(RUN) $(PYTEST) -n $(WORKERS) -m "not integration and not slow" $(ARGS)

check: setup ## format, lint, types, import contracts, lengths of functions, generated files
	@$(MAKE) --no-print-directory --keep-going check-format check-lint check-types check-imports check-shape check-generated

check-format:
	$(RUN) ruff format --check --quiet
check-lint:
	$(RUN) ruff check --quiet
check-types:
	$(RUN) mypy
check-imports:
	$(RUN) lint-imports --no-logo
check-shape:
	$(RUN) python -m tools.shape --check
check-generated:
	$(RUN) python -m tools.generated --check

audit: setup ## a bill of materials (build/sbom.cdx.json), and known advisories on what is locked
	@$(RUN) python -m tools.audit

format: setup ## format, and mend what the linter can
	$(RUN) ruff check --quiet --fix
	$(RUN) ruff format --quiet

generated: setup ## write the files that the code generates
	$(RUN) python -m tools.generated

servers: ## find or install etcd, kube-apiserver, kube-controller-manager, Prometheus, promtool
	@$(PYTHON) -m tools.servers

bench-%: setup ## one table of measurements, to build/bench/NAME.json too
	@test -f benchmarks/$(subst -,_,$*).py || { echo "no benchmark '$*'; there are:" \
	  $(subst _,-,$(basename $(notdir $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))))) >&2; exit 2; }
	@$(RUN) python -m benchmarks.$(subst -,_,$*) $(ARGS)

build/referee/bin/python: $(UV) ## the independent referee's simulator (227 MB), in an environment of its own
	$(UV) venv --quiet --python 3.11 build/referee
	UV_PROJECT_ENVIRONMENT=build/referee $(UV) sync --quiet --frozen --no-dev --inexact
	$(UV) pip install --quiet --python $@ --no-deps ai-dynamo-runtime==1.6.1

scoreboard: setup ## every policy x trace x start-up time x seed, on the tunnel as machine code where there is a C compiler
	@$(RUN) python -m tools.compiled -m benchmarks.scoreboard $(ARGS)

chaos: bench-chaos ## faults at random points; ARGS="--seed N" repeats one

clean: ## remove what the verbs made here (the servers' cache folder stays)
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(UV)
	@$(SYNC) --all-extras --no-extra profiles

setup-demo: $(UV)
	@$(SYNC) --no-dev --extra report

$(UV): | tools/bootstrap.py
	@$(PYTHON) tools/bootstrap.py
