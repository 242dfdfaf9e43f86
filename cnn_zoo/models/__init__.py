"""One file per family; importing a family registers its names."""

from cnn_zoo.models import (
  alexnet,
  convnext,
  densenet,
  efficientnet,
  efficientnet_v2,
  googlenet,
  lenet,
  mobilenet_v1,
  mobilenet_v2,
  resnet,
  resnetv2,
  vgg,
  xception,
  zfnet,
)
from cnn_zoo.models.registry import abstract_model, create_model, list_models, model_options, published_setting

__all__ = [
  "abstract_model",
  "alexnet",
  "convnext",
  "create_model",
  "densenet",
  "efficientnet",
  "efficientnet_v2",
  "googlenet",
  "lenet",
  "list_models",
  "mobilenet_v1",
  "mobilenet_v2",
  "model_options",
  "published_setting",
  "resnet",
  "resnetv2",
  "vgg",
  "xception",
  "zfnet",
]
