"""AlexNet's published weights: those of the single tower."""

_CONVOLUTIONS = (0, 3, 6, 8, 10)  # in torchvision's list of convolutions, ReLUs and poolings
_HEAD = {"head.hidden.0": "classifier.1", "head.hidden.1": "classifier.4", "head.classifier": "classifier.6"}


def torchvision(name):
  """torchvision's name of our tensor `name`."""
  layer, _, leaf = name.rpartition(".")
  if layer in _HEAD:
    return f"{_HEAD[layer]}.{leaf}"
  return f"features.{_CONVOLUTIONS[int(layer.split('.')[1])]}.{leaf}"
