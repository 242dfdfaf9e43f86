"""Importing: from a file of published weights to a folder that eval.py and train.py take."""

import concurrent.futures
import dataclasses
import json
import subprocess
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from cnn_zoo import data, load_torch_state_dict
from cnn_zoo.command_line import load_config
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model
from cnn_zoo.pretrained.conventions import IMAGENET, KINETICS, SYMMETRIC, normalization
from cnn_zoo.runs.evaluation import evaluate
from cnn_zoo.runs.importing import import_weights
from cnn_zoo.runs.saved import open_run
from cnn_zoo.tasks import normalize
from cnn_zoo.training.initialization import load_initial_weights
from cnn_zoo.training.loop import train
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs
from tests.helpers import ROOT, golden

WEIGHTS = ROOT / "tests" / "pretrained" / "weights"
MODEL = "resnet18"


def write_safetensors(path, tensors):
  header, data, end = {}, [], 0
  for name, array in tensors.items():
    start, end = end, end + array.nbytes
    header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [start, end]}
    data.append(array.tobytes())
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))


def run(**flags):
  script = [sys.executable, "scripts/import_weights.py", *(f"--{flag}={value}" for flag, value in flags.items())]
  return subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def state():
  shapes = golden.golden(MODEL)["state_dict"]
  return {name: golden.tensor(name, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def imported(state, tmp_path_factory):
  """The folder that the script makes of `state`."""
  folder = tmp_path_factory.mktemp("import")
  write_safetensors(folder / "weights.safetensors", state)
  out = folder / "runs" / "imported"
  done = run(model=MODEL, weights=folder / "weights.safetensors", source="torchvision", out=out)
  assert done.returncode == 0, done.stderr
  assert f"{MODEL}: 11,689,512 parameters" in done.stdout and f"--config.init={out}" in done.stdout
  return out


def trained_for(monkeypatch, num_classes, labels=()):
  """Colour images of 32 x 32 pixels, encoded and not, instead of every dataset."""
  images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
  records = [
    {"image": cv2.imencode(".png", image[..., ::-1])[1].tobytes(), "label": label}
    for image, label in zip(images, labels, strict=False)
  ]
  monkeypatch.setattr(data, "open_dataset", lambda settings: dataset)
  info = data.DatasetInfo(num_classes, 3, "classification", "image", ())
  dataset = data.Dataset("tiny", info, records, records)
  monkeypatch.setattr(data, "dataset_info", lambda settings, prepared=True: info)
  return images


def test_evaluation_uses_the_weights(imported, state, monkeypatch):
  """The network's own answers to the pixels that it was made for are all right."""
  config = ConfigDict(json.loads((imported / "config.json").read_text()))
  assert (config.model.name, config.data.name) == (MODEL, "imagenet")
  model = abstract_model(MODEL)
  load_torch_state_dict(model, state)
  model.eval()
  images = trained_for(monkeypatch, 1000)
  pixels = normalize(jnp.asarray(images), *IMAGENET, jnp.float32)
  logits = nnx.jit(lambda model, x: model(x))(model, pixels)
  trained_for(monkeypatch, 1000, np.argmax(logits, -1).tolist())

  config.data.image_size, config.data.crop, config.eval.batch_size = 32, "resize", 12
  config.compilation_cache = ""
  result = evaluate(config, imported)
  assert (result["step"], result["weights"], result["examples"], result["top1"]) == (0, "raw", 12, 1.0)
  expected = -jax.nn.log_softmax(logits).max(-1).mean()
  assert result["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_the_examples_of_training_are_not_evaluated(imported, monkeypatch):
  """What this project holds out for validation, the published weights were trained on."""
  trained_for(monkeypatch, 1000, [0] * 12)
  dataset = data.open_dataset(None)
  monkeypatch.setattr(data, "open_dataset", lambda settings: dataclasses.replace(dataset, validation=dataset.train))
  config = ConfigDict(json.loads((imported / "config.json").read_text()))
  config.compilation_cache = ""
  with pytest.raises(UserError, match=r"^split='val' holds examples that imported weights were trained on; valid: spl"):
    evaluate(config, imported, split="val")


def test_fine_tuning_starts_from_the_weights(imported, state, monkeypatch):
  """All of them except the classifier, which is re-initialised; the log says so."""
  trained_for(monkeypatch, 7)
  config = load_config(str(ROOT / "configs" / f"{MODEL}.py"))
  config.init = str(imported)
  programs = Programs(config, create_mesh())
  random = jax.device_get(programs.network.params["classifier"])
  says = load_initial_weights(programs, config)
  assert says == (
    f"starting from the weights of weights.safetensors (torchvision) in {imported}, except classifier.bias and "
    f"classifier.kernel: re-initialised for 7 classes instead of 1000; "
    f"they were made for config.data.mean={IMAGENET[0]}; they were made for config.data.std={IMAGENET[1]}"
  )
  start = jax.device_get(programs.initial_state())
  model = abstract_model(MODEL, num_classes=7)
  load_torch_state_dict(model, state | {"fc.weight": random["kernel"].T, "fc.bias": random["bias"]})
  for kind, tree in ((nnx.Param, start.params), (nnx.BatchStat, start.batch_stats)):
    expected = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, kind)))
    assert all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(tree), expected, strict=True))


def test_training_in_the_folder_of_imported_weights_is_refused(imported):
  config = load_config(str(ROOT / "configs" / "lenet5.py"))
  config.compilation_cache = ""
  with pytest.raises(UserError, match=r"holds imported weights, not a run; give another --workdir and --config\.init="):
    train(config, imported)


def test_video_weights_are_to_start_from(tmp_path, capsys):
  """Those of Kinetics have 400 classes, the dataset of clips has 101."""
  shapes = golden.golden("mc3_18")["state_dict"]
  write_safetensors(tmp_path / "weights.safetensors", {name: np.zeros(s, np.float32) for name, s in shapes.items()})
  config = load_config(f"{ROOT}/configs/mc3_18.py:{data.SPECS['moving_digits'].published}")
  import_weights(config, tmp_path / "weights.safetensors", "torchvision", tmp_path / "out")
  out = capsys.readouterr().out
  assert "they have 400 classes, ucf101 has 101" in out and "--config=configs/mc3_18.py:DATASET" in out
  config = json.loads((tmp_path / "out" / "config.json").read_text())
  assert (config["task"], config["data"]["name"], config["data"]["frames"]) == ("classification", "ucf101", 16)
  with pytest.raises(
    UserError, match=r"do not fit config.data.name='ucf101' \(classifier.bias: \(400,\) -> \(101,\)\); v"
  ):
    open_run(None, tmp_path / "out", prepared=False)


def test_weights_of_other_channels(imported, tmp_path, capsys):
  """Weights for colour in a model for grey: it answers as the other does where the three channels are equal."""
  config = load_config(f"{ROOT}/configs/{MODEL}.py:imagenet")
  weights = imported.parents[1] / "weights.safetensors"
  import_weights(config, weights, "torchvision", tmp_path / "grey", in_channels=1)
  out = capsys.readouterr().out
  assert "conv1.weight: adapted from 3 to 1 input channels" in out
  assert "they take 1 channels, imagenet has 3" in out and "'--config.data.mean=(0.449,)'" in out
  saved = json.loads((tmp_path / "grey" / "config.json").read_text())
  assert (saved["data"]["mean"], saved["data"]["std"]) == ([0.449], [0.226])


def test_normalization():
  assert normalization("r3d_18", "torchvision") == KINETICS
  assert normalization("resnet50", "timm") == normalization("vgg16", "torchvision") == IMAGENET
  assert normalization("googlenet", "torchvision") == normalization("resnetv2_50", "timm") == SYMMETRIC
  assert normalization("efficientnet_v2_s", "torchvision") == IMAGENET


def test_mistakes(state, tmp_path):
  """One line, and nothing is written."""
  good, bad, there = tmp_path / "good.safetensors", tmp_path / "bad.safetensors", tmp_path / "there"
  good.write_bytes(b"")
  wrong = {name: x for name, x in state.items() if name not in ("bn1.weight", "fc.weight")}
  write_safetensors(bad, wrong | {"fc.weight": state["fc.weight"].T, "head.weight": state["bn1.bias"]})
  there.mkdir()
  (there / "file").touch()
  usual = {"model": MODEL, "weights": bad, "out": tmp_path / "out"}
  cases = [
    ({}, "1 missing: bn1.weight; 1 surplus: head.weight; 1 misshapen: fc.weight (512, 1000) instead of (1000, 512)"),
    ({"model": "lenet5"}, "source='torchvision' has no weights for a LeNet5"),
    ({"out": there}, "is there already; valid: a new or an empty folder"),
    ({"weights": tmp_path / "none.pth"}, "does not exist"),
    ({"weights": tmp_path / "weights.npz"}, "must end in .safetensors, .pth"),
    ({"weights": good}, "is damaged, or is not a safetensors file"),
    ({"weights": WEIGHTS / "malicious_zip.pth"}, "refers to posix.system, which could run code"),
  ]
  for changes, says in cases:
    flags = {**usual, **changes}
    config = load_config(f"{ROOT}/configs/{flags['model']}.py:imagenet")
    with pytest.raises(UserError) as error:
      import_weights(config, flags["weights"], "torchvision", flags["out"])
    assert says in str(error.value) and "\n" not in str(error.value), changes
  assert not (tmp_path / "out").exists() and [path.name for path in there.iterdir()] == ["file"]


def test_flags(tmp_path):
  """One line, exit code 2."""
  usual = {"model": MODEL, "weights": "a.pth", "source": "torchvision", "out": tmp_path / "out"}
  cases = [
    ({"weights": None}, "--weights is missing; valid: --model=NAME --weights=FILE --source=torchvision|timm --out=DIR"),
    ({"model": "resnet19"}, "model='resnet19' is not known; did you mean resnet1"),
    ({"source": "keras"}, "<torchvision|timm>"),
  ]

  def outcome(changes):
    return run(**{flag: value for flag, value in {**usual, **changes}.items() if value is not None})

  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    for (changes, says), done in zip(cases, threads.map(outcome, [changes for changes, _ in cases]), strict=True):
      assert done.returncode == 2, (changes, done.stderr)
      assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: "), (changes, done.stderr)
      assert says in done.stderr, changes
