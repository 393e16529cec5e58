# Everything a fresh machine needs is Python 3.11 or newer, git and make: each target below sets up
# .venv first, and again only when pyproject.toml has changed.

PYTHON ?= python3
VENV   := .venv
ARGS   ?=
MINUTES ?= 10

BIN     := $(VENV)/bin
PRODUCT := $(VENV)/.installed-product
DEV     := $(VENV)/.installed-dev
PIP     := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet

# pip warns about being root in containers and CI, where this environment is nobody else's;
# pyright's wrapper asks a registry for a newer release on every run.
export PIP_ROOT_USER_ACTION := ignore
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check bench soak conformance dist hosts image-test screenshots reference clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(PRODUCT) ## Run the main job: many agents, one coordinator, crashes, and the proof in git
	@$(BIN)/python -m agent_trace.demo $(ARGS)

test: check ## Run the checks and all tests (ARGS="tests/protocol -k path" for some of them)
	@echo "==> pytest"
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal $(ARGS)

check: $(DEV) ## Run the linter, the format check and both type checkers
	@echo "==> ruff check"
	@$(BIN)/ruff check .
	@echo "==> ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> pyright"
	@$(BIN)/pyright

bench: $(PRODUCT) ## Measure writes per second against plain git commits on this machine
	@PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

soak: $(DEV) ## Try to break it for MINUTES=10 (or more): simulation, kills, power cuts, faults
	@PYTHONPATH=tests $(BIN)/python -m soak --minutes $(MINUTES) $(ARGS)

conformance: $(DEV) ## Run the official MCP conformance suite against the gateway (needs npm)
	@PYTHONPATH=tests $(BIN)/python -m conformance $(ARGS)

dist: $(DEV) ## Build wheel and sdist, install each into an empty environment and use it
	@rm -rf dist
	@echo "==> Building dist/"
	@$(BIN)/python -m build --outdir dist . >/dev/null
	@echo "==> Installing and using what was built"
	@PYTHONPATH=tests $(BIN)/python -m distribution dist

hosts: $(DEV) ## Start real agent hosts from npm with what setup writes (ARGS="claude --programs DIR")
	@PYTHONPATH=tests $(BIN)/python -m hosts $(ARGS)

image-test: $(DEV) ## Build the image, run docker-compose.yml and use it (needs a container engine)
	@PYTHONPATH=tests $(BIN)/python -m containers $(ARGS)

screenshots: $(DEV) ## Take the pictures of the web view for docs/images (needs chromium)
	@PYTHONPATH=tests $(BIN)/python -m screenshots

reference: $(DEV) ## Write docs/reference-cli.md and docs/reference-mcp.md from the program
	@PYTHONPATH=tests $(BIN)/python -m reference

clean: ## Remove .venv, caches and build products
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find agents coordinator protocol tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "agent-trace needs Python 3.11 or newer, and there is no '$(PYTHON)' on the PATH;" \
	       "name one with 'make $(MAKECMDGOALS) PYTHON=/path/to/python3'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "agent-trace needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	       "Name a newer one with 'make $(MAKECMDGOALS) PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' can not make virtual environments; on Debian and Ubuntu" \
	       "'apt-get install python3-venv' brings what is missing." >&2; exit 1; }
	@echo "==> Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(PRODUCT): pyproject.toml | $(BIN)/python
	@echo "==> Installing agent-trace into $(VENV) (a minute at most)"
	@$(PIP) install --editable .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo "==> Installing agent-trace and its development tools into $(VENV) (a minute or two)"
	@$(PIP) install --editable '.[dev]'
	@touch $(PRODUCT) $@
