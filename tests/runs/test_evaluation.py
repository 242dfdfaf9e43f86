"""eval.py says what the run said, whatever the batch size and the devices."""

import json

import pytest

from cnn_zoo import data
from cnn_zoo.errors import UserError
from cnn_zoo.runs.evaluation import evaluate
from tests.helpers import runner

EIGHT = "--xla_force_host_platform_device_count=8"


def check(result, row):
  assert result["step"] == row["step"] and result["split"] == row["split"]
  assert result["examples"] == {"test": 360, "val": 144}[row["split"]]
  assert (result["top1"], result["top5"]) == (row["top1"], row["top5"])
  assert result["loss"] == pytest.approx(row["loss"], rel=1e-6)


@pytest.mark.parametrize("batch_size", [360, 64, 7])
def test_batch_size(batch_size, whole_run, capsys):
  config = runner.load("lenet5", **runner.UNEVEN, **{"eval.batch_size": batch_size})
  result = evaluate(config, whole_run)
  check(result, runner.rows(whole_run, "test")[-1])
  assert result["weights"] == "ema"
  out = capsys.readouterr().out
  assert json.loads(out.splitlines()[-1]) == result
  assert "lenet5" in out.splitlines()[-3] and "top1" in out


def test_command(whole_run):
  """Without --config, the run's own; on eight devices the same."""
  one = runner.start(["eval.py", f"--workdir={whole_run}"])
  arguments = ["--config=configs/lenet5.py", "--config.ema_decay=0.9", "--config.steps=90"]
  cache = f"--config.compilation_cache={runner.CACHE}"
  eight = runner.start(
    ["eval.py", f"--workdir={whole_run}", *arguments, cache, "--config.eval.batch_size=7"], XLA_FLAGS=EIGHT
  )
  for process in (one, eight):
    out, _ = runner.finish(process)
    check(json.loads(out.splitlines()[-1]), runner.rows(whole_run, "test")[-1])


def test_steps(whole_run):
  """By default the one that the run has reported, the best on the validation set."""
  validated = {row["step"]: row for row in runner.rows(whole_run, "val")}
  best = evaluate(None, whole_run, "best", split="val")
  assert best["top1"] == max(row["top1"] for row in validated.values())
  check(best, validated[best["step"]])
  check(evaluate(None, whole_run), runner.rows(whole_run, "test")[-1])
  assert evaluate(None, whole_run)["step"] == best["step"]
  check(evaluate(None, whole_run, "90", split="val"), validated[90])


def test_weights(whole_run):
  """Averaged weights and raw ones are different networks."""
  raw = evaluate(None, whole_run, weights="raw")
  assert raw["weights"] == "raw"
  assert raw["loss"] != pytest.approx(runner.rows(whole_run, "test")[-1]["loss"], rel=1e-3)


def test_splits(whole_run):
  """Examples that the run was trained on are not evaluated as if they had been held out."""
  cases = {
    0.0: r"split='val' is empty: config.data.validation=0.0; valid: split='test'",
    0.2: r"config.data.validation=0.2: split='val' would hold examples that the run was trained on; valid: 0.1",
  }
  for share, says in cases.items():
    config = runner.load("lenet5", **runner.UNEVEN, **{"data.validation": share})
    with pytest.raises(UserError, match=says):
      evaluate(config, whole_run, split="val")


def test_the_validation_set_of_another_dataset(whole_run, monkeypatch):
  """Whatever its share: the run was not trained on it."""
  fields = {"data.validation": 0.2, "eval.batch_size": 287}
  settings = runner.load("lenet5", **fields).data
  dataset, info = data.open_dataset(settings), data.dataset_info(settings)
  monkeypatch.setattr(data, "open_dataset", lambda settings: dataset)
  monkeypatch.setattr(data, "dataset_info", lambda settings, prepared=True: info)
  config = runner.load("lenet5", **runner.UNEVEN, **fields, **{"data.name": "mnist"})
  result = evaluate(config, whole_run, split="val")
  assert (result["dataset"], result["split"], result["examples"]) == ("mnist", "val", 287)
