"""DeepLabv3 on a dilated ResNet-101, as torchvision's."""

from configs import base, deeplabv3_resnet50

get_config = base.sibling("deeplabv3_resnet101", of=deeplabv3_resnet50)
