"""ResNet-101 with pre-activation (He et al. 2016)."""

from configs import resnet50


def get_config(dataset="digits"):
  """ResNet-50's recipe at this size."""
  return resnet50.get_config(dataset, "resnetv2_101")
