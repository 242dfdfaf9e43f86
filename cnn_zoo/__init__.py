"""CNN Zoo: convolutional networks in JAX."""

from cnn_zoo.convolutions import create_convolution, list_convolutions
from cnn_zoo.describe.summary import describe
from cnn_zoo.models import create_model, list_models
from cnn_zoo.pretrained.loading import load_torch_state_dict

__all__ = [
  "create_convolution",
  "create_model",
  "describe",
  "list_convolutions",
  "list_models",
  "load_torch_state_dict",
]
