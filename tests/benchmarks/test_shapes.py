"""The measured shapes are those of the modules and of the networks."""

from flax import nnx

from cnn_zoo.benchmarks.shapes import GROUPS
from cnn_zoo.convolutions import Convolution, TransposedConvolution

EVERY_SHAPE = [shape for shapes in GROUPS.values() for shape in shapes]


def test_shapes_are_those_of_the_modules():
  """Kernel, output and multiply-adds, for each shape."""
  for shape in EVERY_SHAPE:
    kind = TransposedConvolution if shape.transposed else Convolution
    options = {"strides": shape.stride, "padding": shape.padding_pairs, "dilation": shape.dilation}
    layer = nnx.eval_shape(
      lambda shape=shape, kind=kind, options=options: kind(
        *shape.channels, shape.kernel_size, groups=shape.groups, **options, rngs=nnx.Rngs(0)
      )
    )
    assert layer.kernel.get_value().shape == shape.kernel_shape, shape.name
    assert layer.output_shape(shape.input_shape) == shape.output_shape, shape.name
    assert layer.multiply_adds(shape.input_shape) == shape.multiply_adds, shape.name


def test_shapes_are_those_of_the_networks():
  names = [shape.name for shape in EVERY_SHAPE]
  assert len(set(names)) == len(names)
  by_name = {shape.name: shape for shape in EVERY_SHAPE}
  stem = by_name["resnet50 224x224 3-64 7x7/2"]
  assert stem.output_shape == (8, 112, 112, 64) and stem.multiply_adds == 8 * 118_013_952
  assert by_name["m5 8000 1-128 80/4"].output_shape == (8, 2000, 128)
  assert by_name["unet 28x28 256-128 2x2/2 transposed"].output_shape == (8, 56, 56, 128)
  assert by_name["fcn 28x28 21-21 16x16/8 transposed"].output_shape == (8, 224, 224, 21)
  assert by_name["resnext50_32x4d 56x56 128-128 3x3 groups=32"].kernel_shape == (3, 3, 4, 128)
  dilated = by_name["van_b1 56x56 64-64 7x7 depthwise dilation=3"]
  assert dilated.padding_pairs == ((9, 9), (9, 9)) and dilated.output_shape == dilated.input_shape
