"""EfficientNetV2-L (Tan and Le 2021)."""

from configs import base, efficientnet_v2_s

get_config = base.sibling("efficientnet_v2_l", of=efficientnet_v2_s)
