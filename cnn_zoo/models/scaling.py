"""Width and depth multipliers: how the scaled channels and layers are rounded."""

import math

from cnn_zoo.errors import UserError


def scale_channels(channels: int, width: float) -> int:
  """`channels` times `width`, rounded to a multiple of 8, but never down by more than 10%.

  The rule of MobileNetV2's code, which EfficientNet kept.

  Example:
    >>> from cnn_zoo.models.scaling import scale_channels
    >>> scale_channels(32, 1.1), scale_channels(24, 1.1), scale_channels(19, 1.0)
    (32, 24, 24)
  """
  scaled = channels * width
  rounded = max(8, int(scaled + 4) // 8 * 8)
  return rounded if rounded >= 0.9 * scaled else rounded + 8


def scale_layers(layers: int, depth: float) -> int:
  """`layers` times `depth`, rounded up."""
  return math.ceil(layers * depth)


def check_multipliers(**multipliers: float) -> None:
  """Checks multipliers, given by the names of their options.

  Raises:
    UserError: unless each is above 0.
  """
  for name, value in multipliers.items():
    if value <= 0:
      raise UserError(f"{name}={value} must be above 0")
