import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe, load_torch_state_dict
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, ConvNorm, Dropout
from cnn_zoo.models import abstract_model, googlenet
from cnn_zoo.models.googlenet import BLOCKS, Channels
from tests.helpers import golden
from tests.helpers.members import Member, ranks
from tests.helpers.model_checks import QUICK, evaluated, images, traced_shape, trained

FEWER = {
  "googlenet.STEM": (8, 8, 12),
  "googlenet.BLOCKS": dict.fromkeys(("3b", "4a", "4e", "5b"), Channels(8, 8, 8, 8, 8, 8)),
}
MEMBERS = {
  "googlenet": Member(ranks(48, 96, 32), tables=FEWER),
  "googlenet_paper": Member(ranks(48, 96, 32), {"stem": "separable"}, tables=FEWER),
}
FEATURES = {
  "GoogLeNet": "conv1 2, conv3 4, 3a 8, 3b 8, 4a 16, 4b 16, 4c 16, 4d 16, 4e 16, 5a 32, 5b 32",
}

# Table 1: output size, parameters (in thousands) and multiply-adds (in millions), as it is printed.
TABLE_1 = {
  "conv1": ((112, 112, 64), 2.7, 34),
  "conv3": ((56, 56, 192), 112, 360),
  "3a": ((28, 28, 256), 159, 128),
  "3b": ((28, 28, 480), 380, 304),
  "4a": ((14, 14, 512), 364, 73),
  "4b": ((14, 14, 512), 437, 88),
  "4c": ((14, 14, 512), 463, 100),
  "4d": ((14, 14, 528), 580, 119),
  "4e": ((14, 14, 832), 840, 170),
  "5a": ((7, 7, 832), 1072, 54),
  "5b": ((7, 7, 1024), 1388, 71),
  "linear": ((1000,), 1000, 1),
}
# Where the printed parameters are not those of the printed layers; in thousands of 1,024, biases left out.
ERRATA = {"4a": 367, "4b": 438, "4c": 497, "4d": 590, "4e": 847, "5a": 1018, "5b": 1409}
# The printed multiply-adds are those of the printed layers, but for this row's.
OPERATIONS_ERRATA = {"5a": 51}


def row_name(path):
  layer, _, rest = path.partition(".")
  if layer == "blocks":
    return list(BLOCKS)[int(rest.partition(".")[0])]
  return {"conv2": "conv3", "classifier": "linear"}.get(layer, layer)


def by_row(name, **options):
  """{row of Table 1: (largest map, weights without biases, multiply-adds)}."""
  model = abstract_model(name, **options)
  biases = {
    ".".join(map(str, path)): module.bias.get_value().size
    for path, module in nnx.iter_modules(model)
    if getattr(module, "bias", None) is not None
  }
  rows = {}
  for row in describe(model, (224, 224, 3)).rows:
    _, weights, operations = rows.get(row_name(row.path), (None, 0, 0))
    weights += row.parameters - biases.get(row.path, 0)
    rows[row_name(row.path)] = (row.output_shape, weights, operations + row.multiply_adds)
  return rows


def test_table_1():
  rows = by_row("googlenet_paper", stem="separable")
  assert list(rows) == list(TABLE_1)
  for name, (shape, thousands, millions) in TABLE_1.items():
    output, weights, operations = rows[name]
    channels = BLOCKS[name].outputs if name in BLOCKS else output[-1]
    assert (*output[:-1], channels) == shape
    if name != "conv1":
      assert weights / 1024 == pytest.approx(ERRATA.get(name, thousands), abs=1), name
    assert operations / 1e6 == pytest.approx(OPERATIONS_ERRATA.get(name, millions), abs=0.7), name


def test_the_separable_stem():
  """Table 1's 2.7K parameters and 34M operations are not those of a 7 x 7 convolution."""
  _, weights, operations = by_row("googlenet_paper", stem="separable")["conv1"]
  assert weights == 3 * 8 * 49 + 24 * 64 == 2712 and round(operations / 1e6) == 34
  _, weights, operations = by_row("googlenet_paper")["conv1"]
  assert weights == 3 * 64 * 49 and round(operations / 1e6) == 118
  with pytest.raises(UserError, match="stem='seperable' is not known; did you mean separable"):
    abstract_model("googlenet", stem="seperable")


def test_parameters_of_the_replication():
  """Caffe's model of the paper has 6,998,552 parameters without its auxiliary classifiers and 13,378,280 with them."""
  assert describe(abstract_model("googlenet_paper"), (224, 224, 3)).parameters == 6_998_552
  assert describe(abstract_model("googlenet_paper", aux_heads=True), (224, 224, 3)).parameters == 13_378_280


def test_22_layers():
  model = abstract_model("googlenet")
  assert 3 + 2 * len(model.blocks) + 1 == 22


def test_what_differs_between_the_versions():
  ours, paper = abstract_model("googlenet"), abstract_model("googlenet_paper")
  assert {block.conv_5x5.conv.kernel_size for block in ours.blocks} == {(3, 3)}
  assert {block.conv_5x5.conv.kernel_size for block in paper.blocks} == {(5, 5)}
  units = [module for _, module in nnx.iter_modules(ours) if isinstance(module, ConvNorm)]
  assert len(units) == 57 and {unit.norm.epsilon for unit in units} == {1e-3}
  assert all(unit.conv.bias is None for unit in units)
  units = [module for _, module in nnx.iter_modules(paper) if isinstance(module, ConvNorm)]
  assert all(unit.norm is None and unit.conv.bias is not None for unit in units)
  assert (ours.dropout.rate, paper.dropout.rate) == (0.2, 0.4)
  assert {head.dropout.rate for head in abstract_model("googlenet", aux_heads=True).auxiliary} == {0.7}


def test_initial_values():
  ours = create_model("googlenet", aux_heads=True, num_classes=100, rngs=nnx.Rngs(0))
  assert np.std(ours.blocks[8].conv_3x3.conv.kernel[...]) == pytest.approx(0.01, rel=0.01)
  assert np.abs(ours.auxiliary[0].hidden.bias[...]).max() == pytest.approx(2048**-0.5, rel=0.02)
  assert np.abs(ours.classifier.bias[...]).max() == pytest.approx(1024**-0.5, rel=0.1)
  paper = create_model("googlenet_paper", aux_heads=True, num_classes=100, rngs=nnx.Rngs(0))
  assert np.var(paper.blocks[8].conv_3x3.conv.kernel[...]) == pytest.approx(1 / (9 * 192), rel=0.01)
  for layer in (paper.conv1.conv, paper.auxiliary[1].conv.conv, paper.auxiliary[1].hidden):
    np.testing.assert_array_equal(layer.bias[...], np.full(layer.bias.shape, 0.2, np.float32))
  assert not np.any(paper.classifier.bias[...]) and not np.any(paper.auxiliary[0].classifier.bias[...])


# The first four logits of torchvision's network in training mode, dropout left out, with golden weights and input.
TRAINING = {
  "main": [[0.17306899, -0.47140052, -0.56693035, -0.54464039], [0.44156548, -0.36873255, -0.6761479, -0.61843038]],
  "aux1": [[0.17275115, 0.47713758, -0.38395714, 0.48055544], [0.25725178, -0.25932124, -0.42481562, 0.8076808]],
  "aux2": [[0.69973601, 0.44405142, -0.36415083, 0.14113262], [0.13543352, 0.50158768, 0.28625935, 0.40021443]],
}


def auxiliary_state(index, channels):
  """{torchvision's name: shape} of one auxiliary classifier."""
  shapes = {"conv.conv.weight": (128, channels, 1, 1), "fc1.weight": (1024, 2048), "fc2.weight": (1000, 1024)}
  shapes |= {f"conv.bn.{leaf}": (128,) for leaf in ("weight", "bias", "running_mean", "running_var")}
  shapes |= {"fc1.bias": (1024,), "fc2.bias": (1000,)}
  return {f"aux{index}.{name}": shape for name, shape in shapes.items()}


def test_training_with_torchvisions_auxiliary_classifiers():
  shapes = golden.golden("googlenet")["state_dict"] | auxiliary_state(1, 512) | auxiliary_state(2, 528)
  model = abstract_model("googlenet", aux_heads=True)
  load_torch_state_dict(model, {name: golden.tensor(name, shape) for name, shape in shapes.items()})
  for _, module in nnx.iter_modules(model):
    if isinstance(module, Dropout):
      module.rate, module.key = 0.0, None
  x = jnp.asarray(np.moveaxis(golden.image((2, 3, 96, 96)), 1, -1), jnp.float32)
  graph, state = nnx.split(model)
  run = jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=QUICK)
  logits, auxiliary = run(state, x)
  for ours, theirs in zip((logits, *auxiliary), TRAINING.values(), strict=True):
    assert ours.shape == (2, 1000) and ours.dtype == jnp.float32
    np.testing.assert_allclose(ours[:, :4], theirs, atol=1e-4)  # of numbers with a deviation of 0.5


def test_weights_with_and_without_auxiliary_classifiers():
  """What only one side has is left out; evaluation does not need it."""
  shapes = golden.golden("googlenet")["state_dict"]
  zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
  load_torch_state_dict(abstract_model("googlenet", aux_heads=True), zeros)
  more = {name: np.zeros(shape, np.float32) for name, shape in auxiliary_state(1, 512).items()}
  load_torch_state_dict(abstract_model("googlenet"), zeros | more)
  with pytest.raises(UserError, match="missing: aux2"):
    load_torch_state_dict(abstract_model("googlenet", aux_heads=True), zeros | more)


SMALL = Channels(8, 8, 8, 4, 4, 4)


@pytest.fixture
def small(monkeypatch):
  """Five blocks of few channels: each kind of place in the network once."""
  monkeypatch.setattr(googlenet, "BLOCKS", dict.fromkeys(("3b", "4a", "4d", "4e", "5b"), SMALL))
  monkeypatch.setattr(googlenet, "STEM", (8, 8, 12))
  monkeypatch.setattr(googlenet, "AUXILIARY_UNITS", 16)


def shapes(outputs):
  return jax.tree.map(jnp.shape, outputs)


@pytest.mark.parametrize("name", googlenet.VERSIONS)
def test_auxiliary_classifiers_are_there_in_training_alone(name, small):
  model = create_model(name, num_classes=5, aux_heads=True, rngs=nnx.Rngs(0))
  x = images(64, 64, batch=2)
  assert shapes(model(x)) == ((2, 5), ((2, 5), (2, 5)))
  model.eval()
  assert shapes(model(x)) == (2, 5)
  model.train()
  assert len(model(x)) == 2
  assert shapes(create_model(name, num_classes=5, rngs=nnx.Rngs(0))(x)) == (2, 5)


def test_the_papers_auxiliary_pooling():
  """Section 5: averages over 5 x 5 with stride 3, which makes 4 x 4 of 14 x 14."""
  head = googlenet.AuxiliaryClassifier(3, 5, version=googlenet.VERSIONS["googlenet_paper"], rank=2, rngs=nnx.Rngs(0))
  seen = []
  kind = type(head.conv)
  call = lambda self, x: seen.append(x) or kind.__call__(self, x)  # noqa: E731
  object.__setattr__(head.conv, "__class__", type("Seen", (kind,), {"__call__": call}))
  x = images(14, 14, batch=2)
  head(x)
  windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), (1, 2))[:, ::3, ::3]
  np.testing.assert_allclose(seen[0], windows.mean((-2, -1)), rtol=1e-4, atol=1e-6)
  head(images(4, 4, batch=2))  # a map of a smaller input is not averaged
  np.testing.assert_array_equal(seen[1], images(4, 4, batch=2))


def test_an_inception_block_in_numpy():
  block = googlenet.Inception(3, SMALL, version=googlenet.VERSIONS["googlenet_paper"], rank=2, rngs=nnx.Rngs(0))
  x = np.asarray(images(5, 6, batch=2), np.float64)

  def conv(unit, x):
    kernel, pad = np.asarray(unit.conv.kernel[...], np.float64), unit.conv.kernel_size[0] // 2
    x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    patches = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (1, 2))
    return np.maximum(np.einsum("nhwcij,ijco->nhwo", patches, kernel) + 0.2, 0)

  wide = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
  pooled = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (1, 2)).max((-2, -1))
  branches = [
    conv(block.conv_1x1, x),
    conv(block.conv_3x3, conv(block.reduce_3x3, x)),
    conv(block.conv_5x5, conv(block.reduce_5x5, x)),
    conv(block.projection, pooled),
  ]
  np.testing.assert_allclose(block(jnp.asarray(x, jnp.float32)), np.concatenate(branches, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("field", [{"response_norm": False}, {"last_pool": 2}])
def test_the_papers_version_has(field, small):
  model = create_model("googlenet_paper", num_classes=5, rngs=nnx.Rngs(0))
  x = 30 * images(64, 64, batch=2)
  logits = evaluated(model, x)
  model.version = model.version._replace(**field)
  assert np.abs(logits - evaluated(model, x)).max() > 1e-3 * np.std(logits)


@pytest.mark.parametrize("name", googlenet.VERSIONS)
@pytest.mark.parametrize("sizes", [(96,), (33, 47), (33, 36, 40)])
def test_other_sizes_and_ranks(name, sizes):
  assert traced_shape(name, 2, *sizes, 2, rank=len(sizes), num_classes=7) == (2, 7)


def test_auxiliary_classifiers_have_gradients(small):
  model = create_model("googlenet", num_classes=5, aux_heads=True, rank=1, rngs=nnx.Rngs(0))

  class Sum(nnx.Module):
    def __init__(self, model):
      self.model = model

    def __call__(self, x):
      logits, auxiliary = self.model(x)
      return logits + 0.3 * sum(auxiliary)

  _, gradient, _ = trained(Sum(model), images(64))
  for path, g in jax.tree_util.tree_leaves_with_path(gradient):
    assert np.isfinite(g).all() and np.abs(g).max() > 0, jax.tree_util.keystr(path)


def _last_pool(model):
  model.version = model.version._replace(last_pool=3)


def _shifted(model):
  model.blocks[3].conv_3x3.conv.padding = ((2, 0), (1, 1))


def _smaller_epsilon(model):
  for _, module in nnx.iter_modules(model):
    if isinstance(module, BatchNorm):
      module.epsilon = 1e-5


def _normalized(model):
  model.version = model.version._replace(response_norm=True)


ALTERATIONS = [_last_pool, _shifted, _smaller_epsilon, _normalized]


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
def test_golden_logits_notice(alter):
  assert golden.error("googlenet", alter) > 2e-4
