import re
import subprocess
import sys
import tomllib

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import cnn_zoo
from cnn_zoo.convolutions import convolution_options
from cnn_zoo.errors import UserError
from tests.helpers import ROOT


def test_public_names():
  for name in cnn_zoo.__all__:
    assert getattr(cnn_zoo, name).__doc__
  names = {
    "configure_runtime",
    "create_convolution",
    "create_model",
    "describe",
    "list_convolutions",
    "list_models",
    "load_torch_state_dict",
  }
  assert names <= set(cnn_zoo.__all__)


def test_import_is_light():
  heavy = (
    "('tensorflow', 'torch', 'matplotlib', 'pandas', 'orbax', 'grain', 'tensorflow_datasets', 'optax', 'absl.app')"
  )
  before = "import sys, jax, flax.nnx; before = set(sys.modules); import cnn_zoo; "
  code = before + f"print([m for m in {heavy} if m in sys.modules and m not in before])"
  assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_create_model():
  model = cnn_zoo.create_model("lenet5", num_classes=3, in_channels=1, rngs=nnx.Rngs(0))
  assert (model.c1.in_features, model.output.out_features, model.dtype) == (1, 3, jnp.float32)
  assert "lenet5" in cnn_zoo.list_models()


def test_list_convolutions():
  assert cnn_zoo.list_convolutions() == [
    "standard",
    "grouped",
    "pointwise",
    "depthwise",
    "depthwise_separable",
    "spatially_separable",
    "dilated",
    "transposed",
    "inverted_bottleneck",
  ]
  common = {"strides", "padding", "dilation", "use_bias", "kernel_init", "bias_init"}
  own = {name: set(convolution_options(name)) - common for name in cnn_zoo.list_convolutions()}
  assert own == {
    "standard": {"groups"},
    "grouped": {"groups"},
    "pointwise": {"groups"},
    "depthwise": {"multiplier"},
    "depthwise_separable": {"multiplier", "normalization", "activation"},
    "spatially_separable": {"rank", "split", "groups", "normalization", "activation"},
    "dilated": {"groups"},
    "transposed": {"output_padding", "groups"},
    "inverted_bottleneck": {"expansion", "normalization", "activation", "zero_init_residual"},
  }
  assert all(common <= set(convolution_options(name)) for name in cnn_zoo.list_convolutions())


@pytest.mark.parametrize(
  ("name", "out_features", "parameters"),
  [
    ("standard", 6, 9 * 4 * 6 + 6),
    ("depthwise", 8, 9 * 8 + 8),
    ("pointwise", 6, 4 * 6 + 6),
    ("grouped", 6, 9 * 2 * 6 + 6),
    ("dilated", 6, 9 * 4 * 6 + 6),
    ("transposed", 6, 9 * 4 * 6 + 6),
    ("depthwise_separable", 6, 9 * 4 + 4 * 6 + 6),
    ("spatially_separable", 6, 3 * 4 * 6 + 3 * 6 * 6 + 6),
    ("inverted_bottleneck", 6, (4 * 24 + 24) + (9 * 24 + 24) + (24 * 6 + 6)),
  ],
)
def test_create_convolution(name, out_features, parameters):
  assert name in cnn_zoo.list_convolutions()
  kernel_size = (1, 1) if name == "pointwise" else (3, 3)
  layer = cnn_zoo.create_convolution(name, 4, out_features, kernel_size, strides=2, rngs=nnx.Rngs(0))
  x = jnp.zeros((1, 5, 5, 4))
  size = 10 if name == "transposed" else 3
  assert layer(x).shape == layer.output_shape(x.shape) == (1, size, size, out_features)
  assert sum(p.size for p in jax.tree.leaves(nnx.state(layer, nnx.Param))) == layer.parameters() == parameters


@pytest.mark.parametrize(
  ("arguments", "options", "message"),
  [
    (("standrad", 4, 4, (3, 3)), {}, "convolution='standrad' is not known; did you mean standard?"),
    (("depthwise", 4, 6, (3, 3)), {}, "out_features=6 of a depthwise convolution must be a multiple of in_features=4"),
    (("depthwise", 4, 4, (3, 3)), {"groups": 2}, "convolution depthwise has no option 'groups'; valid: bias_init"),
    (("pointwise", 4, 4, (3, 3)), {}, r"kernel_size=\(3, 3\) of a pointwise convolution must be 1"),
    (("pointwise", 4, 4, 1), {}, "kernel_size=1 must have one size for each spatial axis"),
    (("standard", 4, 4, (3, 3)), {"stride": 2}, "has no option 'stride'; did you mean strides?"),
    (("transposed", 4, 4, (3, 3)), {"outputpadding": 1}, "has no option 'outputpadding'; did you mean output_padding"),
  ],
)
def test_mistakes_are_told_in_one_line(arguments, options, message):
  with pytest.raises(UserError, match=message) as error:
    cnn_zoo.create_convolution(*arguments, **options, rngs=nnx.Rngs(0))
  assert "\n" not in str(error.value)


def test_installed_copies_are_whole():
  """A wheel holds what package-data names besides modules, and the version that the package says."""
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  patterns = project["tool"]["setuptools"]["package-data"]["cnn_zoo"]
  package = ROOT / "cnn_zoo"
  named = {path for pattern in patterns for path in package.glob(pattern)}
  others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
  assert others == named and package / "py.typed" in named
  assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "cnn_zoo.__version__"}
  assert re.fullmatch(r"\d+\.\d+\.\d+", cnn_zoo.__version__)
