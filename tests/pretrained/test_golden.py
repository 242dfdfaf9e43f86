"""Our networks answer as torchvision's and timm's do to the same weights and the same input."""

import golden
import pytest

# Networks of other tasks than the classification of images, which are not here yet.
LATER = {"r3d_18", "mc3_18", "r2plus1d_18", "fcn_resnet50", "deeplabv3_resnet50"}


@pytest.mark.parametrize("name", [name for name in golden.references() if name not in LATER])
def test_golden(name):
  assert golden.error(name) <= 1e-4
