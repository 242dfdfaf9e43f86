"""Measuring models."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.benchmarks import models
from cnn_zoo.benchmarks.report import model_table
from cnn_zoo.errors import UserError
from cnn_zoo.training.network import Network
from cnn_zoo.training.optimizers import create_optimizer


def test_models():
  lines = []
  report = models.benchmark_models(["lenet5"], batch=2, repeat=2, compare_lax=True, progress=lines.append)
  (row,) = json.loads(json.dumps(report))["models"]
  assert (row["model"], row["input_shape"], report["batch"]) == ("lenet5", [2, 32, 32, 1], 2)
  for kind in ("training", "inference"):
    ours = row[kind]["ours"]
    assert set(row[kind]) == {"lax", "ours", "ours_over_lax"}
    assert ours["images_per_second"] == pytest.approx(2e3 / ours["milliseconds"])
    assert ours["compile_seconds"] > 0 and ours["memory_bytes"] > 4 * 61_706  # at least the parameters
    assert report["geometric_means"][kind]["ours_over_lax"] == pytest.approx(row[kind]["ours_over_lax"])
  assert row["training"]["ours"]["memory_bytes"] > row["inference"]["ours"]["memory_bytes"]
  assert lines[0] == "[1/1] lenet5: compiling" and "lenet5: training, images/s: lax" in lines[1]
  line = next(line for line in model_table(report).splitlines() if "training" in line)
  assert line.split()[:3] == ["lenet5", "32x32x1", "training"]


class TwoHeads(nnx.Module):
  """Auxiliary logits in training, as GoogLeNet."""

  def __init__(self):
    self.weight = nnx.Param(jnp.ones((3, 4)))
    self.mean = nnx.BatchStat(jnp.zeros(3))

  def __call__(self, x):
    self.mean.set_value(x.mean(0))
    return x @ self.weight[...], (x @ -self.weight[...],)


def test_training_step():
  """Loss with auxiliary heads, statistics and momentum, one step after another."""
  network = Network(TwoHeads())
  optimizer = create_optimizer(models.OPTIMIZER, 0.1)
  step = jax.jit(models.training_step(network, optimizer))
  x, labels = jax.random.normal(jax.random.key(0), (5, 3)), jnp.array([0, 1, 2, 3, 0])
  state = (network.params, network.batch_stats, optimizer.init(network.params), 0)
  losses = []
  for _ in range(3):
    state, loss = step(state, x, labels)
    losses.append(float(loss))
  assert losses[0] == pytest.approx(1.3 * math.log(4))  # all logits of an example are equal
  assert losses[2] < losses[1] < losses[0] and state[3] == 3
  assert np.allclose(state[1]["mean"], x.mean(0))


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: models.benchmark_models(["lenet6"]), "model='lenet6' is not known; did you mean lenet5"),
    (lambda: models.benchmark_models(["lenet5"], batch=0), "batch=0 must be at least 1"),
    (lambda: models.benchmark_models(["lenet5"], size=0), "size=0 must be at least 1"),
    (lambda: models.benchmark_models(["lenet5"], size=9), "model lenet5 does not take an input of 9x9x1: input"),
  ],
)
def test_mistakes(call, message):
  with pytest.raises(UserError, match=message) as error:
    call()
  assert "\n" not in str(error.value)
