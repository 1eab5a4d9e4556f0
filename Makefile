# make demo, make test: each makes the environment first when it is missing.
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := edgeseg quantize targets benchmarks tests examples
TYPING := build/typing

SAMPLE := edgeseg/data/isic2016_cc0/images
DEMO := demo/egeunet-int8
DEMO_IMAGES := $(addprefix $(SAMPLE)/,$(addsuffix .jpg,$(shell head -n 6 edgeseg/data/isic2016_cc0/test.txt)))

.PHONY: install demo test docs lint typing check clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[all,dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/edgeseg build --model egeunet --target all --precision int8 --output $(DEMO) --overwrite
	$(BIN)/edgeseg verify $(DEMO)/intel
	$(BIN)/edgeseg predict $(DEMO)/intel $(DEMO_IMAGES) --output demo/masks --gallery demo/gallery.png --overwrite
	$(BIN)/edgeseg bench $(addprefix $(DEMO)/,intel onnxruntime android) --json demo/bench.json
	@echo "Bundles: $(DEMO)   figures: demo/bench.json   masks beside images: demo/gallery.png"

# A worker for each core, at most four: each loads torch. make test JOBS=0 runs all in one process.
JOBS ?= logical
test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

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
