import itertools

import pytest
from jax import lax

from cnn_zoo.convolutions.arithmetic import output_sizes, per_axis, resolve_padding
from cnn_zoo.errors import UserError


def test_same_padding_is_that_of_lax():
  for size, kernel, stride, dilation in itertools.product(range(1, 12), range(1, 6), range(1, 4), (1, 2)):
    span = (kernel - 1) * dilation + 1
    expected = lax.padtype_to_pads((size,), (span,), (stride,), "SAME")
    actual = resolve_padding("SAME", (size,), (kernel,), (stride,), (dilation,))
    assert actual == tuple(map(tuple, expected))
    assert output_sizes((size,), (kernel,), (stride,), actual, (dilation,)) == (-(-size // stride),)


def test_other_paddings():
  def resolve(padding, kernel=(3, 5)):
    return resolve_padding(padding, (8,) * len(kernel), kernel, (1,) * len(kernel), (2,) * len(kernel))

  assert resolve("VALID") == ((0, 0), (0, 0))
  assert resolve(2) == ((2, 2), (2, 2))
  assert resolve((1, 2)) == ((1, 1), (2, 2))
  assert resolve([(1, 2), (0, 3)]) == ((1, 2), (0, 3))
  assert resolve("CAUSAL", (3,)) == ((4, 0),)
  for wrong, message in [
    ("same", "valid: SAME, VALID, CAUSAL"),
    ("CAUSAL", "rank 1"),
    ((1,), "padding="),
    (-1, "none below 0"),
    (((0, 1, 2), (0, 0)), "pairs"),
  ]:
    with pytest.raises(UserError, match=message):
      resolve(wrong)


def test_output_sizes_of_known_layers():
  assert output_sizes((224,), (7,), (2,), ((3, 3),), (1,)) == (112,)
  assert output_sizes((227,), (11,), (4,), ((0, 0),), (1,)) == (55,)
  assert output_sizes((13, 2), (3, 5), (1, 1), ((0, 0), (0, 0)), (2, 1)) == (9, 0)


def test_per_axis():
  assert per_axis("strides", 2, 3) == (2, 2, 2)
  assert per_axis("strides", [1, 2], 2) == (1, 2)
  with pytest.raises(UserError, match=r"strides=\(1, 2\) has 2 axes, the kernel has 3"):
    per_axis("strides", (1, 2), 3)
  with pytest.raises(UserError, match="dilation=0 must be at least 1"):
    per_axis("dilation", 0, 1)
