# Everything this project needs is set up by `install`; `up`, `test`, `lint` and `bench` depend on it.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
BIN := .venv/bin
EXTRAS := fast,http,nlp,dev

.PHONY: install up down test lint bench docs clean

install: .venv/.installed

.venv/.installed: pyproject.toml tools/make_venv.sh
	@sh tools/make_venv.sh "$(PYTHON)"
	@echo "installing the mesh and what it needs into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]"
	@touch $@

up: install
	@echo "call it from a second terminal:  .venv/bin/mesh ask \"When is my sister's birthday?\""
	@echo "  or put it on the path first:   . .venv/bin/activate"
	@$(BIN)/mesh up

down: install
	@$(BIN)/mesh down

test: install
	@$(BIN)/python -m pytest

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/mypy && $(BIN)/mypy tools/settings_reference.py

bench: install
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.death
	@$(BIN)/python -m benchmarks.recall

docs: install
	@$(BIN)/python tools/settings_reference.py --write

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
