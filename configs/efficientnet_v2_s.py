"""EfficientNetV2-S (Tan and Le 2021); M, L and XL differ by the name and the resolution.

EfficientNet's recipes, which are this paper's too (section 5.1).
"""

from cnn_zoo.models.efficientnet_v2 import TRAININGS
from configs import base, efficientnet_b0, efficientnet_b4


def imagenet(config):
  """At the last size of progressive learning."""
  efficientnet_b0.imagenet(config)
  config.data.image_size = TRAININGS[config.model.name].largest


get_config = base.sibling("efficientnet_v2_s", of=efficientnet_b4, imagenet=imagenet)
