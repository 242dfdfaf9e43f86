"""FCN on a dilated ResNet-18: the smallest, to see what output_stride (8, 16 or 32) does.

DeepLabv3's recipes without the auxiliary head, for there are no published weights that have one.
"""

from configs import base, deeplabv3_resnet50


def scenes(config):
  """Longer, which takes minutes."""
  deeplabv3_resnet50.scenes(config)
  config.model.aux_head = False
  config.epochs = 10.0


def pets(config):
  """As DeepLabv3."""
  deeplabv3_resnet50.pets(config)
  config.model.aux_head = False


get_config = base.sibling("fcn_resnet18", of=deeplabv3_resnet50, scenes=scenes, pets=pets)
