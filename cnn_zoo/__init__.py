"""CNN Zoo: convolutional networks in JAX."""

from cnn_zoo.convolutions import create_convolution, list_convolutions
from cnn_zoo.describe.summary import describe
from cnn_zoo.memory import configure_runtime
from cnn_zoo.models import create_model, list_models
from cnn_zoo.pretrained.loading import load_torch_state_dict

__version__ = "0.1.0"

__all__ = [
  "configure_runtime",
  "create_convolution",
  "create_model",
  "describe",
  "list_convolutions",
  "list_models",
  "load_torch_state_dict",
]
