# The two commands that matter: `make run` and `make test`.  `make` alone lists the rest.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test test-real lab check bench clean user dev

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: user ## Run the whole lab headless on the embedded cluster and write the report
	$(BIN)/meshlib run --parameters parameters/embedded.yaml

test: check ## Check the code, then run all tests
	$(BIN)/python -m pytest

check: dev ## ruff, mypy strict, import arrows, notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/nbstripout --keep-id --verify notebooks/[0-9]*.ipynb

test-real: dev ## Run the notebooks on the cluster that MESHLIB_REAL_CONTEXT names and compare
	$(BIN)/python -m pytest -rs tests/real

lab: user ## JupyterLab on a start page, with the embedded cluster up
	$(BIN)/meshlib lab jupyter

bench: user ## Print ratios against hey, wrk, h2load and json_normalize
	$(BIN)/python -m benchmarks

clean: ## Remove the environment, the lab's state and caches (not outputs/)
	rm -rf $(VENV) $(VENV).lock .lab build *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage*

user:
	@$(PYTHON) tools/environment.py $(VENV) requirements.txt

dev: user
	@$(PYTHON) tools/environment.py $(VENV) requirements.txt requirements-dev.txt
