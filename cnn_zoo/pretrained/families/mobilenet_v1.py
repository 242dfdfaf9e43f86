"""MobileNet's published weights: timm's mobilenetv1_100, and by the option `width` its other sizes."""

from cnn_zoo.models.mobilenet_v1 import STAGES
from cnn_zoo.pretrained.families.efficientnet import place_in_stages

_PARTS = {
  "conv.convolutions.0": "conv_dw",
  "conv.norms.0": "bn1",
  "conv.convolutions.1": "conv_pw",
  "norm": "bn2",
}


def timm(name):
  """timm's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if not layer.startswith("blocks."):
    outside = {"stem.conv": "conv_stem", "stem.norm": "bn1"}
    return f"{outside.get(layer, layer)}.{leaf}"
  _, index, part = layer.split(".", 2)
  stage, within = place_in_stages(int(index), STAGES)
  return f"blocks.{stage}.{within}.{_PARTS.get(part, part)}.{leaf}"
