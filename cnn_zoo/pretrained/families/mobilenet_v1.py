"""MobileNet's published weights: timm's mobilenetv1_100, and by the option `width` its other sizes."""

from cnn_zoo.pretrained.families.efficientnet import place_in_stages

_LAYERS = (1, 2, 2, 6, 2)  # timm's stages
_PARTS = {
  "convolution.convolutions.0": "conv_dw",
  "convolution.norms.0": "bn1",
  "convolution.convolutions.1": "conv_pw",
  "norm": "bn2",
}


def timm(name):
  """timm's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if not layer.startswith("blocks."):
    outside = {"stem": "conv_stem", "stem_norm": "bn1"}
    return f"{outside.get(layer, layer)}.{leaf}"
  _, index, part = layer.split(".", 2)
  stage, within = place_in_stages(int(index), _LAYERS)
  return f"blocks.{stage}.{within}.{_PARTS.get(part, part)}.{leaf}"
