"""Trials of configurations."""

import numpy as np
import pytest

from cnn_zoo.benchmarks.config_trials import Trial, select_configs, to_text, try_config
from cnn_zoo.errors import UserError
from tests.helpers import ROOT


def test_trials(tmp_path):
  """Of a run that succeeds, of one that fails, and of losses that do not fall or are not finite."""
  lenet, wrong = ROOT / "configs" / "lenet5.py", ROOT / "configs" / "m5.py"
  good = try_config(lenet, tmp_path / "good", steps=8, batch=32)
  assert (good.name, good.parameters, len(good.losses), good.verdict) == ("lenet5", 61_706, 8, "ok")
  assert good.first == pytest.approx(np.mean(good.losses[:3])) and good.last == pytest.approx(np.mean(good.losses[5:]))
  (tmp_path / "file").write_text("")
  bad = try_config(wrong, tmp_path / "file" / "run", steps=6)
  assert bad.parameters is None and bad.losses == [] and np.isnan(bad.first)
  assert bad.verdict.startswith("failed: workdir='") and bad.verdict.endswith("give another --workdir")
  rows = [good, bad, Trial("up", 5, [1.0] * 3 + [2.0] * 3, 1.0, ""), Trial("nan", 5, [1.0] * 5 + [np.nan], 1.0, "")]
  assert [row.verdict for row in rows[2:]] == ["failed: the loss does not fall", "failed: a loss is not finite"]
  markdown = to_text(rows, as_markdown=True).splitlines()
  lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown]
  assert lines[0] == ["config", "parameters", "first loss", "last loss", "seconds", "verdict"]
  assert lines[3][:4] == ["m5", "", "", ""]
  assert lines[4] == ["up", "5", "1.000", "2.000", "1", "failed: the loss does not fall"]
  assert to_text(rows).count("\n") == 6


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda folder: select_configs(folder, ["lenet6"]), "only='lenet6' is not known; did you mean lenet5"),
    (lambda folder: try_config(folder / "lenet5.py", folder / "run", steps=5), "steps=5 must be at least 6"),
    (lambda folder: try_config(folder / "lenet5.py", folder / "run", batch=0), "batch=0 must be at least 1"),
  ],
)
def test_mistakes(call, message):
  with pytest.raises(UserError, match=message):
    call(ROOT / "configs")


def test_select_configs():
  names = [path.stem for path in select_configs(ROOT / "configs", ["resnet18", "lenet5"])]
  every = {path.stem for path in select_configs(ROOT / "configs")}
  assert names == ["lenet5", "resnet18"] and not {"base", "__init__"} & every and len(every) > 60
