"""The plain network of 34 layers, without shortcuts (He et al. 2015, section 3.3)."""

from configs import resnet50


def get_config(dataset="digits"):
  """ResNet-50's recipe at this size."""
  return resnet50.get_config(dataset, "plain34")
