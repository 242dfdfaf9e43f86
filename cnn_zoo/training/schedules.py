"""Lengths of training in steps, and the learning rate of each step.

Settings count in epochs, which need not end with a batch. Epochs become steps by exact fractions: 39 epochs of 1,437
examples in batches of 117 are 479 steps, where floating point makes 480 of them.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from ml_collections import ConfigDict

from cnn_zoo.errors import UserError

SCHEDULES = ("cosine", "step", "constant")
DEPEND_ON_LENGTH = ("cosine",)  # the rate of a step depends on the length of training
MAX_STEPS = 2**31 - 1  # steps are counted in int32


def steps_per_epoch(config: ConfigDict, num_train: int) -> Fraction:
  """The number of steps in an epoch, in general a fraction.

  Args:
    config: the run's, of which batch_size is read.
    num_train: number of training examples.

  >>> steps_per_epoch(ConfigDict({"batch_size": 64}), 1440)
  Fraction(45, 2)
  """
  return Fraction(num_train, config.batch_size)


def to_steps(epochs: float, per_epoch: Fraction) -> Fraction:
  """Epochs as steps, exactly.

  Args:
    epochs: stands for the decimal number that it is written as: 0.1 is one tenth.
    per_epoch: steps in an epoch.

  >>> to_steps(2.4, Fraction(10))
  Fraction(24, 1)
  """
  return Fraction(str(epochs)) * per_epoch


def training_steps(config: ConfigDict, num_train: int) -> int:
  """The length of training: config.steps, or else config.epochs in steps, rounded up.

  Args:
    config: the run's.
    num_train: number of training examples.

  Returns:
    The number of steps.

  Raises:
    UserError: there are more than int32 counts.

  >>> training_steps(ConfigDict({"steps": None, "epochs": 39.0, "batch_size": 117}), 1437)
  479
  """
  if config.steps is not None:
    return config.steps
  steps = math.ceil(to_steps(config.epochs, steps_per_epoch(config, num_train)))
  if steps > MAX_STEPS:
    raise UserError(f"config.epochs={config.epochs} is {steps} steps of training; valid: at most {MAX_STEPS} steps")
  return steps


def create_schedule(
  settings: ConfigDict, peak: float, total_steps: int, per_epoch: Fraction
) -> Callable[[int], np.float32]:
  """The learning rate as a function of the number of steps done, computed on the host.

  Args:
    settings: config.schedule.
    peak: the learning rate after warm-up.
    total_steps: length of training; cosine reaches zero there.
    per_epoch: steps per epoch, which turns the settings' epochs into steps.

  Returns:
    A function of a whole number, from 0 to total_steps - 1, that returns float32.

  >>> settings = ConfigDict({"name": "step", "warmup_epochs": 0.0, "decay_rate": 0.5, "decay_epochs": 2.4})
  >>> rate = create_schedule(settings, 1.0, 100, Fraction(10))
  >>> [float(rate(step)) for step in (0, 23, 24, 48)]
  [1.0, 1.0, 0.5, 0.25]
  """
  warmup = round(to_steps(settings.warmup_epochs, per_epoch))
  decay_steps = to_steps(settings.decay_epochs, per_epoch)

  def cosine(step):  # Loshchilov and Hutter 2017
    done = (step - warmup) / max(total_steps - warmup, 1)
    return peak * (1 + math.cos(math.pi * min(done, 1))) / 2

  def step_decay(step):  # counted from the first step of training, as epochs are
    return peak * settings.decay_rate ** (step // decay_steps)

  def constant(step):
    return peak

  after_warmup = {"cosine": cosine, "step": step_decay, "constant": constant}[settings.name]

  def rate(step: int) -> np.float32:
    return np.float32(peak * step / warmup if step < warmup else after_warmup(step))

  return rate
