"""The convolutions that are measured: layers of published networks, with their published sizes."""

import dataclasses
import math

from cnn_zoo.convolutions.arithmetic import output_sizes, transposed_output_sizes


@dataclasses.dataclass(frozen=True)
class Shape:
  """One convolution layer, without bias.

  Attributes:
    network: the network that it is part of.
    sizes: spatial sizes of the input.
    channels: of the input and of the output.
    kernel_size: one number for each spatial axis.
    stride: the same along every axis.
    dilation: the same along every axis.
    groups: as in `Convolution`.
    transposed: whether it is a transposed convolution.
    padding: on both sides of every axis. None for dilation * (kernel - 1) / 2, rounded down.
    batch: the number of examples.

  >>> shape = Shape("resnet50", (56, 56), (64, 256), (1, 1))
  >>> shape.name, shape.output_shape
  ('resnet50 56x56 64-256 1x1', (8, 56, 56, 256))
  """

  network: str
  sizes: tuple[int, ...]
  channels: tuple[int, int]
  kernel_size: tuple[int, ...]
  stride: int = 1
  dilation: int = 1
  groups: int = 1
  transposed: bool = False
  padding: int | None = None
  batch: int = 8

  @property
  def name(self) -> str:
    """The network and the sizes in one line, such as `resnet50 56x56 64-256 1x1`."""
    kernel = "x".join(map(str, self.kernel_size)) + (f"/{self.stride}" if self.stride > 1 else "")
    parts = [self.network, "x".join(map(str, self.sizes)), "{}-{}".format(*self.channels), kernel]
    if self.groups > 1:
      parts.append("depthwise" if self.groups == self.channels[0] else f"groups={self.groups}")
    parts += [f"dilation={self.dilation}"] * (self.dilation > 1) + ["transposed"] * self.transposed
    return " ".join(parts)

  @property
  def padding_pairs(self) -> tuple[tuple[int, int], ...]:
    """The padding (before, after) of each spatial axis."""
    pads = [self.dilation * (k - 1) // 2 if self.padding is None else self.padding for k in self.kernel_size]
    return tuple((pad, pad) for pad in pads)

  @property
  def input_shape(self) -> tuple[int, ...]:
    """[batch, *spatial, in]."""
    return (self.batch, *self.sizes, self.channels[0])

  @property
  def kernel_shape(self) -> tuple[int, ...]:
    """[*kernel_size, in / groups, out]."""
    return (*self.kernel_size, self.channels[0] // self.groups, self.channels[1])

  @property
  def output_shape(self) -> tuple[int, ...]:
    """[batch, *spatial, out]."""
    axes = len(self.sizes)
    strides, dilation = (self.stride,) * axes, (self.dilation,) * axes
    sizes = transposed_output_sizes if self.transposed else output_sizes
    return (self.batch, *sizes(self.sizes, self.kernel_size, strides, self.padding_pairs, dilation), self.channels[1])

  @property
  def multiply_adds(self) -> int:
    """Of the forward pass: one for each output element (if transposed, input element), kernel tap and channel."""
    elements = math.prod(self.input_shape if self.transposed else self.output_shape)
    met = self.channels[1 if self.transposed else 0] // self.groups
    return elements * math.prod(self.kernel_size) * met


def _depthwise(network, sizes, channels, kernel_size, **options):
  return Shape(network, sizes, (channels, channels), kernel_size, groups=channels, **options)


_K3 = (3, 3)
_C3D: dict = {"kernel_size": (3, 3, 3), "batch": 1}

GROUPS: dict[str, tuple[Shape, ...]] = {
  "2d": (
    Shape("resnet50", (224, 224), (3, 64), (7, 7), stride=2),
    Shape("resnet50", (56, 56), (64, 64), _K3),
    Shape("resnet50", (28, 28), (128, 128), _K3),
    Shape("resnet50", (14, 14), (256, 256), _K3),
    Shape("resnet50", (56, 56), (64, 256), (1, 1)),
    Shape("resnet50", (14, 14), (1024, 256), (1, 1)),
    _depthwise("efficientnet_b0", (112, 112), 32, _K3),
    _depthwise("efficientnet_b0", (28, 28), 240, (5, 5)),
    _depthwise("efficientnet_b0", (14, 14), 672, (5, 5)),
    _depthwise("convnext_tiny", (56, 56), 96, (7, 7)),
  ),
  # Dai et al. 2016, Very deep convolutional neural networks for raw waveforms, Table 1: a second at 8 kHz, pools of 4.
  "1d": (
    Shape("m5", (8000,), (1, 128), (80,), stride=4),
    Shape("m5", (500,), (128, 128), (3,)),
    Shape("m5", (125,), (128, 256), (3,)),
    Shape("m5", (31,), (256, 512), (3,)),
    Shape("m34_res", (8000,), (1, 48), (80,), stride=4),
    Shape("m34_res", (500,), (48, 48), (3,)),
    Shape("m34_res", (125,), (96, 96), (3,)),
    Shape("m34_res", (31,), (192, 192), (3,)),
    Shape("m34_res", (7,), (384, 384), (3,)),
  ),
  # Tran et al. 2015, Learning spatiotemporal features with 3D convolutional networks, Figure 3.
  "3d": (
    Shape("c3d", (16, 112, 112), (3, 64), **_C3D),
    Shape("c3d", (16, 56, 56), (64, 128), **_C3D),
    Shape("c3d", (8, 28, 28), (128, 256), **_C3D),
    Shape("c3d", (4, 14, 14), (256, 512), **_C3D),
    Shape("c3d", (2, 7, 7), (512, 512), **_C3D),
  ),
  "grouped": (
    Shape("alexnet", (27, 27), (96, 256), (5, 5), groups=2),  # over two GPUs, Krizhevsky et al. 2012
    Shape("resnext50_32x4d", (56, 56), (128, 128), _K3, groups=32),
    Shape("resnext50_32x4d", (14, 14), (512, 512), _K3, groups=32),
    Shape("regnet_y_400mf", (14, 14), (208, 208), _K3, groups=26),
    Shape("regnet", (14, 14), (384, 384), _K3, groups=8),  # a group of 48 channels, between those published
    Shape("shufflenet_v1", (28, 28), (240, 240), (1, 1), groups=3),
  ),
  "dilated": (
    Shape("deeplab", (28, 28), (256, 256), _K3, dilation=2),
    Shape("deeplab", (28, 28), (512, 512), _K3, dilation=4, batch=2),
  ),
  "dilated_depthwise": (
    _depthwise("deeplab", (28, 28), 256, _K3, dilation=2),
    _depthwise("deeplab", (28, 28), 960, _K3, dilation=2),  # MobileNetV2 at an output stride of 8
    _depthwise("van_b1", (56, 56), 64, (7, 7), dilation=3),
  ),
  "strided": (
    Shape("resnet50", (56, 56), (128, 128), _K3, stride=2),
    Shape("resnet50", (14, 14), (512, 512), _K3, stride=2),
    Shape("resnet50", (56, 56), (256, 512), (1, 1), stride=2),
    Shape("convnext_tiny", (224, 224), (3, 96), (4, 4), stride=4, padding=0),
    _depthwise("efficientnet_b0", (112, 112), 96, _K3, stride=2),
    _depthwise("efficientnet_b0", (56, 56), 144, (5, 5), stride=2),
  ),
  # The last stages for images of 32 x 32 pixels, such as digits, and DeepLabv3's pyramid for images of 64 x 64.
  "small": (
    Shape("resnet18", (2, 2), (256, 256), _K3, batch=64),
    Shape("resnet18", (1, 1), (512, 512), _K3, batch=64),
    Shape("resnet18", (4, 4), (128, 256), _K3, stride=2, batch=64),
    Shape("googlenet_paper", (4, 4), (32, 96), (5, 5), batch=64),
    Shape("deeplab", (8, 8), (2048, 256), _K3, dilation=12, batch=16),
  ),
  "transposed": (
    Shape("unet", (28, 28), (256, 128), (2, 2), stride=2, transposed=True),
    Shape("fcn", (14, 14), (21, 21), (4, 4), stride=2, transposed=True),
    Shape("fcn", (28, 28), (21, 21), (16, 16), stride=8, padding=4, transposed=True),
    Shape("dcgan", (8, 8), (512, 256), (4, 4), stride=2, transposed=True),
  ),
}
