"""Opening a checkpoint of a run."""

import jax
import numpy as np
import pytest

from cnn_zoo.errors import DamageError, UserError
from cnn_zoo.runs.saved import open_run
from cnn_zoo.training.loop import train
from tests.helpers import runner
from tests.helpers.damage import cut, flip_bits


def test_weights_of_many_blocks(tmp_path):
  """Where names of blocks have two digits, their order in a checkpoint is another than in the model."""
  fields = {**runner.TINY_EFFICIENTNET, "model.depth": 1.0}
  saved = []

  def number(state):
    """Other numbers in every array."""
    leaves, tree = jax.tree.flatten(state)
    saved.append(jax.tree.unflatten(tree, [x + i for i, x in enumerate(leaves)]))
    return saved[0]

  run = open_run(None, runner.save_untrained(tmp_path, "efficientnet_b0", fields, number))
  assert (run.step, run.kind) == (1, "raw") and len(saved[0].params["blocks"]) > 10
  for ours, theirs in ((run.weights["params"], saved[0].params), (run.weights["batch_stats"], saved[0].batch_stats)):
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


def test_another_model(tmp_path):
  workdir = runner.save_untrained(tmp_path, "lenet5", {})
  with pytest.raises(UserError, match=r"holds another run .*model.name: 'lenet5' -> 'efficientnet_b0'"):
    open_run(runner.load("efficientnet_b0"), workdir)


def test_steps(tmp_path):
  workdir = runner.save_untrained(tmp_path, "lenet5", {})
  with pytest.raises(UserError, match=r"step='best' is not known: no checkpoint was evaluated yet; valid: 1"):
    open_run(None, workdir, "best")
  for wrong in ("2", "lats", "-1", "²", "9" * 5000):
    with pytest.raises(UserError, match=f"step='{wrong}' is not there; valid: last, best, 1"):
      open_run(None, workdir, wrong)


def test_no_run(tmp_path):
  with pytest.raises(UserError, match="holds no run"):
    open_run(None, tmp_path)
  (tmp_path / "config.json").write_text(runner.load("lenet5").to_json())
  with pytest.raises(UserError, match="holds no checkpoint yet"):
    open_run(None, tmp_path)


def test_a_damaged_checkpoint(tmp_path, capsys):
  """The newest whole one is opened, which is said; one that is asked for by its number is refused."""
  fields = {"steps": 4, "batch_size": 32, "checkpoint.every_steps": 2}
  train(runner.load("lenet5", **fields), tmp_path)
  assert open_run(None, tmp_path).step == 4
  flip_bits(tmp_path / "checkpoints" / "4" / "state")
  capsys.readouterr()
  for step in (None, "last", "best"):
    assert open_run(None, tmp_path, step).step == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: step 4 is damaged: ") and line.endswith(
      "; step 2 is used, the newest that is whole"
    )
  assert open_run(None, tmp_path, "2").step == 2 and capsys.readouterr().err == ""
  with pytest.raises(DamageError, match=r"^step 4 is damaged: "):
    open_run(None, tmp_path, "4")


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"model": {"name": "lenet', None])
def test_a_damaged_config(data, tmp_path, capsys):
  """The checkpoint has the configuration too; without one nothing can be done."""
  folder = runner.save_untrained(tmp_path, "lenet5", {"batch_size": 3})
  config = folder / "config.json"
  config.unlink()
  if data is not None:
    config.write_bytes(data)
  run = open_run(None, folder)
  assert (run.step, run.config.batch_size, run.saved_config.batch_size) == (1, 3, 3)
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f"warning: {config} is ") and line.endswith("the checkpoint of step 1 is used")
  cut(folder / "checkpoints" / "1" / "digests")
  with pytest.raises(DamageError, match="is whole: step 1 is damaged"):
    open_run(None, folder)
