import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model
from tests.helpers.members import FULLY_CONNECTED, Member, ranks
from tests.helpers.model_checks import evaluated, images, traced_shape

MEMBERS = {
  "zfnet": Member(ranks(47), FULLY_CONNECTED, quick=False),
}
FEATURES = {
  "ZFNet": "conv1 4, conv2 16, conv3 16, conv4 16, conv5 32",
}

TINY = {"num_classes": 5, "hidden_features": 16}


def test_figure_3():
  table = describe(abstract_model("zfnet"), (224, 224, 3))
  sizes = [(7, 3, 96), (5, 96, 256), (3, 256, 384), (3, 384, 384), (3, 384, 256)]
  assert [row.parameters for row in table.rows[:5]] == [k * k * inputs * out + out for k, inputs, out in sizes]
  assert [row.strides[0] for row in table.rows[:5]] == [2, 2, 1, 1, 1]
  assert [row.output_shape for row in table.rows] == [
    *((110, 110, 96), (26, 26, 256), (13, 13, 384), (13, 13, 384), (13, 13, 256)),
    *((4096,), (4096,), (1000,)),
  ]
  assert table.rows[5].parameters == 6 * 6 * 256 * 4096 + 4096
  assert table.parameters == 62_357_608


def test_maps_between_the_layers():
  """110 -> 55 and 26 -> 13 by pooling; then contrast normalisation, which makes every number smaller."""
  model = create_model("zfnet", rngs=nnx.Rngs(0), **TINY)
  seen = []
  for index, convolution in enumerate(model.convolutions):
    kind = type(convolution)

    def call(self, x, kind=kind):
      seen.append(x)
      return kind.__call__(self, x)

    object.__setattr__(convolution, "__class__", type(f"Seen{index}", (kind,), {"__call__": call}))
  model.eval()
  x = images(224, 224, batch=1)
  model(x)
  assert [y.shape[1] for y in seen] == [224, 55, 13, 13, 13]
  first = np.pad(jax.nn.relu(model.convolutions[0](x)), [(0, 0), (0, 1), (0, 1), (0, 0)], constant_values=-np.inf)
  pooled = np.lib.stride_tricks.sliding_window_view(first, (3, 3), (1, 2))[:, ::2, ::2].max((-2, -1))
  near = np.pad(pooled**2, [(0, 0)] * 3 + [(2, 2)])
  sums = sum(near[..., i : i + 96] for i in range(5))
  np.testing.assert_allclose(seen[1], pooled / (2 + 1e-4 * sums) ** 0.75, rtol=1e-5)


def test_initial_values():
  """Section 3: all weights of deviation 0.01, biases of 0."""
  model = create_model("zfnet", hidden_features=64, rngs=nnx.Rngs(0))
  for layer in [*model.convolutions, *model.head.hidden, model.head.classifier]:
    assert np.std(layer.kernel[...]) == pytest.approx(0.01, rel=0.03)
    assert not np.any(layer.bias[...])


def test_dropout_of_layers_6_and_7():
  model = create_model("zfnet", rngs=nnx.Rngs(0), **TINY)
  assert [dropout.rate for dropout in model.head.dropouts] == [0.5, 0.5]
  assert not model.head.dropout_first
  x = images(64, 64, batch=2)
  assert np.abs(model(x) - model(x)).max() > 0
  model.eval()
  np.testing.assert_array_equal(model(x), model(x))


def test_another_size_and_one_channel():
  model = create_model("zfnet", in_channels=1, rngs=nnx.Rngs(0), **TINY)
  logits = evaluated(model, images(50, 90, batch=3, channels=1))
  assert logits.shape == (3, 5) and np.isfinite(logits).all() and np.ptp(logits, 0).min() > 0


@pytest.mark.parametrize("sizes", [(224,), (50, 60, 70)])
def test_other_ranks(sizes):
  assert traced_shape("zfnet", 2, *sizes, 2, rank=len(sizes), **TINY) == (2, 5)


def test_too_small():
  with pytest.raises(UserError, match="is too small for"):
    traced_shape("zfnet", 1, 20, 20, 3, **TINY)
