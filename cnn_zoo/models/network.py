"""What all models have in common: named feature maps, and the logits of the last one."""

from collections import OrderedDict
from collections.abc import Iterable

import jax
from flax import nnx

from cnn_zoo.layers import run_blocks


class Network(nnx.Module):
  """A model: `features` computes the maps of its stages, and `logits` classifies the last one.

  Args:
    num_classes: width of the logits. None leaves the classifier out: the model then returns its features.
    dtype: what the model computes in.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from cnn_zoo import create_model
    >>> model = create_model("lenet5", num_classes=10, in_channels=1, rngs=nnx.Rngs(0))
    >>> {name: x.shape for name, x in model.features(jnp.ones((2, 32, 32, 1))).items()}
    {'s2': (2, 14, 14, 6), 's4': (2, 5, 5, 16), 'c5': (2, 1, 1, 120)}
    >>> model(jnp.ones((2, 32, 32, 1))).shape
    (2, 10)
  """

  def __init__(self, num_classes: int | None, dtype):
    self.num_classes, self.dtype = num_classes, dtype

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """The maps of the stages by name, in the order in which they are computed.

    Args:
      x: [batch, *spatial, in_channels].

    Returns:
      {name: map [batch, *spatial / reduction, channels]}. The class of each model lists the names. A map's reduction is
      the product of the strides up to it; `jax.eval_shape` gives the shapes for an input without computing them.
    """
    raise NotImplementedError

  def logits(self, x: jax.Array) -> jax.Array:
    """The classifier: the last map of `features` -> logits [batch, num_classes], float32."""
    raise NotImplementedError

  def __call__(self, x: jax.Array) -> jax.Array | OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes], or without a classifier the features."""
    maps = self.features(x)
    return maps if self.num_classes is None else self.logits(last(maps))


def last(maps: OrderedDict[str, jax.Array]) -> jax.Array:
  """The last map of `features`."""
  return maps[next(reversed(maps))]


def run_stages(
  maps: OrderedDict[str, jax.Array], blocks: Iterable[nnx.Module], layers: Iterable[int], *, remat: bool = False
) -> OrderedDict[str, jax.Array]:
  """`maps` and, as "stage1", "stage2" and so on, those of the stages that follow.

  Args:
    maps: the last of them is the input of the first block.
    blocks: of all stages, one after another.
    layers: the number of blocks in each stage.
    remat: as `run_blocks` takes it.
  """
  blocks, x = iter(blocks), last(maps)
  for number, count in enumerate(layers, start=1):
    x = run_blocks([next(blocks) for _ in range(count)], x, remat=remat)
    maps[f"stage{number}"] = x
  return maps
