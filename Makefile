# Needs CPython 3.11 or newer (python3) and make, on a fresh machine too: tools/bootstrap.py brings the rest.

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-full test-slow check bench docs lock clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile | expand -t 18

demo: ## the whole flow on this machine: a key is born, enrolled, connected, seen
	@$(PYTHON) tools/bootstrap.py server
	@$(BIN)/keyborn demo

test: ## every test; the long walks are sampled (under ten minutes)
	@$(PYTHON) tools/bootstrap.py dev
	$(PYTEST)

test-full: test test-slow ## every test, then the long walks in whole (under an hour)

test-slow: ## only the long walks, in whole
	@$(PYTHON) tools/bootstrap.py dev
	KEYBORN_FULL=1 $(PYTEST) -m slow

check: ## format, lint, types, arrows, budgets, lock file
	@$(PYTHON) tools/bootstrap.py dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_lock.py
	$(BIN)/python tools/budgets.py

bench: ## the measurements of bench/, into the pages that have a place for them (an hour)
	@$(PYTHON) tools/bootstrap.py bench
	@failed=; for file in bench/[a-z]*.py; do \
		page=$$(grep -l "<!-- $$file writes from here -->" docs/*.md | head -1); \
		echo "== $$file"; \
		$(BIN)/python $$file $${page:+--docs $$page} || failed="$$failed $$file"; \
	done; test -z "$$failed" || { echo "promises not kept, or failed:$$failed"; exit 1; }

docs: ## regenerate docs/reference
	@$(PYTHON) tools/bootstrap.py dev
	$(BIN)/python tools/reference.py

lock: ## resolve pyproject.toml anew into requirements/*.lock
	@$(PYTHON) tools/bootstrap.py dev
	$(BIN)/python tools/lock.py

clean: ## remove what make made
	rm -rf .venv .venv-ministack .venv-openbao build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
