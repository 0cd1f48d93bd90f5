# make demo   the whole way on examples/raw into ./demo
# make test   the test suite            make lint   ruff and mypy            make clean   forget the demo and the environment
# Each does its own set-up. PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
VENV   := .venv
READY  := $(VENV)/.athanor-ready

.PHONY: demo test lint clean

demo: $(READY)
	@$(VENV)/bin/athanor run examples/raw -w demo

test: $(READY)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(READY)
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/mypy

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo 'Athanor needs Python 3.11 or newer and "$(PYTHON)" is not: install one and say e.g. make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo 'Python could not make a virtual environment: install its venv module (on Debian and Ubuntu the package python3-venv).'; exit 1; }
	@echo 'Installing Athanor and the libraries of constraints.txt into $(VENV) (some minutes, once) ...'
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
