import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import DepthwiseSeparableConvolution
from cnn_zoo.layers import BatchNorm, ConvNorm, LayerNorm

X = jax.random.normal(jax.random.key(0), (2, 9, 8, 4))


def test_it_is_convolution_normalisation_and_activation():
  layer = ConvNorm(4, 6, (3, 3), strides=2, rngs=nnx.Rngs(0))
  assert (layer.conv.padding, layer.conv.bias) == ((1, 1), None) and type(layer.norm) is BatchNorm
  np.testing.assert_allclose(layer(X), jax.nn.relu(layer.norm(layer.conv(X))), atol=1e-6)
  assert layer(X).shape == (2, 5, 4, 6)


@pytest.mark.parametrize(("kernel_size", "dilation", "padding"), [((5, 1), 2, (4, 0)), ((3, 3), (1, 3), (1, 3))])
def test_only_the_strides_change_the_sizes(kernel_size, dilation, padding):
  layer = ConvNorm(4, 6, kernel_size, dilation=dilation, rngs=nnx.Rngs(0))
  assert layer.conv.padding == padding and layer(X).shape == (2, 9, 8, 6)


def test_parts_that_are_left_out_or_replaced():
  plain = ConvNorm(4, 6, (3, 3), norm=None, activation=None, rngs=nnx.Rngs(0))
  assert plain.norm is None and plain.conv.bias.shape == (6,)  # which the normalisation would have
  np.testing.assert_array_equal(plain(X), plain.conv(X))
  assert ConvNorm(4, 6, (1, 1), norm=None, use_bias=False, rngs=nnx.Rngs(0)).conv.bias is None
  inner = functools.partial(DepthwiseSeparableConvolution, multiplier=2)
  other = ConvNorm(4, 6, (3, 3), norm=LayerNorm, activation="silu", conv=inner, padding="VALID", rngs=nnx.Rngs(0))
  assert (type(other.conv), type(other.norm)) == (DepthwiseSeparableConvolution, LayerNorm)
  np.testing.assert_allclose(other(X), jax.nn.silu(other.norm(other.conv(X))), atol=1e-6)
  assert other(X).shape == (2, 7, 6, 6) and other(X.astype(jnp.bfloat16)).dtype == jnp.bfloat16
