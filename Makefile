# make test     everything that must hold, in a virtual environment of its own
# make verify   make test, then the slow checks
# make toy      make the toy country's files and stored states again
# make clean    remove what these made
#
# Needs Python 3.11.5 or newer, make, and the network for the first installation.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Fixed tools, and nothing from the caller's shell.
export PYTHONPATH :=
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

SOURCES := $(shell find calibration toy_data -name '__pycache__' -prune -o -type f -print) \
           pyproject.toml setup.py README.md LICENSE

.PHONY: test verify lint types pytest slow toy clean check-python
.DELETE_ON_ERROR:

test: lint types pytest

verify: test slow

check-python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11.5 or newer, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11.5 or newer is needed, set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv; install python3-venv" >&2; exit 1; }

# The environment, with the tested versions. torch comes first and alone, so that the exact
# version of constraints.txt decides which build is taken.
.stamps/env: constraints.txt pyproject.toml | check-python
	@mkdir -p .stamps
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --constraint constraints.txt setuptools wheel
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print("\n".join(p["dependencies"] + p["optional-dependencies"]["test"]))' > .stamps/requirements.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --requirement .stamps/requirements.txt
	@touch $@

# The wheel, built from the checkout and installed as a user would: tests never import the checkout.
.stamps/wheel: .stamps/env $(SOURCES)
	rm -rf build dist
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . > .stamps/build.log 2>&1 || { tail -30 .stamps/build.log >&2; exit 1; }
	$(BIN)/pip install --quiet --force-reinstall --no-deps dist/*.whl
	rm -rf build *.egg-info
	@touch $@

lint: .stamps/env
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .

types: .stamps/env
	$(BIN)/basedpyright --pythonpath $(BIN)/python calibration

pytest: .stamps/wheel
	$(BIN)/pytest -m "not slow"

slow: .stamps/wheel
	$(BIN)/pytest -m slow

toy: .stamps/wheel
	$(BIN)/python -m calibration.toy_data.generate toy_data

clean:
	rm -rf $(VENV) .stamps build dist *.egg-info
