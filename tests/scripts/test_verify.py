"""scripts/verify.py."""

from tests.helpers import runner
from tests.helpers.damage import flip_bit


def test_script(tmp_path):
  """A line for each checkpoint; its exit code is the verdict."""
  folder = runner.save_untrained(tmp_path / "run", "lenet5", {})
  arguments = ["scripts/verify.py", f"--workdir={folder}"]
  assert runner.finish(runner.start(arguments)) == ("step 1 is whole\n", "")
  flip_bit(folder / "checkpoints" / "1" / "state")
  out, err = runner.finish(runner.start(arguments), code=1)
  assert out.startswith("step 1 is damaged: ") and out.count("\n") == 1
  assert err == f"error: {folder} holds damaged checkpoints; commands use the newest that is whole\n"
  _, err = runner.finish(runner.start(["scripts/verify.py", f"--workdir={tmp_path}"]), code=2)
  assert err == f"error: workdir='{tmp_path}' holds no checkpoints; valid: the folder of a run\n"
