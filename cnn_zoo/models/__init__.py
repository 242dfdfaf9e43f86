"""One file per family; importing a family registers its names."""

from cnn_zoo.models import efficientnet, lenet
from cnn_zoo.models.registry import abstract_model, create_model, list_models, model_options, published_setting

__all__ = [
  "abstract_model",
  "create_model",
  "efficientnet",
  "lenet",
  "list_models",
  "model_options",
  "published_setting",
]
