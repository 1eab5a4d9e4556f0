# make demo, make test: each makes the environment first when it is missing.
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := edgeseg quantize targets benchmarks tests examples
TYPING := build/typing

INSTALL_LOG := build/install.log

.PHONY: install demo test hostile docs lint typing check clean

install: $(INSTALLED)

# What pip says is worth reading only when it fails.
$(INSTALLED): pyproject.toml constraints.txt
	@mkdir -p $(dir $(INSTALL_LOG))
	@echo "Installing into $(VENV), which takes minutes; pip writes to $(INSTALL_LOG)."
	@{ $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --progress-bar off \
		--constraint constraints.txt --editable '.[all,dev]'; } > $(INSTALL_LOG) 2>&1 \
		|| { cat $(INSTALL_LOG); exit 1; }
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/edgeseg demo --output demo

# A worker for each core, at most four: each loads torch. make test JOBS=0 runs all in one process.
# After a crash the run ends and names the test: with a new worker, loadfile of xdist 3.8 waits for
# ever for the last tests.
JOBS ?= logical
test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --max-worker-restart 0 \
		--dist loadfile --no-loadscope-reorder

# Thousands of damaged and malicious inputs, which the suite above leaves out; some minutes.
hostile: $(INSTALLED)
	$(BIN)/python tests/hostile/run.py

# tests/docs looks at what is built: no page asks another machine for anything.
docs: $(INSTALLED)
	$(BIN)/python -m zensical build --clean --strict
	$(BIN)/python -m pytest -q tests/docs/test_site.py tests/docs/test_links.py
	@echo "Site: build/site/index.html"

lint: $(INSTALLED)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

# mypy sees the package as it is installed: the four folders under one name.
typing: $(INSTALLED)
	rm -rf $(TYPING)
	mkdir -p $(TYPING)
	cp -rs $(CURDIR)/edgeseg $(TYPING)/
	for folder in quantize targets benchmarks; do cp -rs $(CURDIR)/$$folder $(TYPING)/edgeseg/; done
	cd $(TYPING) && MYPYPATH=. $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p edgeseg

check: lint typing test

clean:
	rm -rf build dist demo .mypy_cache .ruff_cache .pytest_cache *.egg-info
