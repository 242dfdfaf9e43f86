"""Learning rate by step."""

import math
from fractions import Fraction

import jax
import optax
from ml_collections import ConfigDict

from cnn_zoo.errors import UserError, check_name

SCHEDULES = ("cosine", "step", "constant")


def create_schedule(settings: ConfigDict, peak: float, total_steps: int, steps_per_epoch: float) -> optax.Schedule:
  """The learning rate as a function of the step.

  Args:
    settings: config.schedule.
    peak: the learning rate after warm-up.
    total_steps: length of training; cosine reaches zero there.
    steps_per_epoch: turns the settings' epochs into steps.
  """
  check_name("config.schedule.name", settings.name, SCHEDULES)
  warmup = round(settings.warmup_epochs * steps_per_epoch)
  if warmup < 0:
    raise UserError(f"config.schedule.warmup_epochs={settings.warmup_epochs} must not be below 0")
  if settings.name == "cosine":
    main = optax.cosine_decay_schedule(peak, max(total_steps - warmup, 1))
  elif settings.name == "step":
    if settings.decay_epochs <= 0:
      raise UserError(f"config.schedule.decay_epochs={settings.decay_epochs} must be above 0")
    every = settings.decay_epochs * steps_per_epoch

    def main(step):  # counted from the first step of training, as epochs are
      return peak * settings.decay_rate ** ((step + warmup) // every)

  else:
    main = optax.constant_schedule(peak)
  if warmup:
    main = optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])
  return jax.jit(main)


def training_steps(config: ConfigDict, num_train: int) -> int:
  """The number of steps of a run."""
  epochs = Fraction(str(config.epochs))
  return config.steps if config.steps is not None else math.ceil(epochs * num_train / config.batch_size)
