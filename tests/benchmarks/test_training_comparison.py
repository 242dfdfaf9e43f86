"""The comparison of training steps, as far as it can be tested without PyTorch."""

import importlib.util
import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from cnn_zoo import create_model
from cnn_zoo.benchmarks import training_comparison
from cnn_zoo.benchmarks.training_comparison import Comparison, compare_training, our_losses, photo_batch, verdict
from cnn_zoo.convolutions import lowering
from cnn_zoo.errors import UserError


def test_table_and_verdict():
  near = Comparison("resnet18", [2.0, 1.0], [2.0, 1.0009])
  far = Comparison("convnext_tiny", [2.0, 1.0], [1.99, 1.0])
  assert near.differences == pytest.approx([0, 9e-4]) and near.same
  assert far.largest == pytest.approx(5e-3) and not far.same
  assert near.to_text().splitlines() == [
    "resnet18     torch      ours  difference",
    "----------------------------------------",
    "1         2.000000  2.000000     0.0e+00",
    "2         1.000000  1.000900     9.0e-04",
  ]
  assert verdict([near, far]) == "largest difference: resnet18 9.0e-04, convnext_tiny 5.0e-03"


def test_nan_is_not_the_same():
  broken = Comparison("resnet18", [2.0, 1.0, 1.0], [2.0, math.nan, 1.0])
  assert math.isnan(broken.largest) and not broken.same


def test_batch():
  x, labels = photo_batch(examples=6, size=32)
  assert (x.shape, x.dtype, labels.shape, labels.dtype) == ((6, 32, 32, 3), np.float32, (6,), np.int32)
  assert -2 <= x.min() < -1 and 1 < x.max() <= 2 and x.std() > 0.5
  assert all(np.array_equal(a, b) for a, b in zip((x, labels), photo_batch(6, 32), strict=True))


def test_our_losses():
  """The first is that of the model without dropout, and steps make it fall."""
  x, labels = batch = photo_batch(examples=4, size=64)
  model = create_model("alexnet", num_classes=10, hidden_features=32, rngs=nnx.Rngs(params=0, dropout=0))
  model.eval()
  with lowering("lax"):  # compiles fastest
    entropy = optax.softmax_cross_entropy_with_integer_labels(nnx.jit(model)(jnp.asarray(x)), jnp.asarray(labels))
    losses = our_losses("alexnet", None, batch, 4, 0.01, hidden_features=32)
  assert losses[0] == pytest.approx(float(entropy.mean()), rel=1e-5)
  assert losses[3] < losses[2] < losses[1] < losses[0]


def test_mistakes(monkeypatch):
  for names, steps, says in [(["vgg16"], 1, "model='vgg16' is not known; valid: "), (["resnet18"], 0, "steps=0 must")]:
    with pytest.raises(UserError, match=says):
      compare_training(names, steps)
  for absent, says in [({"torch", "torchvision"}, "torch and torchvision"), ({"torchvision"}, "torchvision")]:
    find = lambda name, absent=absent: None if name in absent else True  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(UserError, match=f"^{says} cannot be found; valid: .*$") as error:
      training_comparison.import_torch()
    assert "\n" not in str(error.value)
