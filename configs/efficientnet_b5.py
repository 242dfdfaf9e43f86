"""EfficientNet-B5 (Tan and Le 2019)."""

from configs import base, efficientnet_b4

get_config = base.sibling("efficientnet_b5", of=efficientnet_b4)
