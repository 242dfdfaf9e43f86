"""DenseNet's published weights; torchvision and timm have the same names."""

# The files that torchvision publishes are older than its names.
RENAMED = {"torchvision": ((r"\.(norm|conv)\.([12])\.", r".\1\2."),)}

_OUTSIDE = {"stem.conv": "features.conv0", "stem.norm": "features.norm0", "final_norm": "features.norm5"}


def torchvision(name):
  """torchvision's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if layer.startswith("blocks."):
    _, block, _, index, part = layer.split(".")
    return f"features.denseblock{int(block) + 1}.denselayer{int(index) + 1}.{part}.{leaf}"
  if layer.startswith("transitions."):
    _, index, part = layer.split(".")
    return f"features.transition{int(index) + 1}.{part}.{leaf}"
  return f"{_OUTSIDE.get(layer, layer)}.{leaf}"


timm = torchvision
