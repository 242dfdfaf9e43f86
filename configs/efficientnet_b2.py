"""EfficientNet-B2 (Tan and Le 2019)."""

from configs import base, efficientnet_b0

get_config = base.sibling("efficientnet_b2", of=efficientnet_b0)
