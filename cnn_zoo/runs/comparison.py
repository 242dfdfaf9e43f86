"""Compares runs."""

from collections.abc import Sequence
from pathlib import Path

from cnn_zoo.plots.curves import compare_curves
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.logging import read_metrics


def compare_runs(workdirs: Sequence[str | Path], picture: Path) -> None:
  """Draws the training losses and the evaluation metrics of several runs into one PNG.

  Args:
    workdirs: the folders of two runs or more; their names are the legend.
    picture: the PNG.

  Raises:
    UserError: as `cnn_zoo.plots.curves.compare_curves`.

  Example:
    >>> compare_runs(["runs/plain34", "runs/resnet34"], Path("curves.png"))  # doctest: +SKIP
  """
  folders = [RunFolder(path) for path in dict.fromkeys(Path(workdir).resolve() for workdir in workdirs)]
  compare_curves([(folder.path.name, read_metrics(folder.metrics)) for folder in folders], picture)
