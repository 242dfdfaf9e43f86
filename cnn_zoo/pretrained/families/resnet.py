"""ResNet's published weights; torchvision and timm have the same names."""

_OUTSIDE = {"stem": "conv1", "stem_norm": "bn1", "classifier": "fc"}


def torchvision(name):
  """torchvision's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if layer in _OUTSIDE:
    return f"{_OUTSIDE[layer]}.{leaf}"
  _, stage, block, part = layer.split(".", 3)
  part = {"projection.conv": "downsample.0", "projection.norm": "downsample.1"}.get(part, part.replace("norm", "bn"))
  return f"layer{int(stage) + 1}.{block}.{part}.{leaf}"


timm = torchvision
