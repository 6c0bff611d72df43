# `make demo` and `make test` need nothing but Python 3.11 or newer: they set up everything else in .venv.

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench clean
SHELL := /bin/bash

# The first Python that is new enough and can make virtual environments.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
SERIES := examples/empiar-10499/TS_00254
# pytest runs a process per CPU, so that each must keep to one thread.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1

help: ## Tell what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 8

demo: $(VENV)/installed ## A real tilt series becomes a tomogram, in demo-output/
	@rm -rf demo-output
	$(BIN)/thon tomo $(SERIES).st --angles $(SERIES).tlt --bin 1 -o demo-output
	@echo
	@echo "Tomogram  $(CURDIR)/$$(ls demo-output/J003-reconstruct/outputs/*/*_Vol.mrc)"
	@echo "Report    $(CURDIR)/$$(ls demo-output/J003-reconstruct/outputs/*/report.html)"

test: lint docs ## Set up, then lint, types, import contracts, documentation and tests
	$(ONE_THREAD) $(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(VENV)/installed-docs ## Build the documentation in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/installed-bench ## Measure speed: achieved against the limit, and against peers
	$(BIN)/python benchmarks/projection.py
	$(BIN)/python benchmarks/alignment.py --size 1024
	$(BIN)/python benchmarks/reconstruction.py

clean: ## Remove what was made here, the virtual environment too
	rm -rf $(VENV) demo-output site build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "thon needs Python 3.11 or newer with venv; name it with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing thon in $(VENV), which takes some minutes the first time."
	$(PIP) -e .
	@touch $@

$(VENV)/installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing thon and what it needs for '$*' in $(VENV), which takes some minutes the first time."
	$(PIP) -e '.[$*]'
	@touch $@
