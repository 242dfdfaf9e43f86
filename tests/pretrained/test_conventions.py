"""What published weights expect besides layers."""

import pytest

from cnn_zoo.models import list_models, model_options
from cnn_zoo.pretrained import conventions
from cnn_zoo.pretrained.conventions import IMAGENET, KINETICS, SYMMETRIC, normalization


def test_normalization():
  assert normalization("r3d_18", "torchvision") == KINETICS
  assert normalization("resnet50", "timm") == normalization("vgg16", "torchvision") == IMAGENET
  assert normalization("googlenet", "torchvision") == normalization("resnetv2_50", "timm") == SYMMETRIC
  assert normalization("efficientnet_v2_s", "torchvision") == IMAGENET


def test_normalization_of_grey_images_is_the_mean_over_colours():
  assert normalization("resnet50", "timm", 1) == ((0.449,), (0.226,))
  assert normalization("resnet50", "timm", 3) == IMAGENET


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_options_are_those_of_the_model_and_differ_from_its_own(source):
  given = {name: conventions.options(name, source) for name in list_models()}
  for name, options in given.items():
    own = model_options(name)
    assert all(option in own and own[option] != value for option, value in options.items()), name
  expected = ["efficientnet_b5", "efficientnet_b6", "efficientnet_b7"] if source == "timm" else []
  assert [name for name, options in given.items() if options] == expected
