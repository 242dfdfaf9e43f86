"""Lengths of training, and learning rates at chosen steps."""

import math
from fractions import Fraction

import numpy as np
import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.training.schedules import create_schedule, steps_per_epoch, to_steps, training_steps
from cnn_zoo.training.settings import default_config

PEAK, TOTAL, EPOCH = 0.4, 100, Fraction(10)


def schedule(per_epoch=EPOCH, **changes):
  settings = default_config().schedule
  settings.update(changes)
  return create_schedule(settings, PEAK, TOTAL, per_epoch)


def length(epochs, batch_size, steps=None):
  config = default_config()
  config.update(epochs=epochs, batch_size=batch_size, steps=steps)
  return config


@pytest.mark.parametrize(
  ("epochs", "batch_size", "num_train", "expected"),
  [
    (39.0, 117, 1437, 479),  # a floating-point product is a little more, and its ceiling 480
    (15.0, 24, 50_000, 31_250),
    (2.4, 10, 100, 24),
    (0.1, 3, 30, 1),
    (1.0, 64, 1437, 23),  # the last batch goes on into the next epoch
    (0.001, 64, 1437, 1),
  ],
)
def test_training_steps(epochs, batch_size, num_train, expected):
  assert training_steps(length(epochs, batch_size), num_train) == expected


def test_steps_come_before_epochs():
  assert training_steps(length(39.0, 117, steps=7), 1437) == 7


def test_more_steps_than_are_counted():
  with pytest.raises(
    UserError, match=r"config\.epochs=1000000\.0 is 1000000000000 steps of training; valid: at most 2"
  ):
    training_steps(length(1e6, 1), 1_000_000)


@pytest.mark.parametrize(
  ("epochs", "batch_size", "num_train"), [(39.0, 117, 1437), (15.0, 24, 50_000), (0.3, 64, 1437)]
)
def test_periods_end_at_the_exact_step(epochs, batch_size, num_train):
  """As the loop asks: evaluation k is at the first step that completes k periods."""
  period = to_steps(epochs, steps_per_epoch(length(1.0, batch_size), num_train))
  ends = [step for step in range(1, 2 * math.ceil(period) + 1) if step // period > (step - 1) // period]
  exact = Fraction(str(epochs)) * num_train / batch_size
  assert ends == [math.ceil(exact), math.ceil(2 * exact)]


def test_warmup_and_cosine():
  rate = schedule(name="cosine", warmup_epochs=2.0)
  assert [float(rate(step)) for step in (0, 5, 10, 20)] == pytest.approx([0, PEAK / 4, PEAK / 2, PEAK])
  assert float(rate(60)) == pytest.approx(PEAK / 2)
  assert float(rate(40)) == pytest.approx(PEAK * (1 + math.cos(math.pi / 4)) / 2)
  assert float(rate(99)) > 0
  assert float(rate(100)) == pytest.approx(0, abs=1e-8)


def test_cosine_without_warmup():
  rate = schedule(name="cosine", warmup_epochs=0.0)
  assert [float(rate(step)) for step in (0, 50, 100)] == pytest.approx([PEAK, PEAK / 2, 0], abs=1e-7)


def test_steps_are_counted_from_the_start_of_training():
  rate = schedule(name="step", decay_rate=0.5, decay_epochs=3.0, warmup_epochs=2.0)
  expected = {10: PEAK / 2, 20: PEAK, 29: PEAK, 30: PEAK / 2, 59: PEAK / 2, 60: PEAK / 4, 99: PEAK / 8}
  assert {step: float(rate(step)) for step in expected} == pytest.approx(expected)


def test_fraction_of_an_epoch():
  """The paper's EfficientNets decay every 2.4 epochs."""
  rate = schedule(name="step", decay_rate=0.97, decay_epochs=2.4, warmup_epochs=0.0)
  assert [float(rate(step)) for step in (23, 24, 47, 48)] == pytest.approx(
    [PEAK, PEAK * 0.97, PEAK * 0.97, PEAK * 0.97**2]
  )


def test_the_rate_falls_at_the_exact_step():
  """39 epochs of 1,437 examples in batches of 117 are 479 steps; a floating-point product is a little more."""
  rate = schedule(Fraction(1437, 117), name="step", decay_rate=0.5, decay_epochs=39.0)
  assert [float(rate(step)) for step in (478, 479, 957, 958)] == pytest.approx([PEAK, PEAK / 2, PEAK / 2, PEAK / 4])


def test_constant():
  rate = schedule(name="constant", warmup_epochs=1.0)
  assert [float(rate(step)) for step in (0, 5, 10, 99)] == pytest.approx([0, PEAK / 2, PEAK, PEAK])


@pytest.mark.parametrize("name", ["cosine", "step", "constant"])
def test_rates_are_float32(name):
  """Whatever JAX_ENABLE_X64 says, as the compiled step takes them."""
  rate = schedule(name=name, warmup_epochs=1.0)
  assert {type(rate(step)) for step in (0, 5, 10, 50)} == {np.float32}
