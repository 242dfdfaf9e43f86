"""The published weights of ResNets with pre-activation."""

_OUTSIDE = {"stem.conv": "stem.conv", "final_norm": "norm", "classifier": "head.fc"}


def timm(name):
  """timm's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if layer in _OUTSIDE:
    return f"{_OUTSIDE[layer]}.{leaf}"
  _, stage, block, part = layer.split(".", 3)
  return f"stages.{stage}.blocks.{block}.{'downsample.conv' if part == 'projection' else part}.{leaf}"
