"""Sizes and costs of convolutions in closed form (Dumoulin and Visin, A guide to convolution arithmetic, 2016)."""

import math
from collections.abc import Sequence

from cnn_zoo.errors import UserError

Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]


def per_axis(field: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
  """`value` once for each of `rank` spatial axes.

  Raises:
    UserError: if it has another length or is below 1.

  >>> per_axis("strides", 2, rank=3)
  (2, 2, 2)
  """
  values = (value,) * rank if isinstance(value, int) else tuple(value)
  if len(values) != rank:
    raise UserError(f"{field}={value} has {len(values)} axes; valid: one number, or one for each of {rank} axes")
  if any(v < 1 for v in values):
    raise UserError(f"{field}={value} must be at least 1 in every axis")
  return values


def resolve_padding(padding: Padding, sizes, kernel_size, strides, dilation) -> tuple[tuple[int, int], ...]:
  """The padding as (before, after) for each spatial axis.

  "SAME": ceil(size / stride) outputs, the odd element after, as TensorFlow. "VALID": none. "CAUSAL" (rank 1): all of it
  before, so that no output sees a later input. Numbers: that many on both sides of every axis, one for each axis, or
  pairs.

  Raises:
    UserError: for padding that is not known or does not fit the rank.

  >>> resolve_padding("SAME", (8,), (3,), (2,), (1,))
  ((0, 1),)
  """
  rank = len(kernel_size)
  spans = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
  if isinstance(padding, str):
    if padding == "VALID":
      return ((0, 0),) * rank
    if padding == "CAUSAL":
      if rank != 1:
        raise UserError(f"padding='CAUSAL' needs a kernel of rank 1, this one has rank {rank}")
      return ((spans[0] - 1, 0),)
    if padding != "SAME":
      raise UserError(f"padding={padding!r} is not known; valid: SAME, VALID, CAUSAL or numbers")
    totals = [
      max((math.ceil(size / stride) - 1) * stride + span - size, 0)
      for size, stride, span in zip(sizes, strides, spans, strict=True)
    ]
    return tuple((total // 2, total - total // 2) for total in totals)
  return padding_pairs(padding, rank)


def padding_pairs(padding: Padding, rank: int) -> tuple[tuple[int, int], ...]:
  """Padding given in numbers as (before, after) for each of `rank` spatial axes."""
  given: Sequence = (padding,) * rank if isinstance(padding, int) else tuple(padding)
  pairs: tuple = tuple((p, p) if isinstance(p, int) else tuple(p) for p in given)
  if len(pairs) != rank or any(len(p) != 2 or min(p) < 0 for p in pairs):
    raise UserError(f"padding={padding} must be a number, one for each spatial axis ({rank}), or pairs, none below 0")
  return pairs


def output_sizes(sizes, kernel_size, strides, padding: tuple[tuple[int, int], ...], dilation) -> tuple[int, ...]:
  """Spatial sizes of the output: floor((size + padding - dilation (kernel - 1) - 1) / stride) + 1.

  >>> output_sizes((224, 224), (7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1))
  (112, 112)
  """
  return tuple(
    max((size + sum(p) - d * (k - 1) - 1) // s + 1, 0)
    for size, k, s, p, d in zip(sizes, kernel_size, strides, padding, dilation, strict=True)
  )


def transposed_crops(padding: Padding, kernel_size, strides, dilation, output_padding) -> tuple[tuple[int, int], ...]:
  """What a transposed convolution cuts off (before, after) each axis of the full overlap-add; below 0: adds.

  "SAME": size * stride outputs; "VALID": nothing is cut; numbers: the padding p of the convolution it transposes, less
  `output_padding` at the end (Dumoulin and Visin, relationship 14).
  """
  rank = len(kernel_size)
  spans = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
  if padding == "SAME":
    if any(output_padding):
      raise UserError(f"output_padding={output_padding} needs padding in numbers, not 'SAME'")
    totals = [span - stride for span, stride in zip(spans, strides, strict=True)]
    return tuple((max(t, 0) // 2, t - max(t, 0) // 2) for t in totals)
  if isinstance(padding, str) and padding != "VALID":
    raise UserError(f"padding={padding!r} of a transposed convolution is not known; valid: SAME, VALID or numbers")
  pairs = padding_pairs(0 if padding == "VALID" else padding, rank)
  return tuple((low, high - extra) for (low, high), extra in zip(pairs, output_padding, strict=True))


def transposed_output_sizes(sizes, kernel_size, strides, crops, dilation) -> tuple[int, ...]:
  """Spatial sizes of the output: stride (size - 1) + dilation (kernel - 1) + 1 less what is cut off."""
  return tuple(
    max(s * (size - 1) + d * (k - 1) + 1 - sum(crop), 0)
    for size, k, s, crop, d in zip(sizes, kernel_size, strides, crops, dilation, strict=True)
  )
