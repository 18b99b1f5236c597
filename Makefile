# Everything runs in .venv, which is made if absent. For another Python: make install PYTHON=python3.12

PYTHON ?= python3
WORKERS ?= 2

BIN := .venv/bin
STAMP := .venv/.installed
# One thread per test process, since the workers already use all cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

.DEFAULT_GOAL := help
.PHONY: help install browser demo test test-slow test-open-clip wheel-test lint format bench tables docs clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(STAMP)  ## Make .venv and install prost and its development tools

$(STAMP): pyproject.toml constraints-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; try: make install PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints-dev.txt --editable '.[dev]'
	# Only for the tests: OpenAI's tokenizer and its vocabulary. Its dependencies (torchvision) are not wanted.
	$(BIN)/python -m pip install --quiet --no-deps clip-anytorch==2.6.0
	@touch $@

browser:  ## Install Debian's Chromium, which the tests of the page drive (needs root)
	@command -v chromium >/dev/null || \
		{ apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium fonts-dejavu-core; }

demo: install  ## Make a folder of small videos, index it, search it, write demo/index.html
	$(BIN)/prost demo --folder demo --videos 60

test: install  ## Run the fast tests (some minutes)
	$(PYTEST) -m "not slow"

test-slow: install  ## Run the slow tests
	$(PYTEST) -m slow

test-open-clip: install  ## Run the tests against open_clip, in a folder of its own beside .venv's packages
	test -d .venv/open-clip || $(BIN)/python -m pip install --quiet --constraint constraints-dev.txt --no-deps \
		--target .venv/open-clip open_clip_torch timm torchvision
	PYTHONPATH=.venv/open-clip $(BIN)/python -m pytest -p tests.model.open_clip_beside tests/model/test_open_clip.py

wheel-test:  ## Install the wheel outside the checkout, for each Python that is here, and run the demo there
	PYTHON=$(PYTHON) .ci/wheel-test

lint: install  ## Check style, types and imports between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## Apply the style that lint checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## Measure the figures in the documents; results go to benchmarks/results/
	@for script in $(wildcard benchmarks/*.py); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

tables: install  ## Run the paper's tables on Toybox (some hours on two cores); finished runs are kept
	# The start of every model: a CLIP that knows frames, but neither clips nor ProST.
	$(BIN)/prost train recipes/toybox/1-clip.yaml --output runs/toybox-1-clip
	$(BIN)/prost train recipes/toybox/2-clip.yaml --output runs/toybox-2-clip
	$(BIN)/prost ablate recipes/tables/*.yaml --output runs/tables --results docs/results

docs: install  ## Write docs/cli.md from the help of the commands
	$(BIN)/python docs/write_cli_reference.py > docs/cli.md

clean:  ## Remove files of tests and tools; .venv and demo stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
