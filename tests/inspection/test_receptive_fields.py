"""Receptive fields against what really reaches an output: a NaN in the input makes all that depends on it NaN."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_convolution, create_model, describe
from cnn_zoo.convolutions import lowering
from cnn_zoo.inspection.receptive_fields import Axis, Walk, whole_input
from cnn_zoo.inspection.tracing import trace
from cnn_zoo.layers import adaptive_average_pool, average_pool, global_average_pool, max_pool, run_blocks
from cnn_zoo.models import abstract_model, convnext, densenet, googlenet, resnet, resnetv2, xception
from cnn_zoo.models.efficientnet import MBConv

RNGS = nnx.Rngs(0)
CHANNELS = 4
ONE = {"rank": 1, "rngs": RNGS}


class Chain(nnx.Module):
  """Modules and functions one after another."""

  def __init__(self, *parts):
    self.layers = nnx.List([part for part in parts if isinstance(part, nnx.Module)])
    self.functions = tuple(None if isinstance(part, nnx.Module) else part for part in parts)

  def __call__(self, x):
    layers = iter(self.layers)
    for function in self.functions:
      x = next(layers)(x) if function is None else function(x)
    return x


def conv(name="standard", kernel=3, channels=CHANNELS, **options):
  return create_convolution(name, CHANNELS, channels, (kernel,), rngs=RNGS, **options)


def pool(function, window, strides, **options):
  return lambda x: function(x, (window,) * (x.ndim - 2), strides, **options)


def reached(model, shape, axis):
  """bool [input positions along that axis, output positions along it, or 1]: whether the one reaches the other."""
  model.eval()
  each = [shape[axis], *(shape[axis] if i == axis else 1 for i in range(len(shape)))]
  bad = np.where(np.eye(shape[axis], dtype=bool), np.nan, 0).reshape(each)
  with lowering("lax"):  # the others compute with sums of inputs
    y = np.isnan(jax.jit(model)(jnp.full((shape[axis], *shape), 0.1) + bad))
  kept = (0, axis + 1) if y.ndim == len(shape) + 1 else (0,)
  return y.any(tuple(i for i in range(y.ndim) if i not in kept)).reshape(shape[axis], -1)


def check(model, shape):
  """What each element of the output sees: exactly that if it sees no padding, otherwise no more than that."""
  _, view = trace(model, shape)
  for number, axis in enumerate(view.axes):
    seen, size = reached(model, shape, number), shape[number]
    some, first, last = seen.any(0), seen.argmax(0), size - 1 - seen[::-1].argmax(0)
    inside = np.isfinite(axis.first) & (axis.first >= 0) & (axis.last < size)
    assert inside.any() and some[inside].all() and not some[np.isinf(axis.first)].any()
    assert (axis.first[inside] == first[inside]).all() and (axis.last[inside] == last[inside]).all()
    assert (axis.first[some] <= first[some]).all() and (axis.last[some] >= last[some]).all()
    assert axis.width >= (last - first)[some].max() + 1


CASES = {
  "strides and kernels": (conv(kernel=5, strides=2), conv(padding="VALID"), conv(kernel=4, strides=3)),
  "a stride beyond the kernel": (conv(kernel=1, strides=2), conv(kernel=2, strides=3)),
  "dilation": (conv("dilated"), conv("dilated", dilation=3, strides=2), conv()),
  "causal": (conv(padding="CAUSAL"), conv(padding="CAUSAL", dilation=4)),
  "grouped": (conv("grouped"), conv("depthwise", strides=2)),
  "separable": (conv("depthwise_separable", strides=2), conv("spatially_separable"), conv("inverted_bottleneck")),
  "maximum": (pool(max_pool, 3, 2, padding=1), conv(), pool(max_pool, 2, 2, ceil_mode=True)),
  "maximum of a large window": (conv(), pool(max_pool, 33, 3)),
  "mean": (conv(strides=2), pool(average_pool, 3, 1, padding=1), pool(average_pool, 2, 2)),
  "cells of unequal size": (conv(), lambda x: adaptive_average_pool(x, 7)),
  "more cells than elements": (conv(strides=4), lambda x: adaptive_average_pool(x, 19), conv()),
  "all positions": (conv(kernel=5, strides=2, padding="VALID"), global_average_pool),
  "flattened": (conv(strides=2, padding="VALID"), lambda x: x.reshape(x.shape[0], -1)),
  "transposed": (conv("transposed", kernel=4, strides=2, padding=1), conv()),
  "transposed with holes": (conv("transposed", kernel=2, strides=3, padding=0),),
  "transposed and dilated": (conv("transposed", strides=2, dilation=2, padding=1, output_padding=1),),
  "down and up": (conv(strides=2), conv(), conv("transposed", strides=2)),
  "united at different places": (lambda x: jnp.concatenate([x[:, 3:], x[:, :-3]], -1)[..., 2:6], conv(strides=2)),
  "reversed": (conv(padding="CAUSAL"), lambda x: x[:, ::-1], conv(padding="CAUSAL", strides=2)),
  "cut and padded": (conv(), lambda x: jnp.pad(x[:, 4:-4:2], ((0, 0), (2, 1), (0, 0))), conv()),
  "split and joined": (conv(), lambda x: jnp.concatenate(jnp.split(x, 2, 1)[::-1], -1)[..., 2:6], conv()),
  "end to end": (conv(), lambda x: jnp.concatenate([x[:, :9], x[:, 20:]], 1), conv()),
  "another order of dimensions": (conv(), lambda x: jnp.moveaxis(jnp.moveaxis(x, -1, 1)[..., ::2], 1, -1), conv()),
  "in two loops": (conv(), lambda x: jax.lax.fori_loop(0, 2, lambda _, y: y + y.mean(1, keepdims=True), x)),
  "a running sum": (conv(strides=4), lambda x: jnp.cumsum(x[:, :4], 1)[:, -1]),
  "an image-wide mean beside it": (conv(), lambda x: jnp.concatenate([x, 0 * x + x.mean(1, keepdims=True)], -1)),
  "a basic block": (resnet.BasicBlock(CHANNELS, 6, 2, **ONE), resnet.BasicBlock(6, 6, **ONE)),
  "a bottleneck": (resnet.Bottleneck(CHANNELS, 2, 2, **ONE), resnet.Bottleneck(8, 2, dilations=(2, 2), **ONE)),
  "pre-activation": (resnetv2.PreActivationBottleneck(CHANNELS, 1, 2, **ONE),),
  "inception": (
    googlenet.Inception(
      CHANNELS, googlenet.Channels(1, 2, 2, 2, 2, 2), version=googlenet.VERSIONS["googlenet_paper"], **ONE
    ),
    pool(max_pool, 3, 2, ceil_mode=True),
  ),
  "dense": (densenet.DenseBlock(CHANNELS, 2, 3, remat=False, **ONE), densenet.Transition(10, 5, **ONE)),
  "xception": (xception.Block(CHANNELS, (4, 6), stride=2, **ONE), xception.Block(6, (6, 6), stride=1, **ONE)),
  "convnext": (
    convnext.Block(CHANNELS, layer_scale=1.0, stochastic_depth_rate=0.0, **ONE),
    convnext.Downsampling(CHANNELS, 6, **ONE),
  ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_reaches_an_output(case):
  check(Chain(*CASES[case]), (49 if "flattened" in case else 48, CHANNELS))
