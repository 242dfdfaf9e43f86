"""Waveforms, clips and scenes in the one training loop, and segmentation's metrics over the whole test set."""

import json
import re
import shutil

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from cnn_zoo import data
from cnn_zoo.errors import UserError
from cnn_zoo.runs.saved import open_run
from cnn_zoo.training.loop import train
from configs import base
from tests.helpers import ROOT, runner

EIGHT = "--xla_force_host_platform_device_count=8"
SHORT = {"steps": 4, "log_every_steps": 2, "batch_size": 8, "eval.batch_size": 80}
UNET = {
  **SHORT,
  "steps": 6,
  "checkpoint.every_steps": 2,
  "log_every_steps": 3,
  "model.features": 4,
  "model.depth": 2,
  "data.image_size": 32,
}


@pytest.fixture(scope="module")
def scenes_run(tmp_path_factory):
  """The folder of a small U-Net's run, and the metrics of its last evaluation."""
  workdir = tmp_path_factory.mktemp("scenes") / "run"
  return workdir, train(runner.load("unet", **UNET), workdir)


@pytest.mark.parametrize(
  ("name", "fields"),
  [
    ("m3", {"data.samples": 2000}),
    ("c3d", {"data.frames": 8, "data.image_size": 16, "model.frames": 8, "model.hidden_features": 16}),
    ("c3d", {"data.image_size": 16, "model.view": "stack", "model.hidden_features": 16}),
  ],
)
def test_waveforms_and_clips_are_classified(name, fields, tmp_path):
  result = train(runner.load(name, **SHORT, **fields), tmp_path)
  assert len(runner.losses(tmp_path)) == 2 and np.isfinite(runner.losses(tmp_path)).all()
  assert 0 <= result["top1"] <= result["top5"] <= 1


def test_a_model_of_images_takes_waveforms():
  config = runner.command_line.load_config(str(ROOT / "configs/resnet18.py") + ":waveforms")
  assert (config.model.rank, config.task) == (1, "classification")
  config = runner.command_line.load_config(str(ROOT / "configs/resnet18.py") + ":ucf101")
  assert (config.model.rank, config.data.image_size) == (3, 112)


def test_mean_iou_of_devices_and_processes_is_scikit_learns(scenes_run):
  """300 scenes in batches of 80: the last one is uneven, on eight devices and in two processes."""
  workdir, last = scenes_run
  run = open_run(None, workdir)
  dataset = data.open_dataset(run.config.data)
  answers, labels = [], []
  for batch in data.evaluation_batches(dataset, run.config.data, split="test", batch_size=100):
    answers.append(np.asarray(run.programs.answers(run.weights, batch["input"])).argmax(-1))
    labels.append(batch["label"])
  answers, labels = np.concatenate(answers), np.concatenate(labels)
  seen = labels != 255
  confusion = confusion_matrix(labels[seen], answers[seen], labels=range(11))
  hits = np.diag(confusion)
  expected = np.mean(hits / (confusion.sum(0) + confusion.sum(1) - hits))
  command = ["eval.py", f"--workdir={workdir}"]
  devices = runner.start(command, XLA_FLAGS=EIGHT)
  coordinator = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{runner.free_port()}", "JAX_NUM_PROCESSES": "2"}
  processes = [runner.start(command, JAX_PROCESS_ID=str(i), **coordinator) for i in range(2)]
  for out, _ in (runner.finish(devices), runner.finish(processes[0])):
    result = json.loads(out.splitlines()[-1])
    assert result["examples"] == 300
    assert result["mean_iou"] == pytest.approx(expected, abs=1e-6)
    assert result["pixel_accuracy"] == pytest.approx(hits.sum() / confusion.sum(), abs=1e-6)
  runner.finish(processes[1])
  assert last["mean_iou"] == pytest.approx(expected, abs=1e-6)


def test_a_resumed_run_of_segmentation_writes_the_same_bytes(scenes_run, tmp_path):
  workdir, _ = scenes_run
  resumed = tmp_path / "run"
  shutil.copytree(workdir, resumed)
  shutil.rmtree(resumed / "checkpoints" / "6")
  train(runner.load("unet", **UNET), resumed)
  assert "resuming from step 4 of 6" in (resumed / "train.log").read_text()
  assert (resumed / "metrics.jsonl").read_bytes() == (workdir / "metrics.jsonl").read_bytes()
  config = runner.load("unet", **UNET)
  assert not runner.different_leaves(*(runner.saved_state(folder, config) for folder in (workdir, resumed)))


def test_every_dataset_has_settings_and_a_rank():
  for dataset, spec in data.SPECS.items():
    config = base.get_config("resnet18", dataset)
    info = data.DatasetInfo(2, 1, config.task, spec.kind, ())
    assert config.model.rank == {"waveform": 1, "clip": 3}.get(spec.kind, 2)
    assert len(data.input_shape(config.data, info)) - 1 == config.model.rank


def test_what_crosses_between_devices(tmp_path):
  """The gradients and the other sums together, and the whole numbers of the confusion matrix."""
  fields = {**UNET, "steps": 1, "batch_norm.group_size": 1, "convolution_lowering": "lax", "compilation_cache": ""}
  dump = f"--xla_dump_to={tmp_path / 'hlo'} --xla_dump_hlo_as_text --xla_dump_hlo_module_re=jit_train_step.*"
  runner.train_process("unet", tmp_path / "run", fields, XLA_FLAGS=f"{EIGHT} {dump}")
  text = "".join(path.read_text() for path in (tmp_path / "hlo").glob("*after_optimizations.txt"))
  crossings = re.findall(r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\(", text)
  assert crossings == ["all-reduce"] * 2
  assert len(re.findall(r"s32\[11,11\]\S* all-reduce", text)) == 1


@pytest.mark.parametrize(
  ("name", "fields", "says"),
  [
    (
      "lenet5",
      {"task": "segmentation"},
      "config.task='segmentation' does not fit config.data.name='digits'; valid: cl",
    ),
    ("unet", {"task": "classification"}, "does not fit config.data.name='digit_scenes'; valid: segmentation"),
    ("lenet5", {"task": "nothing"}, "config.task='nothing' is not known; valid: classification, segmentation"),
    ("unet", {"task": "classification", "data.name": "digits"}, r"the outputs are \(32, 32, 10\) for each example,"),
    (
      "lenet5",
      {"task": "segmentation", "data.name": "digit_scenes"},
      "valid: a model of dense prediction, such as unet",
    ),
    (
      "m5",
      {"data.name": "digits", "data.time_shift": 0.0},
      r"config.model.name='m5' does not fit config.data.name='digits': input \(64, 32,",
    ),
    ("c3d", {"data.name": "digits"}, "config.model.name='c3d' does not fit config.data.name='digits': input"),
    ("m5", {"data.samples": 0}, "config.data.samples=0 is not valid; valid: a whole number, at least 1"),
    ("c3d", {"data.frames": 0}, "config.data.frames=0 is not valid; valid: a whole number, at least 1"),
    ("c3d", {"model.view": "stack", "data.frames": 8}, "has clips of 8 frames, view='stack' was built for frames=16"),
  ],
)
def test_mistakes_are_one_line(name, fields, says, tmp_path):
  config = runner.load(name, **{"data.image_size": 32, **fields})
  with pytest.raises(UserError, match=says) as error:
    train(config, tmp_path / "run")
  assert "\n" not in str(error.value)
