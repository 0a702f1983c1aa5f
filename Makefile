# Two commands are enough: `make demo` and `make test`. The rest is what they and .ci/run are made of.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO := demo-output

.PHONY: help install dev demo test test-all lint types audit format clean

help:
	@echo "make demo      install, then render, annotate and evaluate a small synthetic data set"
	@echo "make test      install with development extras and run the test suite"
	@echo "make test-all  the suite with its slow tests"
	@echo "make lint      ruff, without changing files; make format changes them"
	@echo "make types     mypy, strict"
	@echo "make audit     known vulnerabilities of the installed packages; warns, never fails"

install: .venv/.installed
dev: .venv/.installed-dev

.venv/bin/python:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or newer is needed, this is {sys.version}; name another one: make PYTHON=python3.12 ..."'
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

demo: install
	rm -rf $(DEMO)
	$(BIN)/python jobs/pack.py --synthetic 24 --seed 90000 --shard-images 8 --output $(DEMO)/data
	$(BIN)/python jobs/annotate.py run --input $(DEMO)/data/shards --annotations $(DEMO)/data/annotations.json \
		--output $(DEMO)/run --model posrefine_tiny --weights posrefine:tiny_coco \
		--score-weights posrefine:tiny_coco_score --scales 1,1.5,2 --unit-images 8
	$(BIN)/python jobs/evaluate.py --predictions $(DEMO)/run --annotations $(DEMO)/data/annotations.json \
		--protocol coco --report --output $(DEMO)/evaluation
	$(BIN)/python jobs/annotate.py export --output $(DEMO)/run --format overlays --to $(DEMO)/overlays --max-images 8 \
		--min-score 0.3
	@echo "The table of persons: $(DEMO)/run/tables. The report: $(DEMO)/evaluation/report/index.html."

test: dev
	$(BIN)/python -m pytest -m "not slow"

test-all: dev
	$(BIN)/python -m pytest

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: dev
	$(BIN)/mypy

# Warns only: a vulnerability that was found last night, or a registry that is down, is no fault of a change.
audit: dev
	@timeout 50 $(BIN)/pip-audit --local --skip-editable --progress-spinner off || \
		echo "audit: packages above have known vulnerabilities, or no answer came; read it, and raise the pins in constraints.txt" >&2

clean:
	rm -rf .venv $(DEMO) .pytest_cache .mypy_cache .ruff_cache
