"""Runs compared in one picture."""

import json

import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.runs import comparison
from cnn_zoo.training.folder import RunFolder


def run(path, loss):
  folder = RunFolder(path)
  folder.prepare()
  rows = [{"split": split, "step": 1, "epoch": 1.0, "loss": loss, "top1": 0.5} for split in ("train", "test")]
  folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


def test_each_folder_is_drawn_once(tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(comparison, "compare_curves", lambda runs, path: drawn.append((runs, path)))
  monkeypatch.chdir(tmp_path)
  a, b = run(tmp_path / "a", 1.0), run(tmp_path / "b", 2.0)
  comparison.compare_runs([a, "b", b, "a"], tmp_path / "out.png")
  ((runs, path),) = drawn
  assert [(name, rows[0]["loss"]) for name, rows in runs] == [("a", 1.0), ("b", 2.0)] and path == tmp_path / "out.png"


def test_one_run_twice_is_refused(tmp_path):
  with pytest.raises(UserError, match=r"workdir=a: give the folders of two different runs or more"):
    comparison.compare_runs([run(tmp_path / "a", 1.0), tmp_path / "b" / ".." / "a"], tmp_path / "out.png")
