import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe, load_torch_state_dict
from cnn_zoo.convolutions import TransposedConvolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import resize
from cnn_zoo.models import abstract_model, fcn, resnet, vgg
from cnn_zoo.pretrained.loading import match_tensors
from tests.helpers import golden
from tests.helpers.members import FULLY_CONNECTED, RESNET, VGG, Member, one_block, ranks
from tests.helpers.model_checks import check_gradients, evaluated, images, shrink, trained

MEMBERS = {
  "fcn8s": Member(
    {2: 40}, FULLY_CONNECTED, {"vgg16": {"layers": (1, 1, 1, 1, 1)}}, VGG, reached=("classifier", "scores")
  ),
  "fcn_resnet18": Member(ranks(33), fixed=one_block("resnet18"), tables=RESNET, quick=False),
}
FEATURES = {
  "FCN": "stage1 2, stage2 4, stage3 8, stage4 16, stage5 32, fc7 32",
  "SegmentationResNet": "conv1 2, conv2 4, conv3 8, conv4 8, conv5 8",
}

NETWORKS = tuple(fcn.FUSED)
VGG_CONVOLUTIONS = 14_714_688  # of VGG-16
# torchvision's, with the auxiliary head that the published weights have.
WITH_AUXILIARY = {"fcn_resnet50": 35_322_218, "fcn_resnet101": 54_314_346}


def rows(name, shape=(224, 224, 3), **options):
  return {row.path: row for row in describe(abstract_model(name, num_classes=21, **options), shape).rows}


@pytest.fixture
def tiny(monkeypatch):
  """`tiny(name)`: a network of few channels whose scores do not start at zero."""
  monkeypatch.setattr(vgg, "CHANNELS", (8, 8, 12, 12, 16))

  def build(name, **options):
    options = {"num_classes": 5, "in_channels": 2, "hidden_features": 16, "dropout_rate": 0.0} | options
    model = create_model(name, rngs=nnx.Rngs(0), **options)
    for seed, score in enumerate([model.classifier, *model.scores]):
      score.kernel.set_value(0.3 * jax.random.normal(jax.random.key(seed), score.kernel.shape))
    return model

  return build


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters(name):
  fc6, fc7 = 7 * 7 * 512 * 4096 + 4096, 4096 * 4096 + 4096
  scores = {"fcn32s": 4096 + 1, "fcn16s": 4096 + 512 + 2, "fcn8s": 4096 + 512 + 256 + 3}[name] * 21
  kernels = {"fcn32s": 64**2, "fcn16s": 4**2 + 32**2, "fcn8s": 2 * 4**2 + 16**2}[name] * 21 * 21
  total = VGG_CONVOLUTIONS + fc6 + fc7 + scores
  assert sum(row.parameters for row in rows(name, upsampling="bilinear").values()) == total
  assert sum(row.parameters for row in rows(name).values()) == total + kernels
  assert round(total / 1e6) == 134  # Table 1


def test_table_1():
  """The scores see 404 pixels, 32 apart."""
  table = rows("fcn32s")
  assert table["fc7"].receptive_field == table["classifier"].receptive_field == (404, 404)
  assert table["classifier"].output_shape == (7, 7, 21)
  table = rows("fcn8s")
  assert [table[f"scores.{i}"].output_shape for i in range(2)] == [(14, 14, 21), (28, 28, 21)]
  sizes = [(table[f"enlargements.{i}"].kernel_size[0], table[f"enlargements.{i}"].strides[0]) for i in range(3)]
  assert sizes == [(4, 2), (4, 2), (16, 8)] and table["enlargements.2"].output_shape == (224, 224, 21)
  assert [row.kernel_size for path, row in rows("fcn32s").items() if path.startswith("enlarge")] == [(64, 64)]
  assert [row.kernel_size for path, row in rows("fcn16s").items() if path.startswith("enlarge")] == [(4, 4), (32, 32)]


def traced(name, *shape, **options):
  model = abstract_model(name, in_channels=shape[-1], num_classes=7, **options)
  model.eval()
  graph, state = nnx.split(model)
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, x)


@pytest.mark.parametrize("name", [*NETWORKS, "fcn_resnet50"])
@pytest.mark.parametrize("sizes", [(33, 47), (32, 63), (1, 5), (100,), (17, 20, 33)], ids=str)
def test_the_output_has_the_inputs_size(name, sizes):
  options = {"hidden_features": 8} if name in NETWORKS else {}
  logits = traced(name, 2, *sizes, 2, rank=len(sizes), dtype=jnp.bfloat16, **options)
  assert logits.shape == (2, *sizes, 7) and logits.dtype == jnp.float32


def test_finer_scores_do_not_disturb_at_first(tiny):
  """As the paper, a network with skips answers at first as the one without, but for how it is enlarged."""
  x = images(70, 96, batch=1, channels=2)
  fine, coarse = (tiny(name, upsampling="bilinear") for name in ("fcn8s", "fcn32s"))
  for score in fine.scores:
    score.kernel.set_value(jnp.zeros(score.kernel.shape))
  coarse, fine = evaluated(coarse, x), evaluated(fine, x)
  assert fine.shape == coarse.shape == (1, 70, 96, 5)
  difference = np.abs(fine - coarse).max() / np.std(coarse)
  assert 1e-3 < difference < 0.7  # steps of 2, 2 and 8 instead of one of 32


def test_scores_start_at_zero_and_transposed_convolutions_interpolate():
  model = create_model("fcn16s", num_classes=3, hidden_features=4, rngs=nnx.Rngs(0))
  assert not any(np.any(score.kernel[...]) for score in (model.classifier, *model.scores))
  assert np.std(model.fc6.kernel[...]) == pytest.approx((2 / (49 * 512)) ** 0.5, rel=0.01)
  for layer in model.enlargements:
    assert isinstance(layer, TransposedConvolution) and layer.bias is None
    x = images(5, 5, batch=1, channels=3)
    edge = layer.strides[0] // 2
    inside = (slice(None), *[slice(edge, -edge)] * 2)
    expected = resize(x, 5 * layer.strides[0])
    np.testing.assert_allclose(layer(x)[inside], expected[inside], atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_resized_and_transposed_scores_are_equal_at_first(name, tiny):
  """Away from borders."""
  x = images(224, batch=1, channels=2)
  transposed, resized = (evaluated(tiny(name, upsampling=kind, rank=1), x) for kind in ("transposed", "bilinear"))
  np.testing.assert_allclose(transposed[:, 32:-32], resized[:, 32:-32], atol=1e-5)
  assert np.std(resized) > 0.05 and np.abs(transposed - resized).max() > 0.05


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_lie_on_one_another(name, tiny):
  """An input that is moved by the stride moves its logits by as much, where they see no border."""
  x = images(704 + 32, batch=1, channels=2)
  model = tiny(name, rank=1)
  first, moved = evaluated(model, x[:, :704]), evaluated(model, x[:, 32:])
  np.testing.assert_allclose(moved[:, 256:384], first[:, 288:416], atol=1e-5)
  assert np.std(first[:, 288:416]) > 0.02


def test_what_is_cut_off_is_what_was_padded(tiny):
  model, x = tiny("fcn8s"), images(40, 64, batch=1, channels=2)
  padded = jnp.pad(x, [(0, 0), (0, 24), (0, 0), (0, 0)])
  np.testing.assert_allclose(evaluated(model, x), evaluated(model, padded)[:, :40], atol=1e-5)


@pytest.mark.parametrize(
  ("name", "upsampling", "sizes"), [("fcn8s", "transposed", (33, 40)), ("fcn16s", "nearest", (70,))]
)
def test_training(name, upsampling, sizes, tiny):
  options = {"upsampling": upsampling, "rank": len(sizes), "dropout_rate": 0.2}
  models = [tiny(name, remat=remat, **options) for remat in (False, True)]
  check_gradients(models, images(*sizes, batch=2, channels=2), (2, *sizes, 5))


@pytest.fixture
def narrow(monkeypatch):
  """ResNets of few channels and blocks."""
  monkeypatch.setattr(resnet, "CHANNELS", (4, 4, 8, 8))
  monkeypatch.setattr(resnet, "STEM", 8)
  shrink(monkeypatch, "resnet50", layers=(1, 1, 1, 1))


class Sum(nnx.Module):
  """Training with an auxiliary head: one array of logits that has a gradient by both heads."""

  def __init__(self, model):
    self.model = model

  def __call__(self, x):
    logits, (auxiliary,) = self.model(x)
    return logits + 0.4 * auxiliary


def test_training_on_resnet(narrow):
  options = {"num_classes": 5, "in_channels": 2, "aux_head": True}
  models = [Sum(create_model("fcn_resnet50", remat=remat, rngs=nnx.Rngs(0), **options)) for remat in (False, True)]
  check_gradients(models, images(33, 20, batch=2, channels=2), (2, 33, 20, 5))


def test_the_auxiliary_head_runs_in_training_alone():
  for aux_head, training in ((True, True), (True, False), (False, True), (False, False)):
    model = abstract_model("fcn_resnet50", num_classes=5, aux_head=aux_head, dtype=jnp.bfloat16)
    model.train() if training else model.eval()
    graph, state = nnx.split(model)
    x = jax.ShapeDtypeStruct((2, 24, 17, 3), jnp.float32)
    answer = jax.eval_shape(lambda state, x, graph=graph: nnx.merge(graph, state)(x), state, x)
    logits = jax.ShapeDtypeStruct((2, 24, 17, 5), jnp.float32)
    assert answer == ((logits, (logits,)) if aux_head and training else logits)


@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_parameters_with_the_auxiliary_head(name):
  table = rows(name, aux_head=True)
  assert sum(row.parameters for row in table.values()) == WITH_AUXILIARY[name]
  assert table["auxiliary.classifier"].output_shape is None
  assert table["head.classifier"].output_shape == (28, 28, 21)


def test_output_stride():
  table = rows("fcn_resnet50", output_stride=16)
  assert table["head.classifier"].output_shape == (14, 14, 21)
  assert sum(row.parameters for row in table.values()) == 32_957_013


def test_dilation_instead_of_strides_on_the_small_network():
  tables = {stride: rows("fcn_resnet18", output_stride=stride) for stride in (8, 16, 32)}
  assert {sum(row.parameters for row in table.values()) for table in tables.values()} == {
    11_176_512 + 128 * (512 * 9 + 2) + 129 * 21
  }
  last = [tables[stride]["backbone.stages.3.1.conv2.conv"] for stride in (8, 16, 32)]
  assert [row.output_shape[:-1] for row in last] == [(28, 28), (14, 14), (7, 7)]
  assert len({row.receptive_field for row in last}) == 1


def test_weights_with_and_without_an_auxiliary_head():
  shapes = golden.golden("fcn_resnet50")["state_dict"]
  head = {"0.weight": (256, 1024, 3, 3), "4.weight": (21, 256, 1, 1), "4.bias": (21,)}
  head |= {f"1.{leaf}": (256,) for leaf in ("weight", "bias", "running_mean", "running_var")}
  both = shapes | {f"aux_classifier.{name}": shape for name, shape in head.items()}
  plain, model = (abstract_model("fcn_resnet50", num_classes=21, aux_head=aux) for aux in (False, True))
  assert len(match_tensors(model, both, "torchvision")) - len(match_tensors(plain, both, "torchvision")) == len(head)
  assert len(match_tensors(model, shapes, "torchvision")) == len(match_tensors(plain, shapes, "torchvision"))
  with pytest.raises(UserError, match=r"1 missing: aux_classifier\.4\.bias"):
    match_tensors(model, {name: both[name] for name in both if name != "aux_classifier.4.bias"}, "torchvision")


def test_vgg_has_no_weights():
  with pytest.raises(UserError, match="do not fit this FCN"):
    load_torch_state_dict(abstract_model("fcn8s"), {"classifier.0.weight": np.zeros((8, 8, 3, 3))})


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("fcn8s", {"upsampling": "transpose"}, "upsampling='transpose' is not known; did you mean transposed"),
    ("fcn_resnet50", {"output_stride": 4}, "output_stride=4 must be 8, 16 or 32"),
    ("fcn_resnet50", {"upsampling": "nearest"}, "model fcn_resnet50 has no option 'upsampling'"),
    ("fcn32s", {"dropout_rate": 1.0}, "rate=1.0 of Dropout must be"),
    ("fcn32s", {"hidden_features": 0}, "out_features=0 must be at least 1"),
  ],
)
def test_mistakes(name, options, message):
  with pytest.raises(UserError, match=message) as error:
    abstract_model(name, **options)
  assert "\n" not in str(error.value)


def test_an_input_of_another_rank():
  with pytest.raises(UserError, match="does not fit kernel_size"):
    traced("fcn32s", 1, 64, 3, hidden_features=8)


def _shifted(model):
  model.head.unit.conv.padding = ((2, 0), (1, 1))


def _first_block_dilated_too(model):
  conv = model.backbone.stages[3][0].conv2.conv
  conv.dilation, conv.padding = (4, 4), 4


@pytest.mark.parametrize("alter", [_shifted, _first_block_dilated_too], ids=lambda alter: alter.__name__)
def test_golden_logits_notice(alter):
  assert golden.error("fcn_resnet50", alter) > 2e-4


def test_golden_logits_notice_how_they_are_resized(monkeypatch):
  monkeypatch.setattr(fcn, "resize", lambda x, sizes: resize(x, sizes, "nearest"))
  assert golden.error("fcn_resnet50") > 0.01


def test_gradients_reach_only_the_scores_at_first():
  model = create_model("fcn32s", num_classes=3, hidden_features=8, rngs=nnx.Rngs(0))
  _, gradient, _ = trained(model, images(32, 32, batch=1))
  reached = {path[0].key for path, g in jax.tree_util.tree_leaves_with_path(gradient) if np.abs(g).max() > 0}
  assert reached == {"classifier"}
