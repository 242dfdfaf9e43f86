# Both commands work from nothing: they make a virtual environment in .venv and install what is missing.
PYTHON ?= python3
VENV := .venv

.PHONY: train test lint format clean

train: $(VENV)/run
	$(VENV)/bin/python train.py --config=configs/efficientnet_b0.py

test: lint
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

format: $(VENV)/dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	touch $@

$(VENV)/dev: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -e .
	touch $@ $(VENV)/run

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
