"""ResNet-152 (He et al. 2015)."""

from configs import base, resnet50

get_config = base.sibling("resnet152", of=resnet50)
