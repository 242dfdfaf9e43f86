"""FCN on a dilated ResNet-18: the smallest, to see what output_stride (8, 16 or 32) does."""

from configs import deeplabv3_resnet50


def get_config(dataset="digit_scenes"):
  """DeepLabv3's recipe; on the embedded scenes longer, which takes minutes."""
  config = deeplabv3_resnet50.get_config(dataset, "fcn_resnet18")
  config.model.aux_head = False  # there are no published weights that have one
  if config.data.name != "oxford_iiit_pet":
    config.epochs = 10.0
  return config
