"""What can be tested of the PyTorch contenders without PyTorch."""

import importlib.util

import numpy as np
import pytest

from cnn_zoo.benchmarks import pytorch
from cnn_zoo.benchmarks.shapes import Shape


@pytest.mark.parametrize("groups", [1, 2])
def test_kernels_as_pytorch_has_them(groups):
  """[out, in / groups, ...], and of transposed convolutions [in, out / groups, ...]."""
  rng = np.random.default_rng(0)
  kernel = rng.standard_normal((2, 3, 4 // groups, 6))
  plain = Shape("", (5, 5), (4, 6), (2, 3), groups=groups)
  assert np.array_equal(pytorch.kernel_to_torch(kernel, plain), kernel.transpose(3, 2, 0, 1))
  result = pytorch.kernel_to_torch(kernel, Shape("", (5, 5), (4, 6), (2, 3), groups=groups, transposed=True))
  assert result.shape == (4, 6 // groups, 2, 3)
  for i in range(4):
    for o in range(6 // groups):
      group, row = divmod(i, 4 // groups)
      assert np.array_equal(result[i, o], kernel[:, :, row, group * (6 // groups) + o])


def test_pytorch_is_not_needed(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  assert pytorch.find_torch() == (None, "PyTorch is not installed: its columns are left out")
  assert pytorch.import_torchvision.__wrapped__() is None
