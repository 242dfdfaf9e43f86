"""ResNet-34 with pre-activation (He et al. 2016)."""

from configs import base, resnet50

get_config = base.sibling("resnetv2_34", of=resnet50)
