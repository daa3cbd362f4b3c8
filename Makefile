# make test     everything that must hold, in a virtual environment of its own
# make verify   make test, then the slow checks, with a real browser and the real engines
# make site     the book: site/index.html
# make serve    the book at http://127.0.0.1:8000, again after each change
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
export NO_MKDOCS_2_WARNING := 1

# The book is built from this folder, with the installed package. Never with -q: it hides the
# warnings that --strict counts.
MKDOCS := $(BIN)/python -m mkdocs
RECORDED := $(BIN)/python -m site_tools.results

SOURCES := $(shell find calibration toy_data -name '__pycache__' -prune -o -type f -print) \
           pyproject.toml setup.py README.md LICENSE

.PHONY: test verify lint types pytest pages alone together built site serve slow engines toy clean \
        check-python check-browser
.DELETE_ON_ERROR:

# Two cores are enough for two checks at a time; the tests of the package and the blocks alone
# keep both busy by themselves. The site comes last: it shows what the others found.
BESIDE := @$(MAKE) --no-print-directory --jobs=2 --output-sync=target

test: lint pytest
	$(BESIDE) together types alone
	@$(MAKE) --no-print-directory built

verify: check-browser test slow engines
	@$(MAKE) --no-print-directory site

check-python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; install Python 3.11.5 or newer, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11.5 or newer is needed, set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv; install python3-venv" >&2; exit 1; }

check-browser:
	@for name in "$${CHROMIUM:-chromium}" chromium-browser google-chrome; do command -v "$$name" >/dev/null && exit; done; { echo "make: no Chromium for the browser checks; apt-get install chromium, or set CHROMIUM=" >&2; exit 1; }

# What the package, its tests and its engines need. Written only when that changes, so that a new
# version number or lint rule in pyproject.toml makes no new environment.
.stamps/requirements.txt .stamps/engine-requirements.txt &: pyproject.toml | check-python
	@mkdir -p .stamps
	@$(PYTHON) -c "$$REQUIREMENTS"

define REQUIREMENTS
import pathlib, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extra = project["optional-dependencies"]
for name, more in {"requirements": ("test", "docs"), "engine-requirements": ("policyengine", "taxcalc")}.items():
    path = pathlib.Path(f".stamps/{name}.txt")
    text = "\n".join(sum((extra[e] for e in more), project["dependencies"])) + "\n"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
endef
export REQUIREMENTS

# The environment, with the tested versions. torch comes first and alone, so that the exact
# version of constraints.txt decides which build is taken.
.stamps/env: constraints.txt .stamps/requirements.txt | check-python
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --constraint constraints.txt setuptools wheel
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
	$(RECORDED) tests -- $(BIN)/pytest -n 2 --dist loadfile -m "not slow" tests/unit tests/property

# Every block of every page: alone, and all of them in one process.
pages: .stamps/wheel
	$(BESIDE) together alone

alone: .stamps/wheel
	$(BIN)/pytest -m "not slow" tests/docs

# tests/docs is named for its conftest.py, which says how a block is run.
together: .stamps/wheel
	$(BIN)/pytest --codeblocks --ignore-glob='*/test_*.py' tests/docs README.md site_src

built: site
	$(BIN)/pytest -m "not slow" tests/site

# First the blocks, if these very sources have not been checked: the pages say what was run.
site: .stamps/wheel
	@$(BIN)/python -m site_tools.run_blocks --unless-done
	$(MKDOCS) build --strict
	@echo "$(CURDIR)/site/index.html"
	@echo "file://$(CURDIR)/site/index.html"

serve: .stamps/wheel
	$(MKDOCS) serve --dev-addr 127.0.0.1:8000

slow: .stamps/wheel
	$(BIN)/pytest -n 2 --dist loadfile -m slow tests/unit tests/property tests/docs tests/site

# The real engines, in an environment of their own: without them everything else must work.
.stamps/engines-env: constraints.txt .stamps/engine-requirements.txt | check-python
	$(PYTHON) -m venv --clear .venv-engines
	.venv-engines/bin/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	.venv-engines/bin/pip install --quiet --constraint constraints.txt --requirement .stamps/engine-requirements.txt hypothesis pytest
	@touch $@

.stamps/engines: .stamps/engines-env .stamps/wheel
	.venv-engines/bin/pip install --quiet --force-reinstall --no-deps dist/*.whl
	@touch $@

engines: .stamps/engines
	.venv-engines/bin/pytest tests/engines

toy: .stamps/wheel
	$(BIN)/python -P -m calibration.toy_data.generate toy_data  # -P: the wheel, not this folder

clean:
	rm -rf $(VENV) .venv-engines .stamps build dist site *.egg-info
