"""The published weights of residual networks of clips."""

from cnn_zoo.convolutions import SpatiallySeparableConvolution

_STEPS = {"convolutions.0": "0", "norms.0": "1", "convolutions.1": "3"}  # the ReLU counts too
_PROJECTION = {"conv": "downsample.0", "norm": "downsample.1"}


def torchvision(name, model):
  """torchvision's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if layer == "classifier":
    return f"fc.{leaf}"
  if layer.startswith("stem."):  # a list; that of two steps begins with those of the convolution
    two_steps = isinstance(model.stem.conv, SpatiallySeparableConvolution)
    kind, _, step = layer.removeprefix("stem.").partition(".")
    return f"stem.{(4 if two_steps else 1) if kind == 'norm' else _STEPS.get(step, 0)}.{leaf}"
  _, stage, block, unit, kind, *step = layer.split(".", 5)
  if unit == "projection":
    inner = _PROJECTION[kind]
  else:
    inner = ".".join([unit, "1" if kind == "norm" else "0", *(_STEPS[part] for part in step)])
  return f"layer{int(stage) + 1}.{block}.{inner}.{leaf}"
