"""What convolutions are measured by."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np


def reference(x, kernel, strides, padding, dilation, groups, g=None):
  """The convolution by its definition, in float64, and, given the output's cotangent, both gradients."""
  rank, multiplier = len(strides), kernel.shape[-1] // groups
  padded = np.pad(x, [(0, 0), *padding, (0, 0)]).astype(np.float64)
  sizes = [
    (n - d * (k - 1) - 1) // s + 1
    for n, k, s, d in zip(padded.shape[1:-1], kernel.shape[:rank], strides, dilation, strict=True)
  ]
  y = np.zeros((x.shape[0], *sizes, groups, multiplier))
  padded = padded.reshape(*padded.shape[:-1], groups, -1)
  grouped = kernel.reshape(*kernel.shape[:-1], groups, multiplier).astype(np.float64)  # [*taps, in, groups, out]
  dx, dkernel = np.zeros_like(padded), np.zeros_like(grouped)
  if g is not None:
    g = g.reshape(-1, groups, multiplier).astype(np.float64)
  for tap in itertools.product(*map(range, kernel.shape[:rank])):
    places = [
      slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in zip(tap, dilation, strides, sizes, strict=True)
    ]
    window = (slice(None), *places)
    y += np.einsum("...gi,igo->...go", padded[window], grouped[tap])
    if g is not None:
      dx[window] += np.einsum("ngo,igo->ngi", g, grouped[tap]).reshape(padded[window].shape)
      dkernel[tap] = np.einsum("ngi,ngo->igo", padded[window].reshape(-1, *padded.shape[-2:]), g)
  inside = (slice(None), *(slice(low, low + n) for (low, _), n in zip(padding, x.shape[1:-1], strict=True)))
  return y.reshape(*y.shape[:-2], -1), dx.reshape(*dx.shape[:-2], -1)[inside], dkernel.reshape(kernel.shape)


def assert_close(actual, expected, tolerance=1e-5):
  assert actual.shape == expected.shape
  scale = max(np.abs(expected).max(), 1e-3)
  assert np.abs(np.asarray(actual, np.float64) - expected).max() <= tolerance * scale


def footprint(layer, input_shape):
  """How far apart the first and the last input are that reach one output, both counted; per axis, the most there are.

  `layer` has no kernel below zero, so that what it lets through does not cancel.
  """
  x = jnp.full(input_shape, 1e-3)
  y = jax.eval_shape(layer, x).shape
  gradient = jax.jit(jax.grad(lambda x, g: jnp.vdot(layer(x), g)))
  widths = []
  for axis in range(1, x.ndim - 1):
    shape = [n if a == axis else 1 for a, n in enumerate(y)]
    most = 0
    for output in np.eye(y[axis], dtype=np.float32):
      reached = gradient(x, np.broadcast_to(output.reshape(shape), y))
      seen = np.flatnonzero(np.asarray(reached).any(tuple(a for a in range(x.ndim) if a != axis)))
      most = max(most, seen[-1] - seen[0] + 1) if len(seen) else most
    widths.append(most)
  return tuple(widths)
