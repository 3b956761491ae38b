# Needs Python 3.11 or newer with venv, and make. Everything else is installed into .venv by the first target called.
PYTHON ?= python3
BIN := .venv/bin
# By file on all cores, one thread each: the networks are tiny, and threads that share a core wait for each other.
RUN_TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: demo lab test test-fast test-all test-longest colab-env colab wheel saved-runs notebooks pictures lint format clean

demo: .venv/.lab  ## train the lesson's methods on the glyphs and write runs/demo/report.html
	$(BIN)/csd-edu demo --out runs/demo

lab: .venv/.lab  ## open JupyterLab on the first notebook
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

test: .venv/.test  ## under 8 minutes on 2 cores
	$(RUN_TESTS) -m "not campaign and not longest"

test-fast: .venv/.test  ## under 2 minutes, for daily use
	$(RUN_TESTS) -m "not campaign and not longest and not slow"

test-all: .venv/.test  ## the long campaigns
	$(RUN_TESTS) -m "campaign and not longest"

test-longest: .venv/.test  ## the lesson on fresh seeds and on real images, some 20 minutes
	$(RUN_TESTS) -m longest

colab-env: .venv-colab/.core  ## classic Notebook with the versions of a Colab runtime, for tests in a browser

wheel: .venv/.lab  ## dist/csd_edu-*.whl, to upload to Colab or hand out; needs no network
	rm -rf build/lib build/bdist.* dist/csd_edu-*.whl
	$(BIN)/uv build --wheel --no-build-isolation --python $(BIN)/python --quiet
	@ls dist/csd_edu-*.whl

colab: .venv/.lab  ## make colab REPO=https://github.com/NAME/REPOSITORY: notebooks that open on Colab, for your own copy
	@$(BIN)/python notebooks/colab.py '$(REPO)'

saved-runs: .venv/.lab  ## the small runs in data/saved that notebooks start from; trains what is missing, some 10 minutes
	$(BIN)/python data/make_saved_runs.py

pictures: .venv/.test demo  ## the README's pictures; needs Chromium
	BROWSER_PATH=$$(command -v chromium || command -v google-chrome) $(BIN)/python docs/make_pictures.py runs/demo

notebooks: .venv/.test  ## both editions from notebooks/src; runs the solved ones, and draws their pictures with Chromium
	$(BIN)/python -m notebooks.generate --execute

lint: .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .venv-colab build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "csd_edu needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

.venv/.lab: pyproject.toml constraints.txt | .venv/bin/uv
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[lab]'
	@touch $@

.venv/.test: pyproject.toml constraints.txt | .venv/bin/uv
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[test]'
	@touch $@ .venv/.lab

# Python 3.13 as on Colab, which pyenv offers to those who name it; else the Python of everything else.
.venv-colab/.core: pyproject.toml constraints-colab.txt | .venv/bin/uv
	[ -x .venv-colab/bin/python ] \
	|| PYENV_VERSION=3.13 $(BIN)/uv venv --clear --python 3.13 .venv-colab \
	|| $(BIN)/uv venv --clear --python $(PYTHON) .venv-colab
	$(BIN)/uv pip install --compile-bytecode --python .venv-colab/bin/python --constraint constraints-colab.txt --editable . notebook ipykernel
	@touch $@
