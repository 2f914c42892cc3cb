# Everything starts from .venv, which is made when it is missing or older than a pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin
PLUGINS := $(sort $(wildcard plugins/mmseqdiff-*))
PROJECTS := pyproject.toml $(PLUGINS:%=%/pyproject.toml)
DEVICE ?= cpu
VIDEO ?=

.PHONY: install demo test check-slow lint format docs demo-weights clean

install: .venv/installed

.venv/installed: $(PROJECTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" $(PLUGINS:%=-e %) -e "plugins/mmseqdiff-monologues[speech,words]"
	touch $@

demo: install
	$(BIN)/mmseqdiff demo --out demo $(if $(VIDEO),--video $(VIDEO))
	@echo "open demo/index.html in a browser"

test: install
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

check-slow: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[mutation]"
	$(BIN)/python -m pytest -m "slow or device" --device $(DEVICE)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	$(BIN)/python docs/pictures/matrix.py
	$(BIN)/mkdocs build --strict

demo-weights: install
	$(BIN)/python plugins/mmseqdiff-demo/build.py

clean:
	rm -rf .venv demo .pytest_cache .hypothesis .ruff_cache .import_linter_cache
