"""What a run leaves when it has ended."""

import pytest

from cnn_zoo.runs.training import train_run
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.programs import Programs
from tests.helpers import runner


@pytest.mark.parametrize("share", [0.1, 0.0])
def test_summary_and_curves(share, tmp_path, monkeypatch, capfd):
  """Of several checkpoints that are equally good the saved one is named; without a validation set the end."""
  evaluate = Programs.evaluate
  accuracies = iter([0.25, 0.75, 0.75, 0.5])  # after 1, 2, 3 and 4 steps

  def scripted(programs, weights, dataset, split):
    metrics = evaluate(programs, weights, dataset, split)
    return {**metrics, "top1": 0.625 if share and split == "test" else next(accuracies)}

  monkeypatch.setattr(Programs, "evaluate", scripted)
  fields = {"steps": 4, "batch_size": 8, "eval.every_epochs": 0.004, "data.validation": share}
  result = train_run(runner.load("lenet5", **fields), tmp_path)
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
