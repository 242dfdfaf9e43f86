"""Any convolution variant in any architecture: what it replaces, what it keeps, what it refuses."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import describe
from cnn_zoo.convolutions import (
  Convolution,
  DepthwiseSeparableConvolution,
  initializers,
  list_convolutions,
  lowering,
)
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, SqueezeExcitation
from cnn_zoo.models import abstract_model, create_model
from cnn_zoo.models.surgery import parse_convolution, replace_convolutions

STRIDED = "stem+blocks.1+blocks.3+blocks.5+blocks.11"  # of EfficientNet-B0
FITTING = {
  "efficientnet_b0": [
    "grouped:keep=stem",
    "grouped:groups=8,keep=stem+blocks.0",
    "depthwise:keep=stem",
    "depthwise_separable",
    "depthwise_separable:multiplier=2,activation=relu,normalization=batch",
    "spatially_separable",
    "spatially_separable:dilation=2",
    "dilated",
    "dilated:dilation=3",
    f"transposed:keep={STRIDED}",
    "inverted_bottleneck:expansion=2,normalization=batch",
  ],
  "lenet5": [
    "grouped:groups=2,keep=c1",
    "depthwise:keep=c3+c5",
    "depthwise_separable",
    "depthwise_separable:dilation=2",
    "spatially_separable:rank=3",
    "dilated",
    "transposed",
    "transposed:dilation=2",
    "inverted_bottleneck",
  ],
}
INPUTS = {"efficientnet_b0": (64, 64, 3), "lenet5": (32, 32, 1)}


def table(name, convolution="standard"):
  return describe(abstract_model(name, in_channels=INPUTS[name][-1], convolution=convolution), INPUTS[name])


def costs(row):
  return row.path, row.type, row.output_shape, row.parameters, row.multiply_adds


@pytest.fixture(scope="module")
def own():
  return {name: table(name) for name in FITTING}


@pytest.mark.parametrize(("name", "convolution"), [(name, c) for name in FITTING for c in FITTING[name]])
def test_sizes_stay(name, convolution, own):
  """Each layer of the architecture, or what took its place, has the output that it had."""
  rows = table(name, convolution).rows
  variant, options = parse_convolution(convolution)
  keep = options.get("keep", "").split("+")
  for row in own[name].rows:
    here = [other for other in rows if f"{other.path}.".startswith(f"{row.path}.")]
    assert [other.output_shape for other in here][-1] == row.output_shape, row.path
    stays = (
      row.kernel_size is None or max(row.kernel_size) == 1 or any(f"{row.path}.".startswith(f"{k}.") for k in keep)
    )
    assert not stays or [costs(other) for other in here] == [costs(row)]
    if not stays and variant not in ("grouped", "depthwise", "dilated"):  # which are convolutions too
      assert all(other.path != row.path or other.type != "Convolution" for other in here)


def test_every_variant_is_tried():
  for name in FITTING:
    assert {c.partition(":")[0] for c in FITTING[name]} == set(list_convolutions()) - {"standard", "pointwise"}


class Layers(nnx.Module):
  """Convolutions in the places where models have them: an attribute, a list, a module in a list."""

  def __init__(self, kernel_size=(3, 2), **options):
    rngs, ones = nnx.Rngs(0), (1,) * len(kernel_size)
    self.first = Convolution(4, 8, kernel_size, **options, rngs=rngs)
    self.more = nnx.List([Convolution(8, 8, ones, rngs=rngs), Convolution(8, 8, kernel_size, **options, rngs=rngs)])
    self.inner = nnx.List([SqueezeExcitation(8, 2, rank=len(kernel_size), rngs=rngs)])

  def replaced(self):
    return [self.first, self.more[1]]


SHRINKING = [
  {"padding": "SAME", "strides": 2},
  {"padding": 1, "strides": 2},
  {"padding": "VALID", "strides": (2, 3), "dilation": 2},
]
OTHERS = [
  {"padding": "SAME"},
  {"padding": "VALID"},
  {"padding": 1},
  {"padding": ((2, 0), (0, 1))},
  {"padding": "SAME", "dilation": 2},
  {"padding": "VALID", "dilation": (1, 2)},
  {"padding": "CAUSAL", "kernel_size": (3,)},
  {"padding": (2, 1, 0), "kernel_size": (3, 2, 1)},
]
VARIANTS = ["grouped", "depthwise", "depthwise_separable", "spatially_separable", "dilated", "inverted_bottleneck"]


@pytest.mark.parametrize(
  ("name", "geometry"),
  [*itertools.product(VARIANTS, SHRINKING + OTHERS), *itertools.product(["transposed"], OTHERS)],
  ids=str,
)
@pytest.mark.parametrize("dilation", [None, 3])
def test_output_shapes_stay_in_any_geometry(name, geometry, dilation):
  before, after = Layers(**geometry), Layers(**geometry)
  options = {} if dilation is None else {"dilation": dilation}
  replace_convolutions(after, {"name": name, **options}, rngs=nnx.Rngs(1))
  sizes = (17, 18, 19)[: len(before.first.kernel_size)]
  for old, new in zip(before.replaced(), after.replaced(), strict=True):
    shape = (1, *sizes, old.in_features)
    assert new is not old and new.output_shape(shape) == old.output_shape(shape)
    # Every step of which it is made has one tap, or is dilated as asked.
    asked = dilation or (2 if name == "dilated" else old.dilation)
    for step in getattr(new, "convolutions", [new]):
      for taps, actual, wanted in zip(step.kernel_size, step.dilation, np.broadcast_to(asked, len(sizes)), strict=True):
        assert taps == 1 or actual == wanted
  assert type(after.more[0]) is Convolution and after.more[0].kernel_size == before.more[0].kernel_size


@pytest.mark.parametrize("name", [*VARIANTS, "transposed"])
def test_a_causal_layer_stays_causal(name):
  model = Layers((3,), padding="CAUSAL", dilation=2)
  replace_convolutions(model, name, rngs=nnx.Rngs(0))
  model.eval()  # statistics of a batch see the future
  x = jax.random.normal(jax.random.key(0), (1, 12, 4))
  changed = np.abs(np.asarray(model.first(x.at[:, 6].add(1.0)) - model.first(x))).max((0, 2)) > 1e-6
  assert not changed[:6].any() and changed[[6, 8, 10]].all()


def test_what_is_in_common_stays():
  options = {"strides": 2, "padding": 1, "groups": 2, "use_bias": False, "kernel_init": initializers.ones}
  model = Layers(**options)
  replace_convolutions(model, "spatially_separable", rngs=nnx.Rngs(0))
  steps = model.first.convolutions
  assert [(step.strides, step.groups, step.bias) for step in steps] == [((2, 1), 2, None), ((1, 2), 2, None)]
  assert all((step.kernel[...] == 1).all() for step in steps)
  model = Layers(**options)
  replace_convolutions(model, "depthwise", rngs=nnx.Rngs(0))  # its groups are its own
  assert (model.first.groups, model.first.bias, float(model.first.kernel[...].min())) == (4, None, 1)
  model = Layers(**options)
  replace_convolutions(model, "dilated:groups=4", rngs=nnx.Rngs(0))  # an option is stronger
  assert (model.first.groups, model.first.strides) == (4, (2, 2))


@pytest.mark.parametrize(
  ("convolution", "norms"),
  [
    ("depthwise_separable", [None, None]),
    ("depthwise_separable:normalization=batch", [BatchNorm, None]),
    ("depthwise_separable:normalization=none", [None, None]),
    ("inverted_bottleneck", [BatchNorm, BatchNorm, BatchNorm]),
    ("inverted_bottleneck:normalization=none", [None, None, None]),
  ],
)
def test_normalization_between_the_steps(convolution, norms):
  model = Layers()
  replace_convolutions(model, convolution, rngs=nnx.Rngs(0))
  assert [norm and type(norm) for norm in model.first.norms] == norms


@pytest.mark.parametrize(
  ("convolution", "scale"),
  [("inverted_bottleneck", 0), ("inverted_bottleneck:zero_init_residual=False", 1)],
)
def test_inverted_bottlenecks_start_as_the_identity(convolution, scale):
  layer = create_model("resnet18", convolution=convolution, num_classes=2, rngs=nnx.Rngs(0)).stages[0][0].conv1.conv
  assert float(layer.norms[-1].scale[...].max()) == scale


@pytest.mark.parametrize(
  ("keep", "kept"),
  [
    ("", []),
    ("first", ["first"]),
    ("more.1", ["more.1"]),
    ("more", ["more.1"]),
    ("more+first", ["first", "more.1"]),
    ("inner", []),
  ],
)
def test_keep(keep, kept):
  model = Layers()
  replace_convolutions(model, f"depthwise_separable:keep={keep}", rngs=nnx.Rngs(0))
  layers = {"first": model.first, "more.1": model.more[1]}
  assert [path for path, layer in layers.items() if isinstance(layer, Convolution)] == kept


def test_keep_takes_whole_names():
  """blocks.1 is not blocks.10."""
  model = abstract_model("efficientnet_b0", convolution="depthwise_separable:keep=blocks.1")
  assert isinstance(model.blocks[1].depthwise.conv, Convolution)
  assert isinstance(model.blocks[10].depthwise.conv, DepthwiseSeparableConvolution)


def leaves(model):
  return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(weights(model))}


def weights(model):
  return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))


def assert_same(model, other):
  ours, theirs = leaves(model), leaves(other)
  assert ours.keys() == theirs.keys()
  assert [path for path in ours if ours[path].tobytes() != theirs[path].tobytes()] == []


def lenet(convolution, seed=0):
  return create_model("lenet5", in_channels=1, convolution=convolution, rngs=nnx.Rngs(seed))


def test_standard_changes_nothing():
  own = create_model("lenet5", in_channels=1, rngs=nnx.Rngs(0))
  for convolution in ("standard", "standard:", {"name": "standard"}, {}):
    assert_same(lenet(convolution), own)
  assert not np.array_equal(lenet("standard", seed=1).c1.kernel[...], own.c1.kernel[...])


@pytest.mark.parametrize(
  ("text", "mapping"),
  [
    ("depthwise_separable", {"name": "depthwise_separable"}),
    ("grouped:groups=2,keep=c1", {"name": "grouped", "groups": 2, "keep": "c1"}),
    (
      "inverted_bottleneck:expansion=2,activation=silu,normalization=batch,keep=c1+c3",
      {"name": "inverted_bottleneck", "expansion": 2, "activation": "silu", "normalization": "batch", "keep": "c1+c3"},
    ),
  ],
)
def test_text_and_mapping_say_the_same(text, mapping):
  given = dict(mapping)
  assert_same(lenet(text), lenet(mapping))
  assert mapping == given


def test_what_is_kept_keeps_its_numbers():
  own, other = create_model("lenet5", in_channels=1, rngs=nnx.Rngs(0)), lenet("grouped:groups=2,keep=c1")
  for name in ("c1", "f6", "output"):
    assert_same(getattr(own, name), getattr(other, name))
  assert other.c3.kernel[...].shape == (5, 5, 3, 16) and other.c3.kernel_init is initializers.lecun_uniform


@pytest.mark.parametrize(
  ("name", "convolution", "message"),
  [
    (
      "lenet5",
      "grouped",
      r"'grouped' cannot replace c1 \(5x5, 1 -> 6 channels\): groups=2 must divide .*; keep=c1 leaves",
    ),
    (
      "lenet5",
      "depthwise",
      "'depthwise' cannot replace c3 .*: out_features=16 .* must be a multiple of in_features=6; k",
    ),
    (
      "lenet5",
      "pointwise",
      r"'pointwise' cannot replace c1 .*: kernel_size=\(5, 5\) of a pointwise convolution must be 1",
    ),
    ("lenet5", "grouped:groups=2,keep=c1+c3+c6", "keep='c6' is no layer of the model; did you mean c5 or c3 or c1"),
    ("lenet5", "dilated:keep=first", "keep='first' is no layer of the model; valid: c1, c3, c5"),
    ("lenet5", "dilated:keep=3", "convolution dilated: keep=3 must be a name"),
    ("lenet5", "dilated:dilation=0", r"cannot replace c1 .*: dilation=0 must be at least 1"),
    ("lenet5", "grouped:groups=0", "cannot replace c1 .*: groups=0 must divide"),
    (
      "lenet5",
      "transposed:output_padding=1",
      r"cannot replace c1 .*: output_padding=1 must .* below the larger of strides=\(1, 1\) and dilation=\(1, 1\)",
    ),
    ("lenet5", "spatially_separable:split=2+1", r"cannot replace c1 .*: split='2\+1' needs a kernel of rank 3"),
    (
      "efficientnet_b0",
      "transposed",
      r"cannot replace blocks.1.depthwise.conv .*: with strides=\(2, 2\) it would enlarge",
    ),
    ("efficientnet_b0", "grouped", "cannot replace stem.conv .*3 -> 32 channels.*: groups=2 must divide in_features=3"),
    ("lenet5", "nonsense", "convolution='nonsense' is not known; valid: depthwise, depthwise_separable, dilated, "),
    (
      "lenet5",
      "depthwise_seperable",
      "convolution='depthwise_seperable' is not known; did you mean depthwise_separable",
    ),
    ("lenet5", "", "convolution='' is not known; valid: depthwise, "),
    ("lenet5", {"name": 3}, "convolution=3 is not known"),
    ("lenet5", "standard:groups=2", "convolution standard, the architecture's own, takes no option, here groups=2"),
    ("lenet5", "dilated:dilatoin=2", "convolution dilated has no option 'dilatoin'; did you mean dilation"),
    ("lenet5", "dilated:padding=1", "convolution dilated has no option 'padding'; valid: dilation, groups, keep"),
    ("lenet5", "dilated:dilation", "convolution='dilated:dilation' must be NAME or NAME:option=value,option=value"),
    ("lenet5", "dilated:dilation=two", "convolution dilated: dilation='two' must be a whole number"),
    ("lenet5", "dilated:dilation=1.5", "convolution dilated: dilation=1.5 must be a whole number"),
    ("lenet5", "inverted_bottleneck:zero_init_residual=1", "zero_init_residual=1 must be True or False"),
    ("lenet5", "grouped:groups=True", "convolution grouped: groups=True must be a whole number"),
    ("lenet5", {"name": "dilated", "dilation": (1, 2)}, r"dilation=\(1, 2\) must be a whole number"),
    ("lenet5", "depthwise_separable:normalization=layer", "normalization='layer' is not known; valid: batch, none"),
    (
      "lenet5",
      "depthwise_separable:activation=rellu",
      "cannot replace c1 .*: activation='rellu' is not known; did you",
    ),
  ],
)
def test_refusals(name, convolution, message):
  with pytest.raises(UserError, match=message) as error:
    abstract_model(name, in_channels=INPUTS[name][-1], convolution=convolution)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  "convolution",
  [
    "grouped:keep=stem",
    "depthwise:keep=stem",
    "depthwise_separable:multiplier=2,activation=relu,normalization=batch",
    "spatially_separable",
    "dilated",
    "transposed:keep=stem+blocks.1+blocks.2+blocks.3+blocks.5",
    "inverted_bottleneck:expansion=2,zero_init_residual=False",
  ],
)
def test_a_small_network_learns(convolution):
  """The loss and its gradient by every parameter are numbers, and none of the gradients is nothing but zero."""
  options = {"width": 0.25, "depth": 0.25, "num_classes": 3, "stochastic_depth_rate": 0.0, "rngs": nnx.Rngs(0)}
  model = create_model("efficientnet_b0", convolution=convolution, **options)
  graph, params, rest = nnx.split(model, nnx.Param, ...)

  @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # it runs once
  def loss_and_gradient(params, rest, x):
    def loss(params):
      return -jax.nn.log_softmax(nnx.merge(graph, params, rest, copy=True)(x))[:, 0].mean()

    return jax.value_and_grad(loss)(params)

  x = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))
  with lowering("lax"):
    loss, gradient = loss_and_gradient(params, rest, x)
  assert np.isfinite(loss)
  norms = {jax.tree_util.keystr(p): float(jnp.linalg.norm(g)) for p, g in jax.tree.leaves_with_path(gradient)}
  assert np.isfinite(list(norms.values())).all()
  assert [path for path, norm in norms.items() if norm == 0] == []
