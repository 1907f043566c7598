# One word per task. Everything is installed into .venv, from requirements.lock; `make help` lists the words.
# Without uv on this machine, one is installed into .venv-uv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null || echo .venv-uv/bin/uv)
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lock bench clean

help: ## This list.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Install bulkrate and everything its development needs into .venv.

demo: $(VENV)/.ready ## Classify 1,000 reviews through a real server with the official OpenAI SDK.
	@$(BIN)/python examples/demo.py

test: $(VENV)/.ready ## Run every test.
	@$(BIN)/pytest -n $(JOBS) --dist loadgroup

check: $(VENV)/.ready ## Format, lint, types and the direction of imports.
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.ready ## Format the code and mend what the linter can mend.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(UV) ## Resolve the dependencies anew into requirements.lock.
	@$(UV) pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --upgrade --quiet \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements.lock

bench: $(VENV)/.ready ## Run every benchmark that the documentation quotes (some minutes).
	@for file in start memory latency listing throughput linecost utilisation sidebyside kill; do echo "== $$file"; $(BIN)/python -m benchmarks.$$file || exit 1; done

clean: ## Remove everything that was installed or made here.
	@rm -rf $(VENV) .venv-uv demo-results .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/.ready: requirements.lock pyproject.toml $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.venv-uv/bin/uv:
	@$(PYTHON) -m venv .venv-uv
	@.venv-uv/bin/pip install --quiet --disable-pip-version-check uv
