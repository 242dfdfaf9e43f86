"""FCN-32s (Long, Shelhamer and Darrell 2015)."""

from configs import fcn8s


def get_config(dataset="digit_scenes"):
  """FCN-8s's recipe."""
  return fcn8s.get_config(dataset, "fcn32s")
