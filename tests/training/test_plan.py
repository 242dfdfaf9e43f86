"""At which steps a run logs, evaluates and saves."""

import pytest

from cnn_zoo.training.plan import Due, Plan
from tests.helpers import runner


@pytest.mark.parametrize(
  ("num_train", "batch_size", "every_epochs", "expected"),
  [
    (1437, 64, 1.0, [23, 45, 68, 90, 100]),
    (1000, 100, 0.1, [*range(1, 101)]),
    (100, 10, 1.1, [11, 22, 33, 44, 55, 66, 77, 88, 99, 100]),  # 3 * 1.1 is above 3.3 in floating point
    (1437, 117, 39.0, [100]),
    (4790, 10, 0.1, [48, 96, 100]),  # each 47.9 steps
  ],
)
def test_evaluations(num_train, batch_size, every_epochs, expected):
  """At the first step at or after each multiple, counted exactly, and at the end."""
  fields = {"steps": 100, "batch_size": batch_size, "eval.every_epochs": every_epochs}
  plan = Plan(runner.load("lenet5", **fields), num_train)
  assert [step for step in range(1, 101) if plan.due(step).evaluate] == expected


def test_due():
  fields = {"steps": 20, "log_every_steps": 4, "checkpoint.every_steps": 6, "eval.every_epochs": 100.0}
  plan = Plan(runner.load("lenet5", **fields), 1437)
  assert [step for step in range(1, 21) if plan.due(step).log] == [4, 8, 12, 16, 20]
  assert [step for step in range(1, 21) if plan.due(step).save] == [6, 12, 18, 20]
  assert plan.due(20) == Due(True, True, True)
  assert plan.due(5, stops=True) == Due(False, False, True) and not plan.due(5).any
