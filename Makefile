# Two commands are enough: `make demo` and `make test`. The rest is what they and .ci/run are made of.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO := demo-output
# Tests wait more than they compute, so two processes share them, whole files at a time. Those that fill the memory
# have the machine for themselves.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 60

.PHONY: help install dev demo test test-all lint types audit lock format docs release clean

help:
	@echo "make demo      install, then render, annotate and evaluate a small synthetic data set"
	@echo "make test      install with development extras and run the test suite"
	@echo "make test-all  the suite with its slow tests"
	@echo "make lint      ruff, without changing files; make format changes them"
	@echo "make types     mypy, strict"
	@echo "make lock      raise nothing, but bring uv.lock and constraints.txt in line with pyproject.toml"
	@echo "make docs      the site of docs/ into site/, with its notebook executed; open site/index.html"
	@echo "make release   the archives, bill of materials and lock of a version into dist/, tried"
	@echo "make audit     known vulnerabilities of the installed packages; warns, never fails"

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or newer is needed, this is {sys.version}; name another one: make PYTHON=python3.12 ..."'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) --editable '.[pipeline]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
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
	$(BIN)/python jobs/annotate.py export --output $(DEMO)/run --format overlays --to $(DEMO)/overlays --max-images 8
	@echo "The table of persons: $(DEMO)/run/tables. The report: $(DEMO)/evaluation/report/index.html."

test: dev
	$(PYTEST) -m "not slow"

test-all: test
	$(BIN)/python -m pytest -m slow tests/faults/test_memory.py
	$(PYTEST) -m slow --ignore tests/faults/test_memory.py

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

# uv.lock is the source of the pins; pip reads them from constraints.txt. `uv lock --upgrade` raises them.
lock: dev
	$(BIN)/uv lock
	$(BIN)/uv export --quiet --frozen --all-extras --no-hashes --no-emit-project --no-annotate --no-header \
		--output-file constraints.txt

docs: $(VENV)/.installed
	$(PIP_INSTALL) --editable '.[pipeline,docs]'
	$(BIN)/python infra/docs/build.py

# Archives, bill of materials and the image's lock into dist/, each tried.
release: install
	rm -rf dist
	$(PIP_INSTALL) --editable '.[release]'
	$(BIN)/python infra/release/release.py

clean:
	rm -rf $(VENV) $(DEMO) dist site .pytest_cache .mypy_cache .ruff_cache
