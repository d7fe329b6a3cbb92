# make demo    restore the example photographs, write before/after pictures to demo/
# make test    the test suite, by two processes of one thread each
# make test-slow   the tests that start or kill many processes; CI runs them too
# make check   lint, format and types
# make lock    resolve the pinned versions anew
# Each sets up .venv by itself on first use; Python 3.11 or later and make are all that has to be there.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo pictures test test-slow check lock clean

help:
	@sed -n 's/^# //p' Makefile

setup: $(READY)

# The stamp is written last, so that an interrupted set-up is taken up again.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed and none was found; install it, or: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed, $(PYTHON) is older; try: make PYTHON=/path/to/python3.11"; exit 1; }
	@rm -f $(READY)
	@echo "Setting up $(VENV) with what requirements.lock names; the first time this takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)
	$(BIN)/python examples/demo.py

# The example photographs and the README's picture, made anew.
pictures: $(READY)
	$(BIN)/python examples/render.py
	$(BIN)/python examples/readme_picture.py

PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

test: $(READY)
	$(PYTEST) -m "not slow"

test-slow: $(READY)
	$(PYTEST) -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Versions only: no registry address, no machine path, no local build tag.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options --annotation-style=line
TIDY = sed -i.part -e '/^derain @/d' -e 's/^\(torch==[0-9.]*\)+[a-z0-9.]*/\1/'

lock: $(READY)
	$(COMPILE) --extra dev --constraint requirements.in --output-file requirements.lock pyproject.toml
	$(TIDY) requirements.lock && rm requirements.lock.part
	$(COMPILE) --constraint requirements.lock --output-file requirements-core.lock pyproject.toml
	$(TIDY) requirements-core.lock && rm requirements-core.lock.part

clean:
	rm -rf $(VENV) .venv-core demo build dist .pytest_cache .mypy_cache .ruff_cache
