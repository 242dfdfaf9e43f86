"""Learning rates at chosen steps."""

import math

import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.training.schedules import create_schedule
from configs import base

PEAK, TOTAL, EPOCH = 0.4, 100, 10.0


def schedule(**changes):
  settings = base.get_config().schedule
  settings.update(changes)
  return create_schedule(settings, PEAK, TOTAL, EPOCH)


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


def test_constant():
  rate = schedule(name="constant", warmup_epochs=1.0)
  assert [float(rate(step)) for step in (0, 5, 10, 99)] == pytest.approx([0, PEAK / 2, PEAK, PEAK])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"name": "cosin"}, r"config\.schedule\.name='cosin' is not known; did you mean cosine\?"),
    ({"warmup_epochs": -1.0}, r"config\.schedule\.warmup_epochs=-1\.0 must not be below 0"),
    ({"name": "step", "decay_epochs": 0.0}, r"config\.schedule\.decay_epochs=0\.0 must be above 0"),
  ],
)
def test_mistakes(changes, message):
  with pytest.raises(UserError, match=message):
    schedule(**changes)
