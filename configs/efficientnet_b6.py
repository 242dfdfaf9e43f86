"""EfficientNet-B6 (Tan and Le 2019)."""

from configs import base, efficientnet_b4

get_config = base.sibling("efficientnet_b6", of=efficientnet_b4)
