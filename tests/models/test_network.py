"""What all models have in common."""

from collections import OrderedDict

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.models.network import Network, last, run_stages


class Half(nnx.Module):
  def __call__(self, x):
    return x[:, ::2]


class Tiny(Network):
  def features(self, x):
    return run_stages(OrderedDict(stem=x), [Half(), Half(), Half()], (1, 2))

  def logits(self, x):
    return x.sum((1, 2))[:, None] * jnp.ones(self.num_classes)


@pytest.mark.parametrize("remat", [False, True])
def test_stages(remat):
  """Each has as many blocks as `layers` says, and starts from the map before it."""
  maps = run_stages(OrderedDict(stem=jnp.ones((1, 16, 2))), [Half() for _ in range(4)], (1, 3), remat=remat)
  assert [(name, x.shape) for name, x in maps.items()] == [
    ("stem", (1, 16, 2)),
    ("stage1", (1, 8, 2)),
    ("stage2", (1, 1, 2)),
  ]
  assert last(maps) is maps["stage2"]


def test_logits_are_of_the_last_map_and_features_replace_them():
  x = jnp.ones((2, 16, 2))
  np.testing.assert_array_equal(Tiny(3, jnp.float32)(x), np.full((2, 3), 4.0))
  maps = Tiny(None, jnp.float32)(x)
  assert list(maps) == ["stem", "stage1", "stage2"] and maps["stage2"].shape == (2, 2, 2)
