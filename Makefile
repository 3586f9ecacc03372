# All set-up is here: "make demo", "make test" and "make check" make their own environment in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo cluster-demo test check lint format types bench clean

$(STAMP): pyproject.toml $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "streamcal needs Python 3.11 or newer"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	$(BIN)/python -m pip install --quiet --no-deps --editable plugins/streamcal-normality
	touch $@

demo: $(STAMP)  ## a simulated camera, the daemon on it, and measured against true values
	$(BIN)/python examples/demo.py

cluster-demo: $(STAMP)  ## a night through a cluster whose workers and scheduler are killed
	$(BIN)/python examples/cluster_demo.py

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: lint types test  ## what CI runs

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/numpydoc lint $$(git ls-files "streamcal/*.py")

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)  ## benchmarks, as ratios within one run
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo-run cluster-run .pytest_cache .mypy_cache .ruff_cache
