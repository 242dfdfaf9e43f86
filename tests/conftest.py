"""Nothing that a test does is left in the home directory."""

import os

import pytest

from tests.helpers import runner


@pytest.fixture(scope="session", autouse=True)
def _shared(tmp_path_factory):
  """Datasets and compiled programs, shared by all tests of a session and the processes that they start."""
  os.environ["TFDS_DATA_DIR"] = str(tmp_path_factory.mktemp("tfds"))
  runner.CACHE = str(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
  """The folder of a run of LeNet-5 that was never stopped."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  runner.train_process("lenet5", workdir, runner.UNEVEN)
  return workdir
