"""ConvNeXt-S (Liu et al. 2022)."""

from configs import convnext_tiny


def get_config(dataset="digits"):
  """T's recipe at this size."""
  return convnext_tiny.get_config(dataset, "convnext_small")
