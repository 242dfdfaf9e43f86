"""ConvNeXt's published weights."""

_TORCHVISION = {
  "depthwise": "block.0",
  "norm": "block.2",
  "expand": "block.3",
  "project": "block.5",
}
_TIMM = {"depthwise": "conv_dw", "norm": "norm", "expand": "mlp.fc1", "project": "mlp.fc2"}


def torchvision(name):
  """torchvision's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  outside = {"stem": "features.0.0", "stem_norm": "features.0.1", "norm": "classifier.0", "classifier": "classifier.2"}
  if layer in outside:
    return f"{outside[layer]}.{leaf}"
  kind, index, *inner = layer.split(".", 3)
  if kind == "downsamplings":
    return f"features.{2 * int(index) + 2}.{'0' if inner == ['norm'] else '1'}.{leaf}"
  block, part = inner
  tensor = "layer_scale" if part == "layer_scale" else f"{_TORCHVISION.get(part, part)}.{leaf}"
  return f"features.{2 * int(index) + 1}.{block}.{tensor}"


def timm(name):
  """timm's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  outside = {"stem": "stem.0", "stem_norm": "stem.1", "norm": "head.norm", "classifier": "head.fc"}
  if layer in outside:
    return f"{outside[layer]}.{leaf}"
  kind, index, *inner = layer.split(".", 3)
  if kind == "downsamplings":
    return f"stages.{int(index) + 1}.downsample.{'0' if inner == ['norm'] else '1'}.{leaf}"
  block, part = inner
  tensor = leaf if part == "layer_scale" else f"{_TIMM.get(part, part)}.{leaf}"
  return f"stages.{index}.blocks.{block}.{tensor}"
