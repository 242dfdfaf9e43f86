"""What published weights expect of their input and of their network, besides its layers."""

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""(mean, std) by channel: pixels in [0, 1] become (x - mean) / std."""

IMAGENET: Normalization = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels; most weights
KINETICS: Normalization = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # of Kinetics-400's; video
SYMMETRIC: Normalization = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # pixels in [-1, 1]; those below

_KINETICS = ("mc3_18", "r2plus1d_18", "r3d_18")

# torchvision's weights of GoogLeNet came from TensorFlow; its `transform_input` undoes IMAGENET before the network.
# timm's names stand for several files; these are what its version 1.0 loads by default.
_SYMMETRIC = {
  "torchvision": ("googlenet", "efficientnet_v2_l"),
  "timm": ("efficientnet_b1", "efficientnet_v2_", "mobilenet_v1", "resnetv2_", "xception"),
}

# In B5 to B7 torchvision has the epsilon of TensorFlow and timm PyTorch's.
_OPTIONS: dict[tuple[str, str], dict[str, float]] = {
  ("timm", f"efficientnet_b{size}"): {"epsilon": 1e-5} for size in (5, 6, 7)
}


def normalization(model: str, source: str, in_channels: int | None = None) -> Normalization:
  """The normalisation of pixels that published weights expect.

  Args:
    model: one of `cnn_zoo.list_models()`.
    source: whose weights they are, "torchvision" or "timm".
    in_channels: of the images, if the first kernel was adapted to another number: 1 takes the mean over the channels.

  Returns:
    (mean, std) by channel.

  Example:
    >>> normalization("resnet50", "torchvision")
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    >>> normalization("xception", "timm", in_channels=1)
    ((0.5,), (0.5,))
  """
  published = SYMMETRIC if model.startswith(_SYMMETRIC[source]) else IMAGENET
  published = KINETICS if model in _KINETICS else published
  if in_channels == 1:
    mean, std = (round(sum(numbers) / len(numbers), 6) for numbers in published)
    return (mean,), (std,)
  return published


def options(model: str, source: str) -> dict[str, float]:
  """The options of `create_model` with which `model` is the network of that source; mostly none.

  Args:
    model: one of `cnn_zoo.list_models()`.
    source: whose weights are to be loaded, "torchvision" or "timm".

  Example:
    >>> options("efficientnet_b7", "timm")
    {'epsilon': 1e-05}

  Returns:
    {option: value}.
  """
  return _OPTIONS.get((source, model), {})
