# Every command works from nothing: it makes a virtual environment in .venv and installs the project there, editable.
# A changed pyproject.toml installs again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

FAST := $(addprefix tests/, test_errors.py test_public_names.py layers tasks \
  $(addprefix convolutions/test_, arithmetic.py initializers.py separation.py variants.py) \
  $(addprefix models/test_, published.py registry.py) \
  $(addprefix pretrained/test_, files.py inflation.py loading.py state_dicts.py) \
  $(addprefix data/, kinds test_decode.py) \
  $(addprefix training/test_, logging.py optimizers.py schedules.py settings.py))

.PHONY: train test test-fast lint format clean

train: $(VENV)/run
	$(BIN)/python train.py --config=configs/efficientnet_b0.py

# Everything, the examples in docstrings included.
test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Under two minutes, for use while working: sizes, layers, tasks, the registry and published costs, settings, schedules,
# optimizers, weights, reading data and errors. It leaves out what trains, starts processes or runs whole networks.
test-fast: $(VENV)/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal $(FAST)

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ty check

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: pyproject.toml | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/dev: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/run

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
