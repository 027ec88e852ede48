# Everything runs from .venv, which is made when it is missing and renewed when setup.cfg changes.

PYTHON ?= python3
# Processes that trial uses; make JOBS=1 for one test at a time.
JOBS ?= 2

BIN := .venv/bin
STYLED := $(wildcard smtprelay tests bench twisted setup.py)
# The long forms, and what needs system packages, have targets of their own.
APART := interop crash faults fuzz __pycache__
SUITES := $(filter-out $(APART),$(notdir $(patsubst %/,%,$(wildcard tests/*/))))
MODULES := $(patsubst tests/%.py,%,$(wildcard tests/test_*.py))

.DEFAULT_GOAL := help
.PHONY: help demo test lint lowest image bench crash faults fuzz interop clean

help:
	@echo 'make demo     try it out: no configuration, no cloud, nothing leaves this machine'
	@echo 'make test     all tests that need nothing but Python; about ten minutes'
	@echo 'make lint     ruff, codespell and mypy'
	@echo 'make lowest   every module, and a mail, with the lowest versions that setup.cfg names'
	@echo 'make image    the container image, by buildah'
	@echo 'make interop  against other mail software (see .ci/run for the packages)'
	@echo 'make bench | crash | faults | fuzz   the long forms; faults needs a C compiler'
	@echo 'make clean    remove what these made, .venv too'

demo: .venv/runtime
	$(BIN)/smtprelay demo

test: .venv/dev
	$(BIN)/trial -j$(JOBS) $(addprefix tests.,$(SUITES) $(MODULES))

lint: .venv/dev
	$(BIN)/ruff check $(STYLED)
	$(BIN)/ruff format --check $(STYLED)
	$(BIN)/codespell $(STYLED) docs etc newsfragments *.rst *.md
	$(BIN)/mypy

lowest: .venv/lowest/done
	.venv/lowest/bin/trial tests.test_imports tests.test_demo

interop crash faults: .venv/dev
	$(BIN)/trial tests.$@

# The format of Docker, because the other one has no health check.
IMAGE ?= smtprelay
image:
	@command -v buildah >/dev/null || { echo 'buildah is missing: on Debian, apt-get install buildah.' \
		'"docker build -t $(IMAGE) ." makes the same image' >&2; exit 1; }
	buildah build --format docker $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) --tag $(IMAGE) .

bench: .venv/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m bench

# FUZZ_SECONDS=600 goes on for longer.
FUZZ_SECONDS ?= 60
fuzz: .venv/dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]' || \
		{ echo 'atheris cannot be installed for this Python: no fuzzing' >&2; exit 1; }
	$(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)

clean:
	rm -rf .venv build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis .fuzz
	find $(STYLED) -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

# The stamps say which install was done last, and for which setup.cfg.
.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is no Python 3.11 or later; make PYTHON=python3.12 takes another' >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo 'no venv: on Debian, apt-get install python3-venv' >&2; exit 1; }
	@touch $@

# Not quiet: somebody who tries the relay for the first time sees that something happens.
.venv/runtime: setup.cfg pyproject.toml | .venv/python
	@echo 'Installing the relay and its libraries into .venv, this once:'
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

.venv/dev: setup.cfg pyproject.toml | .venv/python
	@echo 'Installing the relay, its libraries and the tools for its tests into .venv, this once; it takes a minute:'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	@touch $@ .venv/runtime

.venv/lowest/done: setup.cfg pyproject.toml .ci/lowest | .venv/python
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(PYTHON) .ci/lowest >$(@D)/constraints.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(@D)/constraints.txt --editable '.[all]' hypothesis
	@touch $@
