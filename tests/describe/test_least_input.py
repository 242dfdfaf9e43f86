"""Which layer refuses an input, and the least one that is taken."""

import pytest

from cnn_zoo.describe.least_input import least_input
from cnn_zoo.models import abstract_model

SQUARE = ("image_size", "image_size")


@pytest.mark.parametrize(
  ("name", "shape", "layer", "least"),
  [
    ("vgg11", (31, 31, 3), "pooling in layer stages.4", 32),
    ("lenet5", (20, 20, 1), "layer c5", 32),
    ("alexnet", (40, 40, 3), "pooling in the network itself", 63),
  ],
)
def test_images(name, shape, layer, least):
  model = abstract_model(name, in_channels=shape[-1])
  limit = least_input(model, shape, SQUARE)
  assert limit.sizes == {"image_size": least} and limit.layer == layer
  assert least_input(model, (least, least, shape[-1]), SQUARE) is None


def test_each_axis_by_itself():
  model = abstract_model("vgg11", rank=3, hidden_features=8)
  limit = least_input(model, (16, 48, 48, 3), ("frames", *SQUARE))
  assert limit.sizes == {"frames": 32}
  limit = least_input(model, (16, 24, 24, 3), ("frames", *SQUARE))
  assert limit.sizes == {"frames": 32, "image_size": 32}


def test_what_larger_inputs_would_not_help_is_not_explained():
  assert least_input(abstract_model("lenet5", in_channels=1), (40, 40, 1), SQUARE) is None
