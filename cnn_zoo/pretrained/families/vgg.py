"""VGG's published weights."""

_HEAD = {"head.hidden.0": "classifier.0", "head.hidden.1": "classifier.3", "head.classifier": "classifier.6"}


def torchvision(name, model):
  """torchvision's name of our tensor `name`; its list counts ReLUs and poolings too."""
  layer, _, leaf = name.rpartition(".")
  if layer in _HEAD:
    return f"{_HEAD[layer]}.{leaf}"
  _, stage, _, index, kind = layer.split(".")
  each = 2 if model.stages[0].units[0].norm is None else 3
  before = sum(each * len(earlier.units) + 1 for earlier in list(model.stages)[: int(stage)])
  return f"features.{before + each * int(index) + (kind == 'norm')}.{leaf}"
