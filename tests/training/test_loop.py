"""Training itself: it learns, and what happens when numbers are not finite."""

import jax
import numpy as np
import pytest

from cnn_zoo.training.loop import TrainingError, train
from tests.helpers import runner

ABSURD = {
  "optimizer.name": "sgd",
  "optimizer.learning_rate": 1e30,
  "schedule.warmup_epochs": 0.0,
  "steps": 12,
  "checkpoint.every_steps": 1,
  "log_every_steps": 3,
}


def test_it_learns(whole_run):
  assert runner.rows(whole_run, "test")[-1]["top1"] > 0.9
  steps = [row["step"] for row in runner.rows(whole_run)]
  assert steps == [*range(4, 90, 4), 90]
  # 1,437 examples in batches of 64: epochs end within steps 23, 45 and 68; the last step is evaluated too.
  assert [row["step"] for row in runner.rows(whole_run, "test")] == [23, 45, 68, 90]


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


def test_going_on(tmp_path):
  train(runner.load("lenet5", **ABSURD, on_nan="continue"), tmp_path / "run")
  rows = runner.rows(tmp_path / "run")
  assert rows[-1]["step"] == 12 and not np.isfinite(rows[-1]["loss"]) and rows[-1]["top1"] == 0
