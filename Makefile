# Everything runs from .venv, which is made when it is missing and renewed when setup.cfg changes.

PYTHON ?= python3
VENV ?= .venv
# Processes that trial uses, more than processors as many tests wait; make JOBS=1 for one test at a time.
JOBS ?= 4

BIN := $(VENV)/bin
STYLED := $(wildcard smtprelay tests bench docs twisted setup.py .ci/lowest)
# The long forms, and what needs system packages, have targets of their own.
APART := interop crash faults fuzz live example_provider __pycache__
SUITES := $(filter-out $(APART),$(notdir $(patsubst %/,%,$(wildcard tests/*/))))
MODULES := $(patsubst tests/%.py,%,$(wildcard tests/test_*.py))
# The longest first: at the end the short ones fill all processors.
ALL := $(MODULES) process $(filter-out process,$(SUITES))
# What starts no relay: the libraries and the language show there.
FAST := $(filter-out process,$(SUITES)) test_imports

# The tests start hundreds of interpreters: each would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test fast pythons coverage reference lint lowest image bench crash faults fuzz interop live clean

help:
	@echo 'make demo     try it out: no configuration, no cloud, nothing leaves this machine'
	@echo 'make test     all tests that need nothing but Python; five to ten minutes'
	@echo 'make fast     those that start no relay'
	@echo 'make pythons  these with each other Python of this machine, from 3.11 on'
	@echo 'make coverage which lines and branches of the pure modules these reach'
	@echo 'make reference docs/reference.rst and etc/smtprelay.yaml, from the settings classes'
	@echo 'make lint     ruff, codespell and mypy'
	@echo 'make lowest   every module, and a mail, with the lowest versions that setup.cfg names'
	@echo 'make image    the container image, by buildah'
	@echo 'make interop  against other mail software (see .ci/run for the packages)'
	@echo 'make live     against real services and a running relay: it sends mail (see tests/live/README.rst)'
	@echo 'make bench | crash | faults | fuzz   the long forms; faults needs a C compiler'
	@echo 'make clean    remove what these made, .venv too'

demo: $(VENV)/runtime
	$(BIN)/smtprelay demo

test: $(VENV)/dev
	$(BIN)/trial -j$(JOBS) $(addprefix tests.,$(ALL))

fast: $(VENV)/dev
	$(BIN)/trial -j$(JOBS) $(addprefix tests.,$(FAST))

pythons:
	@status=0; for python in $$(.ci/pythons $(PYTHON)); do \
		name=$$($$python -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
		$(MAKE) --no-print-directory fast PYTHON=$$python VENV=.venv/$$name || status=1; \
	done; exit $$status

# For reading, not as a gate. A module is pure if its docstring says so.
coverage: $(VENV)/dev
	$(BIN)/coverage run --include="$$(grep -rlw Pure smtprelay --include='*.py' | paste -sd,)" \
		$(BIN)/trial $(addprefix tests.,$(FAST))
	$(BIN)/coverage report

reference: $(VENV)/dev
	$(BIN)/python docs/reference.py

lint: $(VENV)/dev
	$(BIN)/ruff check $(STYLED)
	$(BIN)/ruff format --check $(STYLED)
	$(BIN)/codespell $(STYLED) etc newsfragments *.rst *.md
	$(BIN)/mypy

lowest: .venv/lowest/done
	.venv/lowest/bin/trial tests.test_imports tests.test_demo

crash faults live: $(VENV)/dev
	$(BIN)/trial tests.$@

interop: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[interop]'
	$(BIN)/trial tests.$@

# The format of Docker, because the other one has no health check.
IMAGE ?= smtprelay
image:
	@command -v buildah >/dev/null || { echo 'buildah is missing: on Debian, apt-get install buildah.' \
		'"docker build -t $(IMAGE) ." makes the same image' >&2; exit 1; }
	buildah build --format docker $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) --tag $(IMAGE) .

bench: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m bench

# FUZZ_SECONDS=600 goes on for longer.
FUZZ_SECONDS ?= 60
fuzz: $(VENV)/dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]' || \
		{ echo 'atheris cannot be installed for this Python: no fuzzing' >&2; exit 1; }
	$(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)

clean:
	rm -rf .venv build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis .fuzz .coverage
	find $(STYLED) -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

# The stamps say which install was done last, and for which setup.cfg.
$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is no Python 3.11 or later; make PYTHON=python3.12 takes another' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo 'no venv: on Debian, apt-get install python3-venv' >&2; exit 1; }
	@touch $@

# Not quiet: somebody who tries the relay for the first time sees that something happens.
$(VENV)/runtime: setup.cfg pyproject.toml | $(VENV)/python
	@echo 'Installing the relay and its libraries into $(VENV), this once:'
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev: setup.cfg pyproject.toml | $(VENV)/python
	@echo 'Installing the relay, its libraries and the tools for its tests into $(VENV), this once; it takes a minute:'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	@touch $@ $(VENV)/runtime

.venv/lowest/done: setup.cfg pyproject.toml .ci/lowest | $(VENV)/python
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(PYTHON) .ci/lowest >$(@D)/constraints.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(@D)/constraints.txt --editable '.[all]' hypothesis
	@touch $@
