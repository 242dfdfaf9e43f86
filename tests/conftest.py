"""What all tests share: nothing that a test does is left in the home directory, and programs compile quickly."""

import os

import jax
import pytest

import cnn_zoo
from tests.helpers import ROOT, runner

cnn_zoo.configure_runtime()  # before a test starts JAX, as the commands do

# Packages whose tests compare with references within a tolerance. They compile with few optimisations, which takes a
# fifth less time. What trains and what is compared bit by bit compiles as users have it.
QUICK = ("convolutions", "describe", "layers", "models", "plots", "pretrained", "tasks", "test_doctests.py")


@pytest.fixture(scope="session", autouse=True)
def _shared(tmp_path_factory):
  """Datasets and compiled programs, shared by all tests of a session and the processes that they start."""
  base = tmp_path_factory.getbasetemp()
  os.environ["TFDS_DATA_DIR"] = str(tmp_path_factory.mktemp("tfds"))
  # pytest-xdist gives each worker a folder within that of the session.
  runner.CACHE = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled")


@pytest.fixture(autouse=True)
def _compile_quickly(request):
  package = request.path.relative_to(ROOT / "tests").parts[0]
  jax.config.update("jax_disable_most_optimizations", package in QUICK)


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
  """The folder of a run of LeNet-5 that was never stopped."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  runner.train_process("lenet5", workdir, runner.UNEVEN)
  return workdir
