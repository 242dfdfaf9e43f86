"""Trials of configurations: each trains for a few steps with train.py, in its own process."""

import dataclasses
import math
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cnn_zoo.describe.tables import markdown_table, text_table
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.logging import read_metrics

_ENDS = 3  # steps at each end whose mean losses are compared, because single batches are noisy
LEAST_STEPS = 2 * _ENDS


@dataclasses.dataclass(frozen=True)
class Trial:
  """The result of training a configuration for a few steps.

  Attributes:
    name: of its file.
    parameters: the number of parameters of its model. None if the command ended before the model was built.
    losses: of each step.
    seconds: of the whole command.
    error: the line with which the command ended, or "" if it succeeded.

  >>> trial = Trial("lenet5", 61_706, [2.3, 2.2, 2.1, 1.9, 1.8, 1.7], 12.0, "")
  >>> round(trial.first, 2), round(trial.last, 2), trial.verdict
  (2.2, 1.8, 'ok')
  """

  name: str
  parameters: int | None
  losses: Sequence[float]
  seconds: float
  error: str

  @property
  def first(self) -> float:
    """The mean loss of the first three steps; NaN if there were fewer than six."""
    return self._mean(self.losses[:_ENDS])

  @property
  def last(self) -> float:
    """The mean loss of the last three steps, likewise."""
    return self._mean(self.losses[-_ENDS:])

  def _mean(self, losses):
    return statistics.fmean(losses) if len(self.losses) >= LEAST_STEPS else math.nan

  @property
  def verdict(self) -> str:
    """Whether it trained: "ok", or the fault."""
    if self.error:
      return self.error
    if not self.losses or not all(map(math.isfinite, self.losses)):
      return "failed: a loss is not finite"
    return "ok" if self.last < self.first else "failed: the loss does not fall"


def select_configs(folder: Path, only: Sequence[str] = ()) -> list[Path]:
  """The configurations in `folder`, all or those named in `only`.

  Args:
    folder: of configurations.
    only: their names; empty for all.

  Returns:
    Their files, by name.

  Raises:
    UserError: for a name that is not there.

  Example:
    >>> select_configs(Path("configs"), ["resnet18"])  # doctest: +SKIP
    [PosixPath('configs/resnet18.py')]
  """
  files = {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem not in ("__init__", "base")}
  for name in only:
    check_name("only", name, files)
  return [path for name, path in files.items() if name in only or not only]


def try_config(config: Path, workdir: Path, *, steps: int = 30, batch: int | None = None) -> Trial:
  """Trains a configuration for some steps and evaluates it.

  Args:
    config: the configuration's file, in a folder next to train.py.
    workdir: of the run, a new folder.
    steps: the number of steps, at least six.
    batch: the number of examples in a step. None for the configuration's own.

  Returns:
    The result, also of a command that failed.

  Raises:
    UserError: for fewer than six steps and for a batch below 1.

  Example:
    >>> try_config(Path("configs/lenet5.py"), Path("runs/trial"), steps=10).verdict  # doctest: +SKIP
    'ok'
  """
  if steps < LEAST_STEPS:
    raise UserError(f"steps={steps} must be at least {LEAST_STEPS}")
  if batch is not None and batch < 1:
    raise UserError(f"batch={batch} must be at least 1")
  # Only the last step is evaluated.
  fields = {"steps": steps, "log_every_steps": 1, "eval.every_epochs": 1e6, "checkpoint.keep": 1}
  fields |= {} if batch is None else {"batch_size": batch}
  overrides = [f"--config.{field}={value}" for field, value in fields.items()]
  command = [sys.executable, "train.py", f"--config={config.resolve()}", f"--workdir={workdir.resolve()}", *overrides]
  start = time.monotonic()
  ended = subprocess.run(command, cwd=config.resolve().parents[1], capture_output=True, text=True)
  seconds = time.monotonic() - start
  folder = RunFolder(workdir)
  found = re.search(r"\(([\d,]+) parameters\)", folder.log.read_text()) if folder.log.exists() else None
  return Trial(
    config.stem,
    int(found[1].replace(",", "")) if found else None,
    [row["loss"] for row in read_metrics(folder.metrics) if row["split"] == "train"],
    seconds,
    _error(ended),
  )


def _error(ended):
  if ended.returncode == 0:
    return ""
  if ended.returncode < 0:
    return f"failed: killed by signal {-ended.returncode}"  # 9 if the machine ran out of memory
  lines = ended.stderr.split("\n")
  errors = [line for line in lines if line.startswith("error: ")] or [line for line in lines if line] or [""]
  return "failed: " + errors[-1].removeprefix("error: ")


def to_text(trials: Sequence[Trial], as_markdown: bool = False) -> str:
  """A table with a line for each configuration, as text or in Markdown."""
  lines = [["config", "parameters", "first loss", "last loss", "seconds", "verdict"]]
  for trial in trials:
    parameters = "" if trial.parameters is None else f"{trial.parameters:,}"
    losses = ["" if math.isnan(loss) else f"{loss:.3f}" for loss in (trial.first, trial.last)]
    lines.append([trial.name, parameters, *losses, f"{trial.seconds:.0f}", trial.verdict])
  return markdown_table(lines, 1) if as_markdown else text_table(lines, 1) + "\n"
