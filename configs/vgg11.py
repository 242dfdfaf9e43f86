"""VGG-11 (Simonyan and Zisserman 2014)."""

from configs import base, vgg16

get_config = base.sibling("vgg11", of=vgg16)
