# demo, test, bench, lint: each sets up what it needs in .venv, then runs. The machine needs python3
# (3.11 or newer) with pip and headers, and a C compiler; everything else is fetched by pip.
#
#   PYTHON=python3.13        the interpreter .venv is made from
#   TORCH='torch==2.13.0'    what pip installs as PyTorch; add '--index-url ...' for a CPU-only build
#   PYTEST_ARGS='-k gru'     further arguments of pytest; WORKERS=2 processes
#   BENCH_ARGS='--cells GRU' further arguments of tools/bench.py layer
PYTHON ?= python3
TORCH ?= torch==2.13.0
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=

BIN := .venv/bin
SOURCES := $(wildcard setup.py) pyproject.toml $(shell find rnnengine src_c -type f \
	-not -path '*/__pycache__/*' -not -name '*.so')

.PHONY: demo test bench lint clean
# Two installations at once would share one build folder.
.NOTPARALLEL:

# The programs run in another directory and from .venv, so the source folder never stands in for
# the installed package.
demo: .venv/.onnx
	cd examples/digits && ../../$(BIN)/python demo.py

test: .venv/.torch .venv/.test
	cd tests && KERAS_BACKEND=torch ../$(BIN)/pytest -n $(WORKERS) $(PYTEST_ARGS)

bench: .venv/.bench
	cd tools && ../$(BIN)/python bench.py layer $(BENCH_ARGS)

lint: .venv/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint rnnengine
	$(BIN)/python tools/lint_c.py

clean:
	rm -rf .venv build dist *.egg-info

# One stamp for each set of extras; a stamp is as old as the installation it stands for.
.venv/.onnx .venv/.test .venv/.bench .venv/.dev: .venv/.%: .venv/.made $(SOURCES)
	rm -rf build/lib.* build/bdist.*
	$(BIN)/python -m pip install '.[$*]'
	touch $@

.venv/.torch: .venv/.made
	$(BIN)/python -m pip install $(TORCH)
	touch $@

# Some systems ship Python without ensurepip; their own pip then puts one into the environment.
.venv/.made:
	$(PYTHON) -m venv .venv || ($(PYTHON) -m venv --without-pip .venv && \
		$(PYTHON) -m pip --python $(BIN)/python install pip)
	touch $@
