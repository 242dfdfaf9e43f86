"""FCN on a dilated ResNet-50, as torchvision's."""

from configs import base, deeplabv3_resnet50

get_config = base.sibling("fcn_resnet50", of=deeplabv3_resnet50)
