"""How long a run is, and at which steps it logs, evaluates and saves."""

import dataclasses
from fractions import Fraction

import jax
import numpy as np
from ml_collections import ConfigDict

from cnn_zoo.training.schedules import create_schedule, training_steps


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
    rates: the learning rate of each step, float32 `[total]`, on the host, so that no step waits for its own.

  Example:
    >>> from configs.lenet5 import get_config
    >>> plan = Plan(get_config(), num_train=1437)
    >>> plan.total, plan.epoch(45)
    (450, 2.004)
  """

  def __init__(self, config: ConfigDict, num_train: int):
    self._config = config
    self._steps_per_epoch = Fraction(num_train, config.batch_size)
    self._evaluation_every = Fraction(str(config.eval.every_epochs)) * self._steps_per_epoch
    self.total = training_steps(config, num_train)
    self.rates = learning_rates(config, self.total, num_train)

  def epoch(self, step: int) -> float:
    """How many epochs `step` steps are."""
    return float(step / self._steps_per_epoch)

  def due(self, step: int, stops: bool = False) -> Due:
    """What is due after `step` steps; everything is at the end, and a checkpoint where the run `stops` early."""
    last = step == self.total
    return Due(
      log=last or step % self._config.log_every_steps == 0,
      evaluate=last or step // self._evaluation_every > (step - 1) // self._evaluation_every,
      save=last or stops or step % self._config.checkpoint.every_steps == 0,
    )


def learning_rates(config: ConfigDict, total: int, num_train: int) -> np.ndarray:
  """The learning rate of each step of a run of `total` steps, float32 `[total]`."""
  schedule = create_schedule(config.schedule, config.optimizer.learning_rate, total, num_train / config.batch_size)
  return np.asarray(jax.vmap(schedule)(np.arange(total, dtype=np.int32)), np.float32)
