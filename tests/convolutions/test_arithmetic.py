import itertools

import pytest
from jax import lax

from cnn_zoo.convolutions.arithmetic import (
  output_sizes,
  padding_pairs,
  per_axis,
  resolve_padding,
  transposed_crops,
  transposed_output_sizes,
)
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


def test_padding_pairs():
  assert padding_pairs(2, 3) == ((2, 2),) * 3
  assert padding_pairs([1, (0, 2)], 2) == ((1, 1), (0, 2))
  with pytest.raises(UserError, match=r"padding=\[1, 2\] must be a number, one for each spatial axis \(3\), or pairs"):
    padding_pairs([1, 2], 3)


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 0)])
def test_transposed_sizes_are_those_that_the_convolution_brings_back(padding):
  """The output padding goes through all sizes that a strided convolution brings to one."""
  for size, kernel, stride, dilation in itertools.product(range(1, 6), range(1, 5), range(1, 4), (1, 2)):
    geometry = (kernel,), (stride,)
    crops = [transposed_crops((padding,), *geometry, (dilation,), (extra,)) for extra in range(stride)]
    larger = {transposed_output_sizes((size,), *geometry, crop, (dilation,)) for crop in crops}
    back = {(n,) for n in range(1, 30) if output_sizes((n,), *geometry, (padding,), (dilation,)) == (size,)}
    assert larger - {(0,)} == back


def test_transposed_paddings():
  def crops(padding, output_padding=(0,), kernel=3, stride=2):
    return transposed_crops(padding, (kernel,), (stride,), (1,), output_padding)

  assert crops("VALID") == ((0, 0),)
  assert crops(1) == crops(((1, 1),)) == ((1, 1),)
  assert crops(1, (1,)) == ((1, 0),)
  assert crops(0, (1,)) == ((0, -1),)
  assert [crops("SAME", kernel=kernel) for kernel in (1, 2, 3, 4, 5)] == [
    ((0, -1),),
    ((0, 0),),
    ((0, 1),),
    ((1, 1),),
    ((1, 2),),
  ]
  with pytest.raises(UserError, match=r"output_padding=\(1,\) needs padding in numbers, not 'SAME'"):
    crops("SAME", (1,))
  with pytest.raises(UserError, match="padding='CAUSAL' of a transposed convolution is not known; valid: SAME, VALID"):
    crops("CAUSAL")


def test_output_sizes_of_known_layers():
  assert output_sizes((224,), (7,), (2,), ((3, 3),), (1,)) == (112,)
  assert output_sizes((227,), (11,), (4,), ((0, 0),), (1,)) == (55,)
  assert output_sizes((13, 2), (3, 5), (1, 1), ((0, 0), (0, 0)), (2, 1)) == (9, 0)


def test_per_axis():
  assert per_axis("strides", 2, 3) == (2, 2, 2)
  assert per_axis("strides", [1, 2], 2) == (1, 2)
  with pytest.raises(UserError, match=r"strides=\(1, 2\) has 2 axes; valid: one number, or one for each of 3 axes"):
    per_axis("strides", (1, 2), 3)
  with pytest.raises(UserError, match="dilation=0 must be at least 1"):
    per_axis("dilation", 0, 1)
