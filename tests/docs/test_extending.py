"""docs/extending.md: its examples are applied to a copy of the project, which then has everything that they add."""

import os
import re
import shutil
import subprocess
import sys

from tests.helpers import ROOT

GUIDE = (ROOT / "docs" / "extending.md").read_text()
FENCE = r"```(python|diff)\n(.*?)```"

# What must hold in the copy; the parts are in the order of the guide.
CHECK = """
import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
import cnn_zoo
from cnn_zoo.convolutions import create_convolution, lowering
from cnn_zoo.convolutions.lowerings import fourier
from cnn_zoo.data import DatasetInfo
from cnn_zoo.data.kinds import KINDS
from cnn_zoo.data.specs import SPECS, DatasetSpec
from cnn_zoo.errors import UserError
from cnn_zoo.training import optimizers, settings
from configs import all_cnn_c, base
from experiments import lenet5_sgd
from tests.helpers.lowerings import check
from tests.models import test_all_cnn

for config in lenet5_sgd.get_config(), all_cnn_c.get_config(), all_cnn_c.get_config("svhn"):
  settings.check(config)
assert lenet5_sgd.get_config().optimizer.name == "sgd" and all_cnn_c.get_config("cifar10").epochs == 100

test_all_cnn.test_parameters()
model = cnn_zoo.create_model("all_cnn_c", num_classes=4, in_channels=1, rank=1, rngs=nnx.Rngs(0))
x = jnp.ones((2, 16, 1))
assert model(x).shape == (2, 4)
assert [y.shape for y in model.features(x).values()] == [(2, 8, 96), (2, 4, 192), (2, 4, 192)]

layer = create_convolution("bottleneck", 8, 16, (3, 3), reduction=2, rngs=nnx.Rngs(0))
assert layer.parameters() == 8 * 8 + 9 * 8 * 8 + 8 * 16 + 16
assert layer(jnp.ones((1, 5, 5, 8))).shape == layer.output_shape((1, 5, 5, 8)) == (1, 5, 5, 16)
lenet = cnn_zoo.create_model("lenet5", in_channels=1, convolution="bottleneck:reduction=2", rngs=nnx.Rngs(0))
assert type(lenet.c3).__name__ == "BottleneckConvolution"

layer = create_convolution("standard", 2, 3, (31, 33), rngs=nnx.Rngs(0))
for name in "auto", "lax":
  with lowering(name, platform="cpu"):
    assert ("fft" in str(jax.make_jaxpr(layer)(jnp.ones((2, 40, 35, 2))))) == (name == "auto")
for case in ((7,), (4,), 1, 1, 1), ((6, 7), (3, 4), 1, "SAME", 1):
  check(fourier.convolve, case, (3, 4))

assert SPECS["svhn"].kind == "image" and all_cnn_c.get_config("svhn").data.shift == 0.125

volume, data = KINDS["volume"], ConfigDict({"image_size": 4, "flip": True})
record = {"volume": np.arange(5 * 4 * 2, dtype=np.uint8).reshape(5, 4, 2, 1), "label": 3}
value, label = volume.make_example(record, None, data, None)
shapes = volume.shapes(data, 1)
assert (value.shape, value.dtype) == (shapes[0].shape, shapes[0].dtype) and label == 3
assert (value[:, :, 1:3] == record["volume"][:4]).all() and not value[:, :, ::3].any()
SPECS["scans"] = DatasetSpec("scans", "volume", {"image_size": 16})
config = base.get_config("resnet18", "scans")
assert (config.model.rank, config.task, config.data.image_size) == (3, "classification", 16)

config = all_cnn_c.get_config("digits")
config.data.brightness, config.data.shift, config.data.rotate, config.data.zoom = 1.0, 0.0, 0.0, 0.0
settings.check(config)
png = cv2.imencode(".png", np.full((32, 32), 100, np.uint8))[1].tobytes()
records = {
  "image": {"image": png, "label": 1},
  "clip": {"video": [png, png], "label": 1},
  "scene": {"image": png, "segmentation_mask": png},
}
factor = 1 + np.random.default_rng(1).uniform(-1, 1)
info = DatasetInfo(255, 1, "classification", "image", ())
for kind, record in records.items():
  value, _ = KINDS[kind].make_example(record, info, config.data, np.random.default_rng(1))
  assert value.shape == KINDS[kind].shapes(config.data, 1)[0].shape
  assert (value == round(100 * factor)).all() and factor != 1, kind

sounds = base.get_config("m5", "waveforms")
sounds.data.brightness = 0.3
try:
  settings.check(sounds)
except UserError as error:
  assert str(error).startswith("config.data.brightness=0.3 does not apply to config.data.name='waveforms'"), error
else:
  raise AssertionError("it is ignored")

config.optimizer.name, config.optimizer.weight_decay = "lion", 0.5
settings.check(config)
params = {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}
optimizer = optimizers.create_optimizer(config.optimizer, 0.1)
updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
np.testing.assert_allclose(updates["kernel"], -0.15, rtol=1e-6)
np.testing.assert_allclose(updates["bias"], -0.1, rtol=1e-6)
"""


def edits():
  """(section, path, whether it is new, language, text) of every block that belongs to a file."""
  section = path = new = None
  for match in re.finditer(rf"(?ms)^## (.*?)$|^`([\w./]+)`( \(new\))?:$|^{FENCE}", GUIDE):
    title, file, created, language, text = match.groups()
    if title:
      section, path = title, None
    elif file:
      path, new = file, bool(created)
    elif path:
      yield section, path, new, language, text


def apply(root, path, new, language, text):
  """Writes a new file, or replaces the lines of a diff, which must occur exactly once."""
  file = root / path
  assert new == (language == "python") == (not file.exists()), path
  if new:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return
  lines = [(line[:1], line[1:] + "\n") for line in text.splitlines()]
  before, after = ("".join(line for sign, line in lines if sign != left_out) for left_out in "+-")
  assert file.read_text().count(before) == 1, f"{path}:\n{before}"
  file.write_text(file.read_text().replace(before, after))


def test_examples(tmp_path):
  for folder in ("cnn_zoo", "configs", "tests/helpers"):
    shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
  (tmp_path / "tests" / "models").mkdir()
  shutil.copy(ROOT / "README.md", tmp_path)
  for _, *edit in edits():
    apply(tmp_path, *edit)
  environment = os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"}
  result = subprocess.run(
    [sys.executable, "-c", CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
  )
  assert result.returncode == 0, result.stderr


def test_counts():
  """The table counts the files of each section that are needed to run the addition."""
  stated = {title: int(count) for title, count in re.findall(r"(?m)^\| \[(.*?)\]\(.*?\) \| (\d+)\b", GUIDE)}
  files = {title.lower(): set() for title in re.findall(r"(?m)^## (.*)$", GUIDE)}
  for section, path, *_ in edits():
    if not path.startswith("tests/") and not path.endswith(".md"):
      files[section.lower()].add(path)
  assert stated == {title: len(paths) for title, paths in files.items()}
