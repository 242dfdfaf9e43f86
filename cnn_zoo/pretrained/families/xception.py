"""Xception's published weights."""

_STEM = {"conv1.conv": "conv1", "conv1.norm": "bn1", "conv2.conv": "conv2", "conv2.norm": "bn2"}
_STEPS = {"0": "conv1", "1": "pointwise"}


def timm(name):
  """timm's name of our tensor `name`; timm calls the network legacy_xception."""
  layer, _, leaf = name.rpartition(".")
  path = layer.split(".")
  if path[0] == "blocks":
    inner = _in_block(int(path[1]), path[2:])
    return f"block{int(path[1]) + 1}.{inner}.{leaf}"
  if path[0].startswith("separable"):  # 1 and 2 are 3 and 4 in timm, counted on from the stem
    number = int(path[0].removeprefix("separable")) + 2
    return f"bn{number}.{leaf}" if path[1] == "norm" else f"conv{number}.{_STEPS[path[-1]]}.{leaf}"
  return f"{_STEM.get(layer, 'fc')}.{leaf}"


def _in_block(index, path):
  """timm's path of a layer in a block, which is a list of (ReLU, convolution, normalisation) and so on."""
  if path[0] == "shortcut":
    return "skip" if path[1] == "conv" else "skipbn"
  place = 3 * int(path[1]) + (1 if index else 0)  # the first block has no ReLU at its beginning
  return f"rep.{place + 1}" if path[2] == "norm" else f"rep.{place}.{_STEPS[path[-1]]}"
