"""Width and depth multipliers."""

import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.models.scaling import check_multipliers, scale_channels, scale_layers


def test_compound_scaling():
  # B2 and B4 as torchvision prints them.
  assert [scale_channels(c, 1.1) for c in (32, 16, 24, 40, 80, 112, 192, 320, 1280)] == [
    *(32, 16, 24, 48, 88, 120, 208, 352, 1408)
  ]
  assert [scale_channels(c, 1.4) for c in (32, 16, 24, 40, 80, 112, 192, 320, 1280)] == [
    *(48, 24, 32, 56, 112, 160, 272, 448, 1792)
  ]
  assert scale_channels(19, 1.0) == 24  # 16 would be down by more than 10%
  assert scale_channels(3, 0.25) == 8
  assert [scale_layers(n, 1.1) for n in (1, 2, 3, 4)] == [2, 3, 4, 5]
  assert scale_layers(3, 1.0) == 3


@pytest.mark.parametrize("value", [0, -0.5])
def test_multipliers_that_leave_nothing_are_refused(value):
  check_multipliers(width=0.1, depth=2)
  with pytest.raises(UserError, match=f"depth={value} must be above 0"):
    check_multipliers(width=1.0, depth=value)
