"""EfficientNetV2-XL (Tan and Le 2021)."""

from configs import base, efficientnet_v2_s

get_config = base.sibling("efficientnet_v2_xl", of=efficientnet_v2_s)
