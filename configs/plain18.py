"""The plain network of 18 layers, without shortcuts (He et al. 2015, section 3.3)."""

from configs import base, resnet50

get_config = base.sibling("plain18", of=resnet50)
