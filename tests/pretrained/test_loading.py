"""PyTorch's tensors in our layers. That whole networks then answer as PyTorch's is in test_golden.py."""

import importlib.machinery
import itertools
import re
import sys
import types

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import list_models, load_torch_state_dict
from cnn_zoo.convolutions import Convolution, TransposedConvolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, Linear
from cnn_zoo.models import abstract_model
from cnn_zoo.models.registry import entry
from cnn_zoo.pretrained.loading import match_tensors
from tests.helpers import ROOT, golden


class Network(nnx.Module):
  """One layer of each kind; a family of its own, called as this file."""

  def __init__(self, aux=False):
    rngs = nnx.Rngs(0)
    self.wave = Convolution(4, 6, (3,), padding="VALID", groups=2, rngs=rngs)
    self.image = Convolution(3, 5, (2, 3), use_bias=False, rngs=rngs)
    self.up = TransposedConvolution(4, 6, (3,), strides=2, padding="VALID", groups=2, use_bias=False, rngs=rngs)
    self.norm = BatchNorm(3)
    self.dense = Linear(4, 5, rngs=rngs)
    self.gamma = nnx.Param(jnp.zeros(7))
    self.aux = nnx.List([Linear(4, 5, rngs=rngs)] if aux else [])


SHAPES = {
  "wave.weight": (6, 2, 3),
  "wave.bias": (6,),
  "image.weight": (5, 3, 2, 3),
  "up.weight": (4, 3, 3),
  "norm.weight": (3,),
  "norm.bias": (3,),
  "norm.running_mean": (3,),
  "norm.running_var": (3,),
  "dense.weight": (5, 4),
  "dense.bias": (5,),
  "gamma": (7,),
}
AUX_SHAPES = {"aux.0.weight": (5, 4), "aux.0.bias": (5,)}


@pytest.fixture(autouse=True)
def family(monkeypatch):
  """The file of names that belongs to `Network`."""
  name = f"cnn_zoo.pretrained.families.{__name__.rpartition('.')[2]}"
  module = types.ModuleType(name)
  module.__spec__ = importlib.machinery.ModuleSpec(name, None)
  module.torchvision = lambda name: name
  monkeypatch.setitem(sys.modules, name, module)
  return module


def values(shapes=SHAPES, dtype=np.float32):
  return {name: golden.tensor(name, shape).astype(dtype) for name, shape in shapes.items()}


def leaves(model):
  return {
    jax.tree_util.keystr(path): np.asarray(x)
    for path, x in jax.tree.leaves_with_path(nnx.to_pure_dict(nnx.state(model)))
  }


def refusal(state, model=None, source="torchvision"):
  """What is said about weights that do not fit, after which the model is as it was."""
  model = Network() if model is None else model
  before = leaves(model)
  with pytest.raises(UserError) as error:
    load_torch_state_dict(model, state, source)
  assert "\n" not in str(error.value)
  after = leaves(model)
  assert all(np.array_equal(before[name], after[name]) for name in before)
  return str(error.value)


def test_grouped_convolution():
  """By its definition, over PyTorch's [out, in / groups, taps]."""
  model, state = Network(), values()
  load_torch_state_dict(model, state)
  x, weight = golden.image((2, 5, 4)), state["wave.weight"]
  expected = np.zeros((2, 3, 6)) + state["wave.bias"]
  for o, i, tap, at in itertools.product(range(6), range(2), range(3), range(3)):
    expected[:, at, o] += x[:, at + tap, o // 3 * 2 + i] * weight[o, i, tap]
  np.testing.assert_allclose(model.wave(jnp.asarray(x, jnp.float32)), expected, rtol=1e-5, atol=1e-5)


def test_grouped_transposed_convolution():
  """By its definition, over PyTorch's [in, out / groups, taps]."""
  model, state = Network(), values()
  load_torch_state_dict(model, state)
  x, weight = golden.image((2, 5, 4)), state["up.weight"]
  expected = np.zeros((2, 11, 6))
  for i, o, tap, at in itertools.product(range(4), range(3), range(3), range(5)):
    expected[:, 2 * at + tap, i // 2 * 3 + o] += x[:, at, i] * weight[i, o, tap]
  np.testing.assert_allclose(model.up(jnp.asarray(x, jnp.float32)), expected, rtol=1e-5, atol=1e-5)


def test_other_layers():
  model, state = Network(), values()
  load_torch_state_dict(model, state)
  np.testing.assert_array_equal(model.image.kernel[...], np.einsum("oihw->hwio", state["image.weight"]))
  np.testing.assert_array_equal(model.dense.kernel[...], state["dense.weight"].T)
  np.testing.assert_array_equal(model.dense.bias[...], state["dense.bias"])
  np.testing.assert_array_equal(model.norm.scale[...], state["norm.weight"])
  np.testing.assert_array_equal(model.norm.bias[...], state["norm.bias"])
  np.testing.assert_array_equal(model.norm.mean[...], state["norm.running_mean"])
  np.testing.assert_array_equal(model.norm.variance[...], state["norm.running_var"])
  np.testing.assert_array_equal(model.gamma[...], state["gamma"])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, jnp.float32])
def test_parameters_stay_float32(dtype):
  model, state = Network(), values(dtype=dtype)
  load_torch_state_dict(model, state)
  assert {x.dtype for x in leaves(model).values()} == {np.dtype(np.float32)}
  np.testing.assert_array_equal(model.gamma[...], state["gamma"].astype(np.float32))


def test_the_model_does_not_share_memory_with_the_weights():
  model, state = Network(), values()
  load_torch_state_dict(model, state)
  before = leaves(model)
  for array in state.values():
    array[...] = 0
  assert all(np.array_equal(before[name], x) for name, x in leaves(model).items())


def test_arrays_stay_where_they_are():
  model = Network()
  sharding = jax.sharding.NamedSharding(jax.make_mesh((1,), ("data",)), jax.sharding.PartitionSpec())
  model.gamma.set_value(jax.device_put(model.gamma[...], sharding))
  load_torch_state_dict(model, values())
  assert model.gamma.get_value().sharding == sharding and not model.dense.kernel.get_value().committed


def test_axes_of_length_1_are_bridged():
  model, state = Network(), values()
  load_torch_state_dict(model, state)
  bridged = Network()
  shapes = {"gamma": (7, 1, 1), "dense.weight": (5, 4, 1, 1), "wave.weight": (6, 2, 3, 1)}
  load_torch_state_dict(bridged, state | {name: state[name].reshape(shape) for name, shape in shapes.items()})
  assert all(np.array_equal(x, leaves(model)[name]) for name, x in leaves(bridged).items())


class TorchTensor:
  """What a tensor of PyTorch refuses and offers: NumPy cannot read bfloat16, nor what requires gradients."""

  dtype = "torch.bfloat16"

  def __init__(self, array, steps=()):
    self.array, self.steps, self.shape = array, steps, array.shape

  def _then(self, step):
    return TorchTensor(self.array, (*self.steps, step))

  def detach(self):
    return self._then("detach")

  def cpu(self):
    return self._then("cpu")

  def float(self):
    result = self._then("float")
    result.dtype = "torch.float32"
    return result

  def __array__(self, dtype=None, copy=None):
    if self.steps != ("detach", "cpu", "float"):
      raise TypeError("Got unsupported ScalarType BFloat16")
    return np.asarray(self.array, dtype)


def test_tensors_of_torch():
  state = {name: x.astype(ml_dtypes.bfloat16).astype(np.float32) for name, x in values().items()}
  plain, ours = Network(), Network()
  load_torch_state_dict(plain, state)
  assert load_torch_state_dict(ours, {name: TorchTensor(x) for name, x in state.items()}) == []
  assert all(np.array_equal(x, leaves(ours)[name]) for name, x in leaves(plain).items())


def test_wrapped_weights_load():
  """As a training program saved them; test_state_dicts.py has the other wrappers."""
  plain, wrapped = Network(), Network()
  load_torch_state_dict(plain, values())
  state = {"epoch": 3, "state_dict": {f"module.{name}": x for name, x in values().items()}}
  notes = load_torch_state_dict(wrapped, state)
  assert notes == ["took the entry 'state_dict'", "removed the prefix 'module.'"]
  assert all(np.array_equal(x, leaves(wrapped)[name]) for name, x in leaves(plain).items())


@pytest.mark.parametrize(("given", "wanted"), [(3, 1), (1, 3)])
def test_input_channels_are_adapted(given, wanted):
  """A grey image has the same features before and after."""
  before, after = (nnx.Dict(layer=Convolution(n, 5, (3, 3), rngs=nnx.Rngs(0))) for n in (given, wanted))

  class Family(Network):
    def __init__(self, layer):
      self.layer = layer

  state = values({"layer.weight": (5, given, 3, 3), "layer.bias": (5,)})
  load_torch_state_dict(Family(before.layer), state)
  says = f"layer.weight (5, {given}, 3, 3) instead of (5, {wanted}, 3, 3); adapt_input=True would adapt layer.weight"
  assert says in refusal(state, Family(after.layer))
  notes = load_torch_state_dict(Family(after.layer), state, adapt_input=True)
  assert notes == [f"layer.weight: adapted from {given} to {wanted} input channels"]
  grey = jnp.asarray(golden.image((2, 6, 6, 1)), jnp.float32)
  features = [network.layer(jnp.tile(grey, n)) for network, n in ((before, given), (after, wanted))]
  np.testing.assert_allclose(*features, rtol=1e-5, atol=1e-5)


def test_other_channels_are_not_adapted():
  state = values(SHAPES | {"image.weight": (5, 2, 2, 3)})
  with pytest.raises(UserError, match=r"1 misshapen: image.weight \(5, 2, 2, 3\) instead of \(5, 3, 2, 3\)$"):
    load_torch_state_dict(Network(), state, adapt_input=True)


def test_num_batches_tracked_is_ignored():
  load_torch_state_dict(Network(), values() | {"norm.num_batches_tracked": np.asarray(3)})


def test_all_that_is_wrong_is_listed():
  state = values(SHAPES | {"norm.weight": (4,), "dense.weight": (4, 5), "image.weight": (5, 3, 3, 2), "new.bias": (2,)})
  del state["gamma"], state["up.weight"]
  assert refusal(state) == (
    "the weights from torchvision do not fit this Network: 2 missing: up.weight, gamma; 1 surplus: new.bias; "
    "3 misshapen: dense.weight (4, 5) instead of (5, 4), image.weight (5, 3, 3, 2) instead of (5, 3, 2, 3), "
    "norm.weight (4,) instead of (3,)"
  )


@pytest.mark.parametrize(
  ("name", "value", "dtype", "says"),
  [
    ("wave.weight", np.nan, np.float32, "1 with numbers that are not finite: wave.weight"),
    ("gamma", -np.inf, np.float16, "1 with numbers that are not finite: gamma"),
    ("dense.bias", 1e300, np.float64, "1 with numbers that are not finite: dense.bias"),
    ("norm.running_var", -1e-6, np.float32, "1 with negative variances: norm.running_var"),
    ("image.weight", 1, np.int64, "1 not of floating-point numbers: image.weight (int64)"),
    ("norm.running_mean", 1, np.bool_, "1 not of floating-point numbers: norm.running_mean (bool)"),
  ],
)
def test_values_that_no_network_has(name, value, dtype, says):
  state = values()
  state[name] = state[name].astype(dtype)
  state[name].flat[-1] = value
  assert refusal(state) == f"the weights from torchvision hold what no network of this kind has: {says}"


def test_a_kernel_on_another_axis_is_misshapen():
  model = nnx.Dict(layer=Convolution(2, 3, (3, 1), rngs=nnx.Rngs(0)))
  shapes = {"layer.weight": (3, 2, 1, 3), "layer.bias": (3,)}

  class Family(Network):
    def __init__(self):
      self.layer = model.layer

  assert "layer.weight (3, 2, 1, 3) instead of (3, 2, 3, 1)" in refusal(values(shapes), Family())


def test_long_lists_are_cut():
  surplus = {f"more.{i}": (1,) for i in range(50)}
  message = refusal(values(SHAPES | surplus))
  assert "50 surplus: more.0, " in message and message.endswith("more.19 and 30 more")


def test_two_layers_of_one_name(family):
  family.torchvision = lambda name: re.sub(r"dense\.bias", "wave.bias", name)
  assert "1 wanted twice: wave.bias" in refusal(values())


def test_names_may_need_the_model(family):
  family.torchvision = lambda name, model: f"{type(model).__name__}.{name}"
  model = Network()
  load_torch_state_dict(model, {f"Network.{name}": x for name, x in values().items()})
  np.testing.assert_array_equal(model.gamma[...], values()["gamma"])


def test_auxiliary_heads_that_one_side_lacks(family):
  """Refused, unless the family says that it may be so; then as a whole alone."""
  both = SHAPES | AUX_SHAPES
  assert "2 surplus: aux.0.weight, aux.0.bias" in refusal(values(both))
  assert "2 missing: aux.0.weight, aux.0.bias" in refusal(values(), Network(aux=True))

  family.OPTIONAL = {"torchvision": (r"aux\.",)}
  load_torch_state_dict(Network(), values(both))
  lacking = Network(aux=True)
  before = np.asarray(lacking.aux[0].kernel[...])
  load_torch_state_dict(lacking, values())
  np.testing.assert_array_equal(lacking.aux[0].kernel[...], before)
  whole = Network(aux=True)
  load_torch_state_dict(whole, values(both))
  np.testing.assert_array_equal(whole.aux[0].kernel[...], values(both)["aux.0.weight"].T)
  part = values(both)
  del part["aux.0.bias"]
  assert "1 missing: aux.0.bias" in refusal(part, Network(aux=True))


def test_old_names(family):
  family.RENAMED = {"torchvision": ((r"^body\.", ""),)}
  old = {"body." + name if name.startswith("wave") else name: x for name, x in values().items()}
  new, older = Network(), Network()
  load_torch_state_dict(new, values())
  load_torch_state_dict(older, old)
  assert all(np.array_equal(x, leaves(new)[name]) for name, x in leaves(older).items())
  assert "1 surplus: wave.bias" in refusal(values() | {"body.wave.bias": old["body.wave.bias"]})  # both


def test_sources(family):
  assert refusal(values(), source="keras") == "source='keras' is not known; valid: timm, torchvision"
  says = f"source='timm' has no weights for a Network of {__name__.rpartition('.')[2]}; valid: torchvision"
  assert refusal(values(), source="timm") == says
  with pytest.raises(UserError, match="source='timm' has no weights for a LeNet5 of lenet; none are known"):
    load_torch_state_dict(abstract_model("lenet5"), {}, "timm")


def test_abstract_models_take_weights():
  model = nnx.eval_shape(Network)
  load_torch_state_dict(model, values())
  np.testing.assert_array_equal(model.dense.kernel[...], values()["dense.weight"].T)


def test_every_family_is_documented():
  """A loader that docs/pretrained.md does not name is not found."""
  table = (ROOT / "docs" / "pretrained.md").read_text()
  files = (ROOT / "cnn_zoo" / "pretrained" / "families").glob("[!_]*.py")
  families = {path.stem: [] for path in files}
  for name in list_models():
    families.get(entry(name).model.__module__.rpartition(".")[2], []).append(name)
  for family, models in families.items():
    assert models and any(f"`{name}`" in table for name in models), family


def shapes_of(name):
  return golden.golden(name)["state_dict"]


def test_auxiliary_heads_of_googlenet():
  """Its published weights have them; they are for training alone."""
  weights = shapes_of("googlenet")
  heads = {
    f"aux{i}.{tensor}": shape
    for i in (1, 2)
    for tensor, shape in {
      "conv.conv.weight": (128, 512 + 16 * (i == 2), 1, 1),
      "conv.bn.weight": (128,),
      "conv.bn.bias": (128,),
      "conv.bn.running_mean": (128,),
      "conv.bn.running_var": (128,),
      "fc1.weight": (1024, 2048),
      "fc1.bias": (1024,),
      "fc2.weight": (1000, 1024),
      "fc2.bias": (1000,),
    }.items()
  }
  plain, with_heads = abstract_model("googlenet"), abstract_model("googlenet", aux_heads=True)
  used = len(match_tensors(plain, weights, "torchvision"))
  assert len(match_tensors(plain, weights | heads, "torchvision")) == used
  assert len(match_tensors(with_heads, weights, "torchvision")) == used
  assert len(match_tensors(with_heads, weights | heads, "torchvision")) == used + 18


def test_published_files_of_densenet_have_old_names():
  """As "denselayer1.norm.1" for "denselayer1.norm1"; of the weights that torchvision publishes."""
  shapes = shapes_of("densenet121")
  old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): shape for name, shape in shapes.items()}
  assert len(old.keys() - shapes.keys()) > 300
  model = abstract_model("densenet121")
  new = {name: tensor.variable for name, tensor in match_tensors(model, shapes, "torchvision").items()}
  for name, tensor in match_tensors(model, old, "torchvision").items():
    assert new[re.sub(r"(norm|conv)\.([12])", r"\1\2", name)] is tensor.variable


@pytest.mark.parametrize(
  "name", ["vgg11", "resnet18", "mobilenet_v2", "efficientnet_b0", "efficientnet_v2_s", "convnext_tiny"]
)
def test_replaced_convolutions_do_not_fit(name):
  model = abstract_model(name, convolution="spatially_separable")
  with pytest.raises(UserError, match=r"do not fit this .* missing: .* surplus: "):
    match_tensors(model, shapes_of(name), "torchvision")
