# aMINT reproducibility kit. Needs python3 (3.11 or newer), make and git; everything else comes
# into .venv. All paths are relative, so the folder's own name does not matter.

PYTHON ?= python3
PROFILE ?= quick
# cpu: install without GPU libraries; cu126, rocm6.4, ...: for that accelerator; empty: the lock as it is.
TORCH_BACKEND ?=

PY := .venv/bin/python
UV := .venv/bin/uv
READY := .venv/.ready
NOTEBOOKS = $(wildcard notebooks/*.ipynb)
SUMMARY := notebooks/aMINTResults.ipynb
# It shows results that are committed, and writes none.
TABLE1 := notebooks/aMINTTable1.ipynb
# Those that have run.md for a source, and the others with code of their own.
RUNS := $(patsubst notebooks/source/%.md,%,$(shell grep -l 'extends "run.md"' notebooks/source/*.md))
OTHERS = $(filter-out $(SUMMARY) $(TABLE1) $(RUNS:%=notebooks/%.ipynb),$(NOTEBOOKS))
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout 600
EXECUTE := $(PY) -m nbconvert --to notebook --inplace --execute \
  --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.timeout=7200 \
  --ClearMetadataPreprocessor.enabled=True \
  --ClearMetadataPreprocessor.preserve_cell_metadata_mask=tags \
  --ClearMetadataPreprocessor.preserve_nb_metadata_mask=kernelspec

# Kernels come from .venv, not from elsewhere on the machine.
unexport JUPYTER_PATH JUPYTER_PREFER_ENV_PATH
# Large wheels on slow lines.
export UV_HTTP_TIMEOUT ?= 300

.DEFAULT_GOAL := help
.PHONY: help setup data plan reproduce paper lab demo test bench faults fuzz notebooks reference lint clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Install everything into .venv (TORCH_BACKEND=cpu: without GPU libraries)

# Libraries are compiled at once, which takes a minute: where Python may not write bytecode, each
# start would compile them again, some ten seconds for a notebook.
#
# With a backend, torch comes from another place than the lock's hashes were taken from: versions
# still come from the lock, hashes are not checked, and only what that torch needs is installed.
$(READY): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'amint needs Python 3.11 or newer, and "$(PYTHON)" is not. Name one: make setup PYTHON=python3.12' >&2; \
	  exit 1; }
	"$(PYTHON)" -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check uv==0.13.9
ifeq ($(strip $(TORCH_BACKEND)),)
	$(UV) pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r requirements.lock
else
	$(UV) pip install --quiet --compile-bytecode --python $(PY) --torch-backend "$(TORCH_BACKEND)" \
	  --no-verify-hashes -c requirements.lock -r pyproject.toml --all-extras setuptools
endif
	$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
	@touch $(READY)

data: $(READY) ## Download the datasets that can be downloaded; say where to put the others
	$(PY) -m amint_core data

# CALIBRATION: seconds of measuring; more measures more of the cases and estimates fewer.
CALIBRATION ?= 60
plan: $(READY) ## Say what PROFILE would cost: hours and memory per run, before anything starts
	$(PY) -m amint_core plan --profile "$(PROFILE)" --seconds "$(CALIBRATION)"

reproduce: $(READY) ## Run a profile: PROFILE=quick (stand-ins, minutes), laptop or comparison (real data, CPU)
	$(PY) -m amint_core reproduce --profile "$(PROFILE)" $(if $(CLUSTER),--cluster "$(CLUSTER)")

paper: PROFILE = paper
paper: reproduce ## Run the paper's whole grid (real data, GPU)

lab: $(READY) ## Open the notebooks in JupyterLab
	$(PY) -m jupyterlab notebooks

# MODEL: a folder that `amint export` wrote; without it a small one is trained on stand-ins first.
demo: $(READY) ## Serve the audit as a web page on this machine (MODEL=folder)
	$(PY) -m amint_core demo $(if $(MODEL),--model "$(MODEL)")

lint: $(READY) ## Check style
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# Notebooks run as copies on stand-in images, with caches and results of their own, so that no test
# touches yours; the results notebook comes last, on what the others left there.
# Two processes with a thread each: with two each they wait for one another, a third of the time.
test fuzz: export OMP_NUM_THREADS = 1
test: lint ## Check style, run all tests and every notebook
	$(PY) -m pytest -n 2 --dist loadfile
	rm -rf build/test && mkdir -p build/test/notebooks
	for notebook in $(RUNS); do \
	  $(PY) -m papermill --prepare-only -k python3 -f notebooks/standin.yaml \
	    notebooks/$$notebook.ipynb build/test/notebooks/$$notebook.ipynb || exit 1; done
	$(PY) -m papermill --prepare-only -k python3 -p profile scratch $(SUMMARY) build/test/results.ipynb
	export AMINT_RESULTS="$$PWD/build/test/results" AMINT_CACHE="$$PWD/build/test/cache" TQDM_DISABLE=1 && \
	  $(PY) -m pytest $(NBVAL) -n 2 --dist loadfile build/test/notebooks $(OTHERS) && \
	  $(PY) -m pytest $(NBVAL) build/test/results.ipynb
	env -u AMINT_RESULTS $(PY) -m pytest $(NBVAL) $(TABLE1)

bench: $(READY) ## Measure speed and memory on this machine (at most 10 minutes on 2 cores, 6 GB of temporary disk)
	$(PY) -m pytest benchmarks/suite.py -p no:xdist -q

# Kills, damage, full disks and limits, counted; with the right to mount, on small disks of their own.
MINUTES ?= 10
faults: $(READY) ## Put faults to runs, grids and reports for MINUTES and count what becomes of them
	$(PY) -m benchmarks.faults --minutes "$(MINUTES)"

# `make test` tries a part of these, the same ones each time.
fuzz: $(READY) ## Try 20,000 odd or damaged inputs of every kind that comes from outside
	$(PY) -m pytest -n 2 --dist loadfile --hypothesis-profile=nightly tests/test_fuzz_*.py

# Runs of the notebooks as they are committed go elsewhere; the results notebook shows the profile's.
notebooks: $(READY) ## Write the notebooks from notebooks/source and run them in place
	$(PY) notebooks/source/write.py
	rm -rf build/notebooks
	export AMINT_RESULTS="$$PWD/build/notebooks/results" AMINT_CACHE="$$PWD/build/notebooks/cache" TQDM_DISABLE=1 && \
	  for notebook in $(filter-out $(SUMMARY) $(TABLE1),$(NOTEBOOKS)); do $(EXECUTE) "$$notebook" || exit 1; done
	$(EXECUTE) $(TABLE1)
	$(EXECUTE) $(SUMMARY)

reference: $(READY) ## Keep the present results of PROFILE as its reference values
	$(PY) -m amint_core reference --profile "$(PROFILE)"

clean: ## Remove what setup and tests made; results and data stay
	rm -rf .venv build .snakemake .pytest_cache .ruff_cache
