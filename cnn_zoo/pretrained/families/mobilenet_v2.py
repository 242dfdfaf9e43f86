"""MobileNetV2's published weights."""

from cnn_zoo.models.mobilenet_v2 import BOTTLENECKS
from cnn_zoo.pretrained.families.efficientnet import place_in_stages

_OUTSIDE = {"stem.conv": "0.0", "stem.norm": "0.1", "head.conv": "18.0", "head.norm": "18.1"}
# timm's names of a block's convolutions and normalisations; the first block has no expansion.
_TIMM = {
  "convolutions.0": "conv_pw",
  "norms.0": "bn1",
  "convolutions.1": "conv_dw",
  "norms.1": "bn2",
  "convolutions.2": "conv_pwl",
  "norms.2": "bn3",
}
_TIMM_FIRST = {"convolutions.0": "conv_dw", "norms.0": "bn1", "convolutions.1": "conv_pw", "norms.1": "bn2"}


def torchvision(name):
  """torchvision's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if layer == "classifier":
    return f"classifier.1.{leaf}"
  if layer in _OUTSIDE:
    return f"features.{_OUTSIDE[layer]}.{leaf}"
  _, index, kind, step = layer.split(".", 3)
  last, norm = "1" if index == "0" else "2", int(kind == "norms")
  inner = f"{int(step) + norm}" if step == last else f"{step}.{norm}"  # the projection is in no module of its own
  return f"features.{int(index) + 1}.conv.{inner}.{leaf}"


def timm(name):
  """timm's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if not layer.startswith("blocks."):
    outside = {"stem.conv": "conv_stem", "stem.norm": "bn1", "head.conv": "conv_head", "head.norm": "bn2"}
    return f"{outside.get(layer, layer)}.{leaf}"
  _, index, inner = layer.split(".", 2)
  stage, within = place_in_stages(int(index), [n for _, _, n, _ in BOTTLENECKS])
  names = _TIMM_FIRST if index == "0" else _TIMM
  return f"blocks.{stage}.{within}.{names.get(inner, inner)}.{leaf}"
