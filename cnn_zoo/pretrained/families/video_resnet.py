"""The published weights of residual networks of clips."""

from cnn_zoo.convolutions import SpatiallySeparableConvolution

_STEPS = {"convolutions.0": "0", "norms.0": "1", "convolutions.1": "3"}  # the ReLU counts too
_BLOCK = {"projection.conv": "downsample.0", "projection.norm": "downsample.1", "norm1": "conv1.1", "norm2": "conv2.1"}


def torchvision(name, model):
  """torchvision's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  part, _, step = layer.partition(".")
  if part == "classifier":
    return f"fc.{leaf}"
  if part == "stem_norm":
    return f"stem.{4 if isinstance(model.stem, SpatiallySeparableConvolution) else 1}.{leaf}"
  if part == "stem":
    return f"stem.{_STEPS[step] if step else 0}.{leaf}"
  _, stage, block, part = layer.split(".", 3)
  conv, _, step = part.partition(".")
  part = _BLOCK.get(part) or (f"{conv}.0.{_STEPS[step]}" if step else f"{conv}.0")
  return f"layer{int(stage) + 1}.{block}.{part}.{leaf}"
