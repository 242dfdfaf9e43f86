import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_convolution
from cnn_zoo.describe.footprints import averaging, reach, reach_centre


def make(name, kernel_size, in_features=1, out_features=1, **options):
  return create_convolution(name, in_features, out_features, kernel_size, rngs=nnx.Rngs(0), **options)


def extents(reached, rank):
  """The most inputs from the first to the last that reach one output, both counted, for each axis."""
  outputs = np.ndindex(reached.shape[: rank + 1])
  corners = [np.argwhere(reached[output])[:, :rank] for output in outputs]
  return tuple(np.max([np.ptp(c, axis=0) + 1 for c in corners if len(c)], axis=0).tolist())


@pytest.mark.parametrize(
  ("layer", "sizes"),
  [
    (make("standard", (5, 3)), (9, 9)),
    (make("standard", (3,), padding="CAUSAL", strides=2), (9,)),
    (make("standard", (3, 3, 3)), (5, 5, 5)),
    (make("grouped", (3, 3), 4, 4), (5, 5)),
    (make("pointwise", (1, 1), 2, 2), (3, 3)),
    (make("depthwise", (3, 3), 2, 4), (5, 5)),
    (make("depthwise_separable", (3, 3), 2, 3), (5, 5)),
    (make("spatially_separable", (3, 5), 1, 2), (9, 9)),
    (make("spatially_separable", (3, 3, 3), split="2+1", dilation=(1, 2, 1)), (5, 7, 5)),
    (make("dilated", (3, 3), dilation=(2, 4)), (11, 11)),
    (make("transposed", (4, 3), strides=2), (5, 5)),
    (make("transposed", (3,), strides=2, dilation=3), (7,)),
    (make("inverted_bottleneck", (3, 3), 2, 2, strides=2), (7, 7)),
  ],
  ids=lambda value: type(value).__name__ if isinstance(value, nnx.Module) else "x".join(map(str, value)),
)
def test_footprint_is_the_receptive_field(layer, sizes):
  channels = (layer if hasattr(layer, "in_features") else layer.convolutions[0]).in_features
  assert extents(reach(averaging(layer), (*sizes, channels)), len(sizes)) == layer.receptive_field()


def test_transposed_overlaps():
  """Inputs of kernel 3 begin 2 apart: 0-2, 2-4, 4-6 meet at 2 and 4. Of kernel 4: 0-3, 2-5, 4-7 meet in pairs."""
  three, four = (averaging(make("transposed", (k,), strides=2, padding="VALID")) for k in (3, 4))
  assert reach(three, (3, 1)).sum((1, 2, 3)).tolist() == [1, 1, 2, 1, 2, 1, 1]
  assert reach(four, (3, 1)).sum((1, 2, 3)).tolist() == [1, 1, 2, 2, 2, 2, 1, 1]
  plane = averaging(make("transposed", (3, 3), strides=2, padding="VALID"))
  one, counts = np.array([1, 1, 2, 1, 1]), reach(plane, (2, 2, 1)).sum((2, 3, 4, 5))
  np.testing.assert_array_equal(counts, np.outer(one, one))


def test_taps_between_channels():
  grouped = reach_centre(averaging(make("grouped", (3, 3), 4, 2, groups=2)), (5, 5, 4))
  assert grouped.sum((1, 2)).T.tolist() == [[9, 0], [9, 0], [0, 9], [0, 9]]
  depthwise = reach_centre(averaging(make("depthwise", (3,), 2, 4)), (5, 2))
  assert depthwise.sum(1).T.tolist() == [[3, 3, 0, 0], [0, 0, 3, 3]]


def test_the_centre_is_one_of_all():
  layer = averaging(make("depthwise_separable", (3, 3), 2, 3, strides=2))
  np.testing.assert_array_equal(reach(layer, (6, 8, 2))[1, 2], reach_centre(layer, (6, 8, 2)))


def test_only_what_has_a_gradient_is_reached():
  layer = make("standard", (3,))
  layer.kernel[...] = jnp.array([1.0, 0.0, -2.0]).reshape(3, 1, 1)
  assert reach_centre(layer, (5, 1))[0, :, 0].tolist() == [False, True, False, True, False]
  assert reach_centre(averaging(layer), (5, 1))[0, :, 0].tolist() == [False, True, True, True, False]
  np.testing.assert_array_equal(layer.kernel[:, 0, 0], [1, 0, -2])  # averaging took a copy


def test_relu6_hides_nothing():
  """With weights as drawn it may: where it is at rest, no gradient passes."""
  assert reach(averaging(make("inverted_bottleneck", (3, 3), 2, 2)), (3, 3, 2))[1, 1].all()
