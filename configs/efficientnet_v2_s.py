"""EfficientNetV2-S (Tan and Le 2021); M, L and XL differ by the name and the resolution."""

from cnn_zoo.models.efficientnet_v2 import TRAININGS
from configs import efficientnet_b0


def get_config(dataset="digits", model="efficientnet_v2_s"):
  """EfficientNet's recipe, which is this paper's too (section 5.1), at the last size of progressive learning.

  Except on ImageNet the warm-up is shorter than B0's.
  """
  config = efficientnet_b0.get_config(dataset, model, warmup_epochs=0.5)
  if config.data.name == "imagenet":
    config.data.image_size = TRAININGS[model].largest
  return config
