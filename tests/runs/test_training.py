"""What a run leaves when it has ended."""

import json

import pytest

from cnn_zoo.runs.training import train_run
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.logging import read_metrics
from cnn_zoo.training.programs import Programs
from tests.helpers import runner


def scripted(monkeypatch, share, accuracies):
  """The configuration of a run that has these accuracies after each of its steps, and 0.625 on the test set.

  Without a validation set, which has a `share`, they are those of the test set.
  """
  evaluate, evaluated = Programs.evaluate, iter(accuracies)

  def result(programs, weights, dataset, split):
    metrics = evaluate(programs, weights, dataset, split)
    return {**metrics, "top1": 0.625 if share and split == "test" else next(evaluated, accuracies[-1])}

  monkeypatch.setattr(Programs, "evaluate", result)
  fields = {"batch_size": 8, "log_every_steps": 1, "eval.every_epochs": 0.004, "data.validation": share}
  return runner.load("lenet5", steps=len(accuracies), **fields)


@pytest.mark.parametrize("share", [0.1, 0.0])
def test_summary_and_curves(share, tmp_path, monkeypatch, capfd):
  """Of several checkpoints that are equally good the saved one is named; without a validation set the end."""
  config = scripted(monkeypatch, share, [0.25, 0.75, 0.75, 0.5])
  result = train_run(config, tmp_path)
  err = capfd.readouterr().err
  if share:
    assert result["top1"] == 0.625 and "lenet5 on digits: 62.50% top-1 on the test set" in err
    assert "with the checkpoint of step 2, the best on the validation set (75.00%)" in err
  else:
    assert result["top1"] == 0.5 and "lenet5 on digits: 50.00% top-1 on the test set" in err
    assert "at the end; the best was 75.00% at step 2" in err
  folder = RunFolder(tmp_path)
  assert folder.curves.stat().st_size > 10_000
  assert "top-1 on the test set" in folder.log.read_text()


def test_a_run_that_was_stopped_is_not_summed_up(tmp_path, monkeypatch, capfd):
  monkeypatch.setattr("cnn_zoo.runs.training.train", lambda *arguments, **options: {})
  assert train_run(runner.load("lenet5"), tmp_path) == {}
  assert capfd.readouterr().err == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  ("share", "kept", "says"),
  [
    (0.1, ["train 2", "val 2"], "with the checkpoint of step 1, the best on the validation set\n"),
    (0.1, ["train 2", "test 1"], "with the checkpoint of step 1, the best on the validation set\n"),
    (0.0, ["test 2"], "at the end; the best was 50.00% at step 2\n"),
    (0.0, [], "at the end\n"),
  ],
)
def test_a_finished_run_without_all_of_its_metrics(share, kept, says, tmp_path, monkeypatch, capfd):
  """It is summed up with what is left in the file."""
  config, path = scripted(monkeypatch, share, [0.75, 0.5]), RunFolder(tmp_path).metrics
  train_run(config, tmp_path)
  rows = [row for row in read_metrics(path) if f"{row['split']} {row['step']}" in kept]
  assert len(rows) == len(kept)
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  capfd.readouterr()
  assert train_run(config, tmp_path)["top1"] == (0.625 if share else 0.5)
  assert says in capfd.readouterr().err
