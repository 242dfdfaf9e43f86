"""DeepLabv3's published weights."""

from cnn_zoo.pretrained.families import fcn

OPTIONAL = fcn.OPTIONAL

_HEAD = {
  "pyramid.pooled.conv": "0.convs.4.1",  # after the pooling
  "pyramid.pooled.norm": "0.convs.4.2",
  "pyramid.project.conv": "0.project.0",
  "pyramid.project.norm": "0.project.1",
  "unit.conv": "1",
  "unit.norm": "2",
  "classifier": "4",
}


def torchvision(name):
  """torchvision's name of our tensor `name`."""
  if not name.startswith("head."):
    return fcn.torchvision(name)
  layer, _, leaf = name.removeprefix("head.").rpartition(".")
  if layer.startswith("pyramid.branches."):
    _, _, branch, kind = layer.split(".")
    return f"classifier.0.convs.{branch}.{int(kind == 'norm')}.{leaf}"
  return f"classifier.{_HEAD[layer]}.{leaf}"
