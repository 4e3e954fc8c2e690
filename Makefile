# Everything this project needs is set up by `install`; `up`, `test`, `lint` and `bench` depend on it.
# PYTHON=... names the Python to use; without it the first of version 3.11 to 3.13 is taken.
BIN := .venv/bin
EXTRAS := fast,http,tracing,nlp,dev

.PHONY: install up down test lint bench bench-peers figures profile soak docs screens clean

install: .venv/.installed

# A virtual environment works in the folder it was made in; moved or copied it is made anew.
ifneq ($(shell cat .venv/.installed 2>/dev/null),$(CURDIR))
.PHONY: .venv/.installed
endif

.venv/.installed: pyproject.toml tools/make_venv.sh
	@sh tools/make_venv.sh "$(PYTHON)"
	@echo "installing the mesh and what it needs into .venv (once, about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]" || \
		{ echo "not everything could be installed: see above, is there a network? then make again" >&2; exit 1; }
	@echo "$(CURDIR)" > $@

up: install
	@echo "call it from a second terminal:  .venv/bin/mesh ask \"When is my sister's birthday?\""
	@echo "  or put it on the path first:   . .venv/bin/activate"
	@$(BIN)/mesh up

down: install
	@$(BIN)/mesh down

test: install
	@sh tools/test_servers.sh
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/mypy && $(BIN)/mypy tools/settings_reference.py tools/metrics_reference.py

bench: install
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.metrics
	@$(BIN)/python -m benchmarks.death
	@$(BIN)/python -m benchmarks.rolling
	@$(BIN)/python -m benchmarks.overload
	@$(BIN)/python -m benchmarks.recall

# The table and the plots of docs/performance.md, measured and written anew; with FAMILIES="calls curve" those alone.
RESULTS := docs/plots/results

figures: install bench-extra
	@$(BIN)/python -m benchmarks $(FAMILIES) --results $(RESULTS)
	@$(BIN)/python -m benchmarks.plots $(RESULTS)/*.json
	@$(BIN)/python -m benchmarks.page $(RESULTS)/*.json

# The mesh beside other systems that install here, each in an environment of its own.
bench-peers: install
	@$(BIN)/python -m benchmarks.rivals

# Flame graphs of a remote call, before and after a change: make profile LABEL=before
profile: install bench-extra
	@$(BIN)/python -m benchmarks.profile --label "$(LABEL)"

.PHONY: bench-extra
bench-extra: install
	@test -x $(BIN)/py-spy && $(BIN)/python -c "import matplotlib" 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"

# The fault matrix with seed after seed, restarts over and over, and examples that no run has tried before.
HOURS ?= 0
MINUTES ?= 10
SOAK = $(shell expr $(HOURS) '*' 60 '|' $(MINUTES))

soak: install
	@echo "1 of 3: the fault matrix with seed after seed, for $(SOAK) minutes; a matrix that was begun is finished"
	@$(BIN)/python -m benchmarks.faults --minutes $(SOAK) --seed "$$(date +%s)"
	@echo "2 of 3: an agent is restarted over and over"
	@$(BIN)/python -m benchmarks.soak --restarts $$(expr $(SOAK) '*' 20)
	@echo "3 of 3: property tests with examples that no run has tried before"
	@MESH_HYPOTHESIS=$(SOAK) $(BIN)/python -m pytest -q -n 2 --dist loadfile -m hypothesis

docs: install
	@$(BIN)/python tools/settings_reference.py --write
	@$(BIN)/python tools/metrics_reference.py --write

screens: install
	@$(BIN)/python -m tools.screens

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
