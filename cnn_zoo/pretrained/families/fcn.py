"""The published weights of FCN on ResNets; there are none on VGG."""

from cnn_zoo.pretrained.families import resnet

# The auxiliary head is there in published weights and is not needed to evaluate.
OPTIONAL = {"torchvision": (r"aux_classifier\.",)}

_PREFIXES = {"head": "classifier", "auxiliary": "aux_classifier"}
_HEAD = {"unit.conv": "0", "unit.norm": "1", "classifier": "4"}


def torchvision(name):
  """torchvision's name of our tensor `name`."""
  part, _, rest = name.partition(".")
  if part == "backbone":
    return f"backbone.{resnet.torchvision(rest)}"
  layer, _, leaf = rest.rpartition(".")
  return f"{_PREFIXES[part]}.{_HEAD[layer]}.{leaf}"
