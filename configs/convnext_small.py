"""ConvNeXt-S (Liu et al. 2022)."""

from configs import base, convnext_tiny

get_config = base.sibling("convnext_small", of=convnext_tiny)
