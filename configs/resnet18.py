"""ResNet-18 (He et al. 2015)."""

from configs import base, resnet50

get_config = base.sibling("resnet18", of=resnet50)
