# Needs Python 3.11 or newer, pip and make; everything else is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEED ?= 1
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv demo test check format attacks fuzz soak bench clean

help: ## show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): constraints.txt requirements-dev.txt packages/fapilog-tamper/pyproject.toml packages/fapilog-audit/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.12")'
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -e packages/fapilog-tamper -e packages/fapilog-audit
	@touch $@

venv: $(STAMP) ## make .venv with the packages and the tools

demo: $(STAMP) ## write a sealed log, verify it, change one byte, verify again
	$(BIN)/python examples/demo.py

test: $(STAMP) ## run every test
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered

check: $(STAMP) ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

attacks: $(STAMP) ## print the attack table: class, situation, trials, found, located
	$(BIN)/python tests/attacks/table.py --seed $(SEED)

fuzz: $(STAMP) ## one million mutated files: none may verify as intact
	$(BIN)/python tests/attacks/fuzz.py --files 1000000 --seed $(SEED)

soak: $(STAMP) ## kill, cut the power and crowd the log for some minutes
	$(BIN)/python tests/faults/soak.py --kills 300 --cuts 2000 --seed $(SEED)
	$(BIN)/python tests/concurrency/soak.py --rounds 3
	$(BIN)/python tests/faults/audit_soak.py 40

bench: $(STAMP) ## print rates as ratios to a tight loop in the same run
	$(BIN)/python benchmarks/appending.py
	$(BIN)/python benchmarks/verifying.py
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/auditing.py

clean: ## remove what the targets made
	rm -rf $(VENV) demo-log .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
