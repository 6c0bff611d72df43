# `make demo` and `make test` need nothing but Python 3.11 or newer: they set up everything else in .venv.

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench audit services clean
SHELL := /bin/bash

# The first Python that is new enough and can make virtual environments.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
SERIES := examples/empiar-10499/TS_00254
MODEL := examples/models/5a1a_bgal.pdb.gz
# Small, but with enough gold and electrons to be aligned.
MOVIES := --size 512 --frames 4 --pixel-size 4 --dose 4 --max-tilt 48 --step 4 --beads 150 --thickness 1200 \
	--microscope-defocus 25000 35000
# pytest runs a process per CPU and one more, for some of them wait; each must keep to one thread.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1

help: ## Tell what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 8

demo: $(VENV)/installed ## Simulated movies and a real tilt series become tomograms, in demo-output/
	@rm -rf demo-output && mkdir demo-output
	@echo "1. Movies of a tilt series are simulated from an atomic model, and processed as a microscope's would be."
	$(BIN)/thon simulate tomo $(MODEL) demo-output/movies $(MOVIES)
	$(BIN)/thon live demo-output/movies -o demo-output/live --gain demo-output/movies/gain.mrc \
		--defects demo-output/movies/defects.txt --idle 0 --settle 0.5 --bin 2
	@echo
	@echo "2. A real tilt series: EMPIAR-10499."
	$(BIN)/thon tomo $(SERIES).st --angles $(SERIES).tlt --bin 1 -o demo-output/real
	@echo
	@for run in live real; do \
		echo "Tomogram  $(CURDIR)/$$(ls demo-output/$$run/J*-reconstruct/outputs/*/*_Vol.mrc)"; \
		echo "Report    $(CURDIR)/$$(ls demo-output/$$run/J*-reconstruct/outputs/*/report.html)"; \
	done

test: lint docs ## Set up, then lint, types, import contracts, documentation and tests
	$(ONE_THREAD) $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

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

audit: $(VENV)/installed-audit ## Ask the database of known faults about every version that is used (needs a network)
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

services: ## Install what some tests use, from Debian's packages (as root): PostgreSQL, Slurm, chromium
	@tests/install_services.sh

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
