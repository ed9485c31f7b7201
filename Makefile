# make run [MODEL=llama]   from nothing to tested kernel definitions of a model
# make test                set-up and all tests
# make lint                ruff, the layers of the package, and mypy
# make bench               speed and memory beside their peers
#
# PYTHON picks the interpreter of the virtual environment (3.10 or newer), VENV its folder.
# EVIDENCE is a folder with evidence of GPU machines, taken in by `make run`.
# PIP_FLAGS are handed to every pip install, PYTEST_FLAGS to pytest, BENCH_FLAGS to the benchmarks.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
MODEL ?= llama
EVIDENCE ?= $(wildcard data/evidence)
PIP_FLAGS ?=
PYTEST_FLAGS ?= -n 2 --dist worksteal -q
BENCH_FLAGS ?=

BIN := $(VENV)/bin
# Shows what a long command is at, and all that it said where it fails.
SAY := $(PYTHON) tools/at_work.py
PIP := $(BIN)/python -m pip --disable-pip-version-check install --progress-bar off --constraint constraints.txt $(PIP_FLAGS)
PROJECTS := $(wildcard plugins/*/pyproject.toml)
PLUGINS := $(PROJECTS:/pyproject.toml=)
# The peers that tests compare with. They would bring gigabytes of CUDA packages, which the tests do
# without; what they need for that is named here.
PEERS := flashinfer-bench flashinfer-python
PEERS_NEED := apache-tvm-ffi docstring-parser einops ninja nvidia-ml-py pydantic requests tabulate tqdm
EDITABLE := --editable ".[all]" $(addprefix --editable ./,$(PLUGINS))
# pip compiles what it installs, but not editable packages; where PYTHONDONTWRITEBYTECODE is set they
# would be compiled anew at every start. What cannot be written here is only slower.
COMPILE := $(BIN)/python -m compileall -q fibcore plugins

# PyTorch's default wheels for Linux hold 2 GB of CUDA libraries; without an NVIDIA GPU its CPU
# wheels do. Where that index cannot be reached, pip says so and takes the default ones.
ifeq ($(shell uname -s),Linux)
ifeq ($(shell command -v nvidia-smi),)
TORCH_FLAGS ?= --retries 0 --extra-index-url https://download.pytorch.org/whl/cpu
endif
endif

.PHONY: help run test lint bench clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "fibcore needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo missing)." \
	       "Choose another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(SAY) "Creating $(VENV) with $$($(PYTHON) --version)" $(PYTHON) -m venv $(VENV)

# What `fibcore run` needs: the core, the plugins, and what runs the reference tests; besides what
# every other command needs.
$(VENV)/.installed-run: pyproject.toml $(PROJECTS) constraints.txt | $(BIN)/python
	@$(SAY) "Installing what builds packages into $(VENV)" $(PIP) hatchling editables
	@$(SAY) "Installing PyTorch" $(PIP) $(TORCH_FLAGS) torch numpy
	@$(SAY) "Installing fibcore, its extras and $(words $(PLUGINS)) plugins" $(PIP) --no-build-isolation $(EDITABLE)
	@$(SAY) "Compiling fibcore" $(COMPILE) || true
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed-run
	@$(SAY) "Installing the test requirements" $(PIP) --no-build-isolation --editable '.[test,docs]'
	@$(SAY) "Installing what peers need" $(PIP) $(PEERS_NEED) && $(SAY) "Installing peers" $(PIP) --no-deps $(PEERS) || echo "Tests that need $(PEERS) will be skipped" >&2
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed-test
	@$(SAY) "Installing the linters" $(PIP) --no-build-isolation --editable '.[lint]'
	@touch $@

run: $(VENV)/.installed-run
	@$(BIN)/fibcore run --model-name $(MODEL) $(addprefix --evidence ,$(EVIDENCE))

test: $(VENV)/.installed-test
	@sources="$$($(BIN)/python tests/conftest.py)"; \
	FIBCORE_SGLANG="$${FIBCORE_SGLANG:-$${sources%%$$'\n'*}}" OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(VENV)/.installed-lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy fibcore $(wildcard plugins/*/fibcore_op_*)

bench: $(VENV)/.installed-test
	@test -e repos/sglang || $(BIN)/fibcore clone-repos
	@for bench in benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench $(BENCH_FLAGS); done

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .nox
