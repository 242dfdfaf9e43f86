"""Receptive fields compared with propagated NaNs: a NaN in the input makes every output that depends on it NaN."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_convolution, create_model, describe
from cnn_zoo.convolutions import lowering
from cnn_zoo.describe.receptive_fields import Walk
from cnn_zoo.describe.tracing import trace
from cnn_zoo.describe.views import whole_input
from cnn_zoo.layers import (
  ConvNorm,
  adaptive_average_pool,
  average_pool,
  global_average_pool,
  max_pool,
  pooling,
  resize,
  run_blocks,
)
from cnn_zoo.layers.shifted_max_pool import shifted_max_pool
from cnn_zoo.layers.upsampling import INTERPOLATIONS
from cnn_zoo.models import abstract_model, convnext, densenet, googlenet, resnet, resnetv2, xception
from cnn_zoo.models.efficientnet import MBConv, unit_of

RNGS = nnx.Rngs(0)
CHANNELS = 4
ONE = {"rank": 1, "rngs": RNGS}


class Chain(nnx.Module):
  """Modules and functions in sequence."""

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
  # Other convolutions compute with sums of inputs, and XLA's own maximum over windows loses NaN on a CPU.
  with lowering("lax"), mock.patch.object(pooling, "choose", lambda *_: shifted_max_pool):
    y = np.isnan(jax.jit(model)(jnp.full((shape[axis], *shape), 0.1) + bad))
  kept = (0, axis + 1) if y.ndim == len(shape) + 1 else (0,)
  return y.any(tuple(i for i in range(y.ndim) if i not in kept)).reshape(shape[axis], -1)


def check(model, shape):
  """What each element of the output sees: exactly that if it sees no padding, otherwise no more than that."""
  _, view = trace(model, shape)
  for number, axis in enumerate(view.axes):
    seen, size = reached(model, shape, number), shape[number]
    some, first, last = seen.any(0), seen.argmax(0), size - 1 - seen[::-1].argmax(0)
    ours = [np.broadcast_to(side, some.shape) for side in (axis.first, axis.last)]
    inside = np.isfinite(ours[0]) & (ours[0] >= 0) & (ours[1] < size)
    assert inside.any() and some[inside].all() and not some[np.isinf(ours[0])].any()
    assert (ours[0][inside] == first[inside]).all() and (ours[1][inside] == last[inside]).all()
    assert (ours[0][some] <= first[some]).all() and (ours[1][some] >= last[some]).all()
    assert axis.width == (last - first)[inside].max() + 1


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
  "cut": (conv(), lambda x: x[:, 4:-4:2], conv(padding="VALID")),
  "padded": (conv(strides=2), lambda x: jnp.pad(x, ((0, 0), (3, 1), (0, 0))), conv(padding="VALID")),
  "split and joined": (conv(), lambda x: jnp.concatenate(jnp.split(x, 2, 1)[::-1], -1)[..., 2:6], conv()),
  "end to end": (conv(), lambda x: jnp.concatenate([x[:, :9], x[:, 20:]], 1), conv()),
  "another order of dimensions": (conv(), lambda x: jnp.moveaxis(jnp.moveaxis(x, -1, 1)[..., ::2], 1, -1), conv()),
  "in two loops": (
    conv(padding="VALID"),
    lambda x: jax.lax.fori_loop(0, 2, lambda _, y: y + y.mean(1, keepdims=True), x),
  ),
  "a running sum": (conv(strides=4), lambda x: jnp.cumsum(x[:, :4], 1)[:, -1]),
  "an image-wide mean concatenated": (
    conv(padding="VALID"),
    lambda x: jnp.concatenate([x, 0 * x + x.mean(1, keepdims=True)], -1),
  ),
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


def test_other_ranks():
  plane = create_convolution("standard", 2, 3, (5, 3), strides=(1, 2), dilation=(1, 2), padding="VALID", rngs=RNGS)
  check(Chain(plane, pool(max_pool, 3, 2, padding=1), pool(average_pool, 2, 1)), (15, 24, 2))
  check(Chain(plane, lambda x: max_pool(x, (7, 5), 1)), (13, 20, 2))  # large windows are computed in another way
  options = {"split": "2+1", "strides": (1, 2, 1), "padding": "VALID"}
  space = create_convolution("spatially_separable", 1, 2, (3, 3, 3), rngs=RNGS, **options)
  check(Chain(space, pool(max_pool, 2, 2), lambda x: adaptive_average_pool(x, (2, 2, 3))), (8, 13, 13, 1))


@pytest.mark.parametrize("name", ["lenet5", "lenet_maxpool"])
def test_whole_networks(name):
  """Up to the logits, behind reshapes and means."""
  size = 35 if name == "lenet5" else 33
  check(create_model(name, num_classes=2, in_channels=1, rngs=RNGS), (size, size, 1))


def test_gates_do_not_count():
  block = {"kernel": 5, "stride": 2, "expansion": 2, "unit": unit_of(rngs=RNGS), "stochastic_depth_rate": 0.0, **ONE}
  gated, plain = Chain(MBConv(CHANNELS, 6, **block), conv_of(6)), Chain(MBConv(CHANNELS, 6, **block), conv_of(6))
  plain.layers[0].excite = Chain()
  steps, view = trace(gated, (48, CHANNELS))
  _, without = trace(plain, (48, CHANNELS))
  assert view.gated and not without.gated
  assert view.receptive_field == without.receptive_field == (5 + 2 * 2,) and view.depth == without.depth == 4
  check(plain, (48, CHANNELS))
  assert reached(gated, (48, CHANNELS), 0).all()  # what the gate lets through
  inner = {step.path: step.view for step in steps}["layers.0.excite.expand"]
  assert inner.receptive_field == (5 + 23 * 2,)  # the means over the map of 24


def test_a_gate_of_several_statistics():
  def scale(x):
    mean, largest = x.mean(1, keepdims=True), x.max(1, keepdims=True)
    return x * jax.nn.sigmoid(jnp.concatenate([mean[..., :2], largest[..., 2:]], -1))

  _, view = trace(Chain(conv(), scale, conv()), (48, CHANNELS))
  assert view.gated and view.receptive_field == (5,)


@pytest.mark.parametrize(("before", "after"), [(9, 18), (7, 21), (8, 12), (12, 8)])
@pytest.mark.parametrize("method", INTERPOLATIONS)
def test_interpolation(before, after, method):
  def enlarge(x):
    return resize(x, after, method)

  _, alone = trace(Chain(enlarge), (before, CHANNELS))
  _, behind = trace(Chain(conv(), enlarge, conv()), (before, CHANNELS))
  for chain, view in (((enlarge,), alone), ((conv(), enlarge, conv()), behind)):
    x = jnp.zeros((1, before, CHANNELS))
    seen = np.abs(jax.jacobian(lambda x, c=chain: functools.reduce(lambda y, f: f(y), c, x)[0, :, 0])(x))
    seen = seen[:, 0].sum(-1) > 0  # [after, before]
    first, last = seen.argmax(1), before - 1 - seen[:, ::-1].argmax(1)
    axis = view.axes[0]
    assert (axis.first <= first).all() and (axis.last >= last).all()
    if method == "nearest":
      np.testing.assert_array_equal(np.clip([axis.first, axis.last], 0, before - 1), [first, last])
    assert axis.width <= (last - first).max() + 2


def conv_of(features):
  return create_convolution("standard", features, 3, (3,), rngs=RNGS)


def layer_fields(name, **options):
  table = describe(abstract_model(name, **options), (224, 224, 3))
  return {row.path: row.receptive_field for row in table.layers}


def test_published():
  """Araujo et al. 2019, Computing Receptive Fields of Convolutional Neural Networks, table 1, and VGG's conv5."""
  alexnet = layer_fields("alexnet")
  assert (alexnet["convolutions.4"], alexnet["max_pool_3"]) == ((163, 163), (195, 195))
  vgg = layer_fields("vgg16")
  assert (vgg["stages.4.units.2.conv"], vgg["stages.4.max_pool"]) == ((196, 196), (212, 212))
  assert layer_fields("mobilenet_v1")["blocks.12.norm"] == (315, 315)


class Slim(nnx.Module):
  """The trunk of a ResNet whose stages end with their stride, as in TensorFlow's slim, of which 483 is published."""

  def __init__(self, layers, rngs):
    self.stem = ConvNorm(3, 4, (7, 7), strides=2, norm=None, activation=None, rngs=rngs)
    self.blocks, features = nnx.List(), 4
    for stage, count in enumerate(layers):
      for layer in range(count):
        stride = 2 if layer == count - 1 and stage < 3 else 1
        self.blocks.append(resnet.Bottleneck(features, 2, stride, rank=2, rngs=rngs))
        features = self.blocks[-1].out_channels

  def __call__(self, x):
    return run_blocks(self.blocks, max_pool(self.stem(x), (3, 3), 2, 1))


@pytest.mark.parametrize(("depth", "slim", "torchvision"), [(50, 483, 427), (101, 1027, 971), (152, 1507, 1451)])
def test_published_resnets(depth, slim, torchvision):
  model = nnx.eval_shape(lambda: Slim(resnet.LAYERS[depth], nnx.Rngs(0)))
  assert trace(model, (224, 224, 3))[1].receptive_field == (slim, slim)
  ours = describe(abstract_model(f"resnet{depth}"), (224, 224, 3))
  assert ours.stages[-3].receptive_field == (torchvision, torchvision) and ours.depth == depth


def test_the_size_of_the_input_does_not_matter():
  """Even where maps are smaller than kernels."""
  for name in ("resnet18", "xception", "densenet121"):
    fields = [[s.receptive_field for s in describe(abstract_model(name), (n, n, 3)).stages[:-2]] for n in (96, 299)]
    assert fields[0] == fields[1]


def test_a_program_without_the_input():
  walk = Walk(["max_pool"])
  program = jax.make_jaxpr(lambda x, y: (max_pool(x, (2,), 2), x.sum() + y))(jnp.ones((1, 4, 1)), jnp.ones((1, 6, 2)))
  pooled, total = walk.run(program.jaxpr, [None, whole_input((1, 6, 2))])
  assert pooled is None and walk.events[0].view is None
  assert total.receptive_field == (1,) and total.axes[0].dim == 1
