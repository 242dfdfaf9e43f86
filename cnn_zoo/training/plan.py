"""How long a run is, and at which steps it logs, evaluates and saves."""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from cnn_zoo.training.schedules import create_schedule, steps_per_epoch, to_steps, training_steps


@dataclasses.dataclass(frozen=True)
class Due:
  """What is due after a step: the metrics of training, an evaluation, a checkpoint."""

  log: bool
  evaluate: bool
  save: bool

  @property
  def any(self) -> bool:
    """Whether anything is."""
    return self.log or self.evaluate or self.save


class Plan:
  """The course of a run. Epochs are exact fractions, because they need not end with a batch.

  Args:
    config: the run's configuration.
    num_train: examples in an epoch.

  Attributes:
    total: the number of steps.

  Example:
    >>> from cnn_zoo.training.settings import default_config
    >>> plan = Plan(default_config(), num_train=1437)
    >>> plan.total, round(plan.epoch(45), 3), plan.due(45)
    (450, 2.004, Due(log=False, evaluate=True, save=False))
  """

  def __init__(self, config: ConfigDict, num_train: int):
    self._config = config
    self._per_epoch = steps_per_epoch(config, num_train)
    self._evaluation_every = to_steps(config.eval.every_epochs, self._per_epoch)
    self.total = training_steps(config, num_train)
    self._rate = create_schedule(config.schedule, config.optimizer.learning_rate, self.total, self._per_epoch)

  def epoch(self, step: int) -> float:
    """How many epochs `step` steps are."""
    return float(step / self._per_epoch)

  def rate(self, step: int) -> np.float32:
    """The learning rate of a step; the first step is 1."""
    return self._rate(step - 1)

  def due(self, step: int, stops: bool = False) -> Due:
    """What is due after `step` steps; everything is at the end, and a checkpoint where the run `stops` early."""
    last = step == self.total
    return Due(
      log=last or step % self._config.log_every_steps == 0,
      evaluate=last or step // self._evaluation_every > (step - 1) // self._evaluation_every,
      save=last or stops or step % self._config.checkpoint.every_steps == 0,
    )
