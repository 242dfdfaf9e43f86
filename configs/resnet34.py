"""ResNet-34 (He et al. 2015)."""

from configs import base, resnet50

get_config = base.sibling("resnet34", of=resnet50)
