"""EfficientNetV2's published weights: torchvision's S, M and L, and timm's, of which XL (tf_efficientnetv2_xl) fits.

timm's other sizes have the same names, but those which TensorFlow trained pad otherwise than torchvision's.
"""

from cnn_zoo.models.efficientnet_v2 import FUSED
from cnn_zoo.pretrained.families import efficientnet

# What a Fused-MBConv block calls its layers.
_TORCHVISION = {"expand.conv": "0.0", "expand.norm": "0.1", "project.conv": "1.0", "project.norm": "1.1"}
_TIMM = {"expand.conv": "conv_exp", "expand.norm": "bn1", "project.conv": "conv_pwl", "project.norm": "bn2"}
_TIMM_WITHOUT_EXPANSION = {"expand.conv": "conv", "expand.norm": "bn1"}


def torchvision(name, model):
  """torchvision's name of our tensor `name`."""
  if not _is_fused(name, model):
    return efficientnet.torchvision(name, model)
  layer, _, leaf = name.rpartition(".")
  _, stage, within, part = efficientnet.place(layer, model)
  return f"features.{stage + 1}.{within}.block.{_TORCHVISION.get(part, part)}.{leaf}"


def timm(name, model):
  """timm's name of our tensor `name`."""
  if not _is_fused(name, model):
    return efficientnet.timm(name, model)
  layer, _, leaf = name.rpartition(".")
  block, stage, within, part = efficientnet.place(layer, model)
  names = _TIMM_WITHOUT_EXPANSION if block.project is None else _TIMM
  return f"blocks.{stage}.{within}.{names.get(part, part)}.{leaf}"


def _is_fused(name, model):
  return name.startswith("blocks.") and int(name.split(".")[1]) < sum(model.layers[:FUSED])
