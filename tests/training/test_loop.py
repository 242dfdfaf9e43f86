"""Training itself: it learns, chooses, reports, and stops where numbers are not finite."""

import shutil

import jax
import numpy as np
import pytest

from cnn_zoo.runs.evaluation import evaluate as evaluate_run
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.loop import TrainingError, train
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs
from tests.helpers import runner

ABSURD = {
  "optimizer.name": "sgd",
  "optimizer.learning_rate": 1000.0,
  "optimizer.weight_decay": 1000.0,  # takes weights out of the range of float32 in about six steps
  "schedule.warmup_epochs": 0.0,
  "steps": 12,
  "checkpoint.every_steps": 1,
  "log_every_steps": 3,
}


def test_it_learns(whole_run):
  steps = [row["step"] for row in runner.rows(whole_run)]
  assert steps == [*range(4, 90, 4), 90]
  # 1,293 examples in batches of 64: epochs end within steps 21, 41, 61 and 81; the last step is evaluated too.
  assert [row["step"] for row in runner.rows(whole_run, "val")] == [21, 41, 61, 81, 90]
  (test,) = runner.rows(whole_run, "test")
  assert test["top1"] > 0.9


def test_the_test_set_is_reported_with_the_checkpoint_that_the_validation_set_chose(tmp_path, monkeypatch):
  """Once, although the last checkpoint is another one; resuming a finished run does not report it again."""
  fields = {"steps": 60, "eval.every_epochs": 1.0, "checkpoint.every_steps": 100}
  accuracies = {21: 0.3, 41: 0.9, 60: 0.5}  # of the validation set
  evaluate, splits = Programs.evaluate, []

  def scripted(programs, weights, dataset, split):
    splits.append(split)
    metrics = evaluate(programs, weights, dataset, split)
    return metrics if split == "test" else metrics | {"top1": list(accuracies.values())[len(splits) - 1]}

  monkeypatch.setattr(Programs, "evaluate", scripted)
  config = runner.load("lenet5", **fields)
  result = train(config, tmp_path)
  assert splits == ["validation"] * 3 + ["test"]
  assert {row["step"]: row["top1"] for row in runner.rows(tmp_path, "val")} == accuracies
  (row,) = runner.rows(tmp_path, "test")
  assert row["step"] == 41 and {name: row[name] for name in result} == result
  monkeypatch.undo()

  before = RunFolder(tmp_path).metrics.read_bytes()
  chosen, last = evaluate_run(None, tmp_path), evaluate_run(None, tmp_path, "last")
  assert chosen["step"] == 41 and chosen["loss"] == pytest.approx(result["loss"], rel=1e-6)
  assert last["step"] == 60 and last["loss"] != pytest.approx(result["loss"], rel=1e-3)
  assert train(config, tmp_path)["loss"] == pytest.approx(result["loss"], rel=1e-6)
  assert RunFolder(tmp_path).metrics.read_bytes() == before

  # A run that was killed between its last checkpoint and the report makes up for it.
  lines = before.splitlines(keepends=True)
  RunFolder(tmp_path).metrics.write_bytes(b"".join(lines[:-1]))
  train(config, tmp_path)
  assert RunFolder(tmp_path).metrics.read_bytes() == before

  # If somebody has removed that checkpoint, the last one is tested.
  shutil.rmtree(RunFolder(tmp_path).checkpoints / "41")
  assert train(config, tmp_path)["loss"] == pytest.approx(last["loss"], rel=1e-6)
  assert "is gone; that of step 60 is tested\n" in RunFolder(tmp_path).log.read_text()


def test_without_a_validation_set_the_test_set_is_evaluated(tmp_path):
  config = runner.load("lenet5", steps=30, **{"data.validation": 0.0})
  result = train(config, tmp_path)
  assert runner.rows(tmp_path, "val") == []
  rows = runner.rows(tmp_path, "test")
  assert [row["step"] for row in rows] == [23, 30]  # 1,437 examples
  assert {name: rows[-1][name] for name in result} == result


def test_x64(tmp_path):
  """With JAX_ENABLE_X64 everything that is learned stays float32."""
  fields = {**runner.TINY_EFFICIENTNET, "steps": 2, "batch_size": 16, "ema_decay": 0.9}
  runner.train_process("efficientnet_b0", tmp_path, fields, JAX_ENABLE_X64="1")
  config = runner.load("efficientnet_b0", **fields)
  dtypes = jax.tree.map(lambda x: x.dtype, runner.saved_state(tmp_path, config))
  assert dtypes == jax.tree.map(lambda x: x.dtype, Programs(config, create_mesh()).shapes)
  assert np.isfinite(runner.losses(tmp_path)).all()


def test_without_jit(tmp_path):
  """JAX_DISABLE_JIT is for debugging; the losses are those of compiled programs."""
  fields = {"steps": 1, "log_every_steps": 1, "data.validation": 0.0, "eval.batch_size": 360}
  runner.train_process("lenet5", tmp_path / "eager", fields, JAX_DISABLE_JIT="1")
  train(runner.load("lenet5", **fields), tmp_path / "compiled")
  for split in ("train", "test"):
    (eager,), (compiled,) = (runner.rows(tmp_path / run, split) for run in ("eager", "compiled"))
    assert eager["loss"] == pytest.approx(compiled["loss"], rel=1e-4)


def finite(state):
  return all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_not_finite(tmp_path):
  """One line, exit code 1, and what is saved can be used."""
  _, err = runner.train_process("lenet5", tmp_path / "run", ABSURD, code=1)
  errors = [line for line in err.splitlines() if line.startswith("error:")]
  assert len(errors) == 1 and "is not finite at step" in errors[0] and "Traceback" not in err
  config = runner.load("lenet5", **ABSURD)
  steps = runner.saved_steps(tmp_path / "run")
  assert f"the last checkpoint, of step {steps[-1]}," in errors[0]
  assert all(finite(runner.saved_state(tmp_path / "run", config, step)) for step in steps)


def test_not_finite_before_a_checkpoint(tmp_path):
  config = runner.load("lenet5", **{**ABSURD, "checkpoint.every_steps": 100})
  with pytest.raises(TrainingError, match=r"not finite at step \d+ .*; nothing was saved before"):
    train(config, tmp_path / "run")
  assert runner.saved_steps(tmp_path / "run") == []


def test_continue(tmp_path):
  train(runner.load("lenet5", **ABSURD, on_nan="continue"), tmp_path / "run")
  rows = runner.rows(tmp_path / "run")
  assert rows[-1]["step"] == 12 and not np.isfinite(rows[-1]["loss"]) and rows[-1]["top1"] == 0
