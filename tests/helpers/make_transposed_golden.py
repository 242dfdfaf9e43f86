"""Makes transposed_golden.json.gz: what PyTorch's ConvTranspose1d, 2d and 3d compute.

Run `python tests/convolutions/make_transposed_golden.py` where PyTorch is installed; the tests need only the file.
All numbers are small integers, so that sums are exact in float32 and the file is small.
"""

import gzip
import itertools
import json
import pathlib
from typing import NamedTuple

import numpy as np

PATH = pathlib.Path(__file__).with_name("transposed_golden.json.gz")


class Case(NamedTuple):
  rank: int
  stride: int
  padding: int
  output_padding: int
  dilation: int
  groups: int


CASES = [
  Case(*case)
  for case in itertools.product((1, 2, 3), (1, 2, 3), (0, 1, 2), (0, 1), (1, 2), (1, 2))
  if case[3] < case[1]  # the output padding must be below the stride
]
SIZES = {1: (5,), 2: (2, 3), 3: (3, 2, 2)}
KERNELS = {1: (4,), 2: (4, 3), 3: (3, 4, 4)}
FEATURES = 2, 4  # in, out


def arrays(case):
  """x [1, *spatial, in], kernel [*kernel_size, in / groups, out], not flipped, and bias [out], of integers."""

  def integers(shape, seed):
    place = np.arange(np.prod(shape)).reshape(shape)
    return ((place + seed) ** 2 % 101 + place) % 9 - 4

  in_features, out_features = FEATURES
  x = integers((1, *SIZES[case.rank], in_features), 1)
  kernel = integers((*KERNELS[case.rank], in_features // case.groups, out_features), 2)
  return x, kernel, integers((out_features,), 3)


def main():
  import torch

  outputs = []
  for case in CASES:
    rank, *options = case
    x, kernel, bias = (torch.from_numpy(a).double() for a in arrays(case))
    # PyTorch has channels first, and its kernel is [in, out / groups, *kernel_size].
    groups = kernel.reshape(*KERNELS[rank], -1, case.groups, FEATURES[1] // case.groups)
    weight = groups.permute(rank + 1, rank, rank + 2, *range(rank)).flatten(0, 1)
    convolve = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[rank - 1]
    stride, padding, output_padding, dilation, number = options
    y = convolve(x.movedim(-1, 1), weight, bias, stride, padding, output_padding, number, dilation)
    outputs.append(y.movedim(1, -1).long().tolist())
  PATH.write_bytes(gzip.compress(json.dumps(outputs, separators=(",", ":")).encode(), mtime=0))


if __name__ == "__main__":
  main()
