"""FCN on a dilated ResNet-101, as torchvision's."""

from configs import deeplabv3_resnet50


def get_config(dataset="digit_scenes"):
  """DeepLabv3's recipe."""
  return deeplabv3_resnet50.get_config(dataset, "fcn_resnet101")
