"""ResNet-152 (He et al. 2015)."""

from configs import resnet50


def get_config(dataset="digits"):
  """ResNet-50's recipe at this size."""
  return resnet50.get_config(dataset, "resnet152")
