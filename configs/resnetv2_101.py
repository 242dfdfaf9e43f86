"""ResNet-101 with pre-activation (He et al. 2016)."""

from configs import base, resnet50

get_config = base.sibling("resnetv2_101", of=resnet50)
