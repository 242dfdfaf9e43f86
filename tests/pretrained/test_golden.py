"""Our networks answer as torchvision's and timm's do to the same weights and the same input."""

import pytest

from tests.helpers import golden


@pytest.mark.parametrize("name", golden.references())
def test_golden(name):
  assert golden.error(name) <= 1e-4
