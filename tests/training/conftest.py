"""A run that several tests compare with."""

import pytest
import runner


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
  """The folder of a run of LeNet-5 that was never stopped."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  runner.train_process("lenet5", workdir, runner.UNEVEN)
  return workdir
