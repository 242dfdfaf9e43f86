"""VGG-16 (Simonyan and Zisserman 2014) with batch normalisation."""

from configs import base, vgg16

get_config = base.sibling("vgg16_bn", of=vgg16)
