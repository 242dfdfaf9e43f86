"""EfficientNetV2-M (Tan and Le 2021)."""

from configs import base, efficientnet_v2_s

get_config = base.sibling("efficientnet_v2_m", of=efficientnet_v2_s)
