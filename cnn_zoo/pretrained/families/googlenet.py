"""GoogLeNet's published weights.

torchvision's ImageNet weights were made for pixels in [-1, 1], (x - 0.5) / 0.5 in every channel; what torchvision calls
`transform_input` turns its own normalisation into that one. The network here does not transform its input.
"""

from cnn_zoo.models.googlenet import BLOCKS

# Auxiliary classifiers are there in some published weights and are not needed to evaluate.
OPTIONAL = {"torchvision": (r"aux[12]\.",)}

_BRANCHES = {
  "conv_1x1": "branch1",
  "reduce_3x3": "branch2.0",
  "conv_3x3": "branch2.1",
  "reduce_5x5": "branch3.0",
  "conv_5x5": "branch3.1",
  "projection": "branch4.1",
}
_AUXILIARY = {"hidden": "fc1", "classifier": "fc2"}


def torchvision(name):
  """torchvision's name of our tensor `name`."""
  path, _, leaf = name.rpartition(".")
  if path == "classifier":
    return f"fc.{leaf}"
  path = path.replace("norm", "bn")
  if path.startswith("auxiliary."):
    _, index, part = path.split(".", 2)
    return f"aux{int(index) + 1}.{_AUXILIARY.get(part, part)}.{leaf}"
  if path.startswith("blocks."):
    _, index, unit, part = path.split(".")
    return f"inception{list(BLOCKS)[int(index)]}.{_BRANCHES[unit]}.{part}.{leaf}"
  return f"{path}.{leaf}"
