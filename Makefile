# make demo   a virtual environment, the weights, seven example files, three questions answered
# make test   the tests, those with the real weights included
# make lint   ruff and mypy
# make clean  remove the environment and the demo's store

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO_STORE := .demo-store

# The build tools are installed like everything else, so that constraints.txt pins them too.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt

# python3.11 where there is one, else the first newer python3.
PYTHON := $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$python" && break; done)

.PHONY: demo test lint clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/mac model pull
	$(BIN)/mac ingest --store $(DEMO_STORE) examples/news/*
	head -n 3 examples/questions.txt | $(BIN)/mac ask --store $(DEMO_STORE) -

test: $(INSTALLED)
	$(BIN)/python -m pytest -q

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(DEMO_STORE) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamp lies inside the environment: without the environment there is no stamp.
$(INSTALLED): pyproject.toml constraints.txt
	$(if $(PYTHON),,$(error Python 3.11 or newer is needed, and no python3 here is that new))
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) hatchling editables
	$(PIP_INSTALL) --no-build-isolation -e '.[dev]'
	touch $@
