"""scripts/verify.py."""

import shutil

from tests.helpers import runner
from tests.helpers.damage import cut, flip_bit


def test_script(whole_run, tmp_path):
  """A line for each checkpoint and each damage; its exit code is the verdict."""
  folder = tmp_path / "run"
  shutil.copytree(whole_run, folder)
  arguments = ["scripts/verify.py", f"--workdir={folder}"]
  *others, last = runner.saved_steps(folder)
  whole = "".join(f"step {step} is whole\n" for step in others)
  assert runner.finish(runner.start(arguments)) == (f"{whole}step {last} is whole\n", "")
  flip_bit(folder / "checkpoints" / str(last) / "state")
  cut(folder / "config.json")
  cut(folder / "metrics.jsonl")
  out, err = runner.finish(runner.start(arguments), code=1)
  assert out.startswith(f"{whole}step {last} is damaged: ")
  assert out.splitlines()[-2:] == [
    f"{folder}/config.json is damaged or missing; the checkpoints have the configuration too",
    f"{folder}/metrics.jsonl does not hold what was written to it",
  ]
  assert err == f"error: {folder} is damaged\n"
  _, err = runner.finish(runner.start(["scripts/verify.py", f"--workdir={tmp_path}"]), code=2)
  assert err == f"error: workdir='{tmp_path}' holds no checkpoints; valid: the folder of a run\n"
