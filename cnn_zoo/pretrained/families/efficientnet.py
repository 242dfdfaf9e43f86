"""EfficientNet's published weights."""

import bisect
import itertools

# What a block with an expansion calls its layers; without one, torchvision counts from the depthwise convolution.
_TORCHVISION = {
  "expand.conv": "0.0",
  "expand.norm": "0.1",
  "depthwise.conv": "1.0",
  "depthwise.norm": "1.1",
  "excite.reduce": "2.fc1",
  "excite.expand": "2.fc2",
  "project.conv": "3.0",
  "project.norm": "3.1",
}
_TIMM = {
  "expand.conv": "conv_pw",
  "expand.norm": "bn1",
  "depthwise.conv": "conv_dw",
  "depthwise.norm": "bn2",
  "excite.reduce": "se.conv_reduce",
  "excite.expand": "se.conv_expand",
  "project.conv": "conv_pwl",
  "project.norm": "bn3",
}
_TIMM_WITHOUT_EXPANSION = _TIMM | {"depthwise.norm": "bn1", "project.conv": "conv_pw", "project.norm": "bn2"}


def torchvision(name, model):
  """torchvision's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if not layer.startswith("blocks."):
    last = len(model.layers) + 1
    outside = {"stem.conv": "0.0", "stem.norm": "0.1", "head.conv": f"{last}.0", "head.norm": f"{last}.1"}
    return f"features.{outside[layer]}.{leaf}" if layer in outside else f"classifier.1.{leaf}"
  block, stage, within, part = place(layer, model)
  index, _, rest = _TORCHVISION.get(part, part).partition(".")
  index = int(index) - (block.expand is None) if index.isdigit() else index
  return f"features.{stage + 1}.{within}.block.{index}.{rest}.{leaf}"


def timm(name, model):
  """timm's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if not layer.startswith("blocks."):
    outside = {"stem.conv": "conv_stem", "stem.norm": "bn1", "head.conv": "conv_head", "head.norm": "bn2"}
    return f"{outside.get(layer, layer)}.{leaf}"
  block, stage, within, part = place(layer, model)
  names = _TIMM_WITHOUT_EXPANSION if block.expand is None else _TIMM
  return f"blocks.{stage}.{within}.{names.get(part, part)}.{leaf}"


def place(layer, model):
  """The block that holds `layer`, the index of its stage and its own index within, and the layer's path within it."""
  _, index, part = layer.split(".", 2)
  stage, within = place_in_stages(int(index), model.layers)
  return model.blocks[int(index)], stage, within, part


def place_in_stages(index, layers):
  """The stage of block `index` and its index within, where the stages have that many `layers`, one after another."""
  starts = list(itertools.accumulate(layers, initial=0))
  stage = bisect.bisect_right(starts, index) - 1
  return stage, index - starts[stage]
