"""ResNet's published weights; torchvision and timm have the same names."""

_OUTSIDE = {"stem.conv": "conv1", "stem.norm": "bn1", "classifier": "fc"}
_PARTS = {"projection.conv": "downsample.0", "projection.norm": "downsample.1"}


def torchvision(name):
  """torchvision's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if layer in _OUTSIDE:
    return f"{_OUTSIDE[layer]}.{leaf}"
  _, stage, block, part = layer.split(".", 3)
  unit, _, kind = part.partition(".")  # conv1.conv and conv1.norm are conv1 and bn1
  part = _PARTS.get(part) or (unit.replace("conv", "bn") if kind == "norm" else unit)
  return f"layer{int(stage) + 1}.{block}.{part}.{leaf}"


timm = torchvision
