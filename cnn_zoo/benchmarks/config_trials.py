"""Whether configurations train: each for a few steps, as a person would, in a process of its own."""

import dataclasses
import math
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cnn_zoo.describe.tables import aligned, markdown
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.training.logging import read_metrics

_ENDS = 3  # steps at either end whose mean losses are compared: single batches are noisy
LEAST_STEPS = 2 * _ENDS


@dataclasses.dataclass(frozen=True)
class Trial:
  """What became of a configuration.

  Attributes:
    name: of its file.
    parameters: how many its model learns; None if it did not get so far.
    losses: of each step.
    seconds: of the whole command.
    error: the line with which it ended; "" if it ended well.
  """

  name: str
  parameters: int | None
  losses: Sequence[float]
  seconds: float
  error: str

  @property
  def first(self) -> float:
    """The mean loss of the first three steps; NaN if there were less than six."""
    return self._mean(self.losses[:_ENDS])

  @property
  def last(self) -> float:
    """The mean loss of the last three steps."""
    return self._mean(self.losses[-_ENDS:])

  def _mean(self, losses):
    return statistics.fmean(losses) if len(self.losses) >= LEAST_STEPS else math.nan

  @property
  def verdict(self) -> str:
    """ "ok", or what is wrong."""
    if self.error:
      return self.error
    if not self.losses or not all(map(math.isfinite, self.losses)):
      return "failed: a loss is not finite"
    return "ok" if self.last < self.first else "failed: the loss does not fall"


def select_configs(folder: Path, only: Sequence[str] = ()) -> list[Path]:
  """The configurations in `folder`, or those of these names; raises UserError for one that is not there."""
  files = {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem not in ("__init__", "base")}
  for name in only:
    check_name("only", name, files)
  return [path for name, path in files.items() if name in only or not only]


def try_config(config: Path, workdir: Path, *, steps: int = 30, batch: int | None = None) -> Trial:
  """Trains what the file `config` describes for some steps and evaluates it.

  Args:
    config: in a folder beside train.py.
    workdir: of the run; a new one.
    steps: how many, at least six.
    batch: examples in a step; None for the configuration's.

  Raises:
    UserError: for fewer steps and for a batch without examples.
  """
  if steps < LEAST_STEPS:
    raise UserError(f"steps={steps} must be at least {LEAST_STEPS}")
  if batch is not None and batch < 1:
    raise UserError(f"batch={batch} must be at least 1")
  fields = {
    "steps": steps,
    "log_every_steps": 1,
    "eval.every_epochs": 1e6,
    "checkpoint.keep": 1,
  }  # the end is evaluated
  fields |= {} if batch is None else {"batch_size": batch}
  overrides = [f"--config.{field}={value}" for field, value in fields.items()]
  command = [sys.executable, "train.py", f"--config={config.resolve()}", f"--workdir={workdir.resolve()}", *overrides]
  start = time.monotonic()
  ended = subprocess.run(command, cwd=config.resolve().parents[1], capture_output=True, text=True)
  seconds = time.monotonic() - start
  log = workdir / "train.log"
  found = re.search(r"\(([\d,]+) parameters\)", log.read_text()) if log.exists() else None
  return Trial(
    config.stem,
    int(found[1].replace(",", "")) if found else None,
    [row["loss"] for row in read_metrics(workdir / "metrics.jsonl") if row["split"] == "train"],
    seconds,
    _error(ended),
  )


def _error(ended):
  if ended.returncode == 0:
    return ""
  if ended.returncode < 0:
    return f"failed: killed by signal {-ended.returncode}"  # 9 is what a machine without memory sends
  lines = ended.stderr.split("\n")
  told = [line for line in lines if line.startswith("error: ")] or [line for line in lines if line] or [""]
  return "failed: " + told[-1].removeprefix("error: ")


def to_text(trials: Sequence[Trial], as_markdown: bool = False) -> str:
  """A table with a line a configuration, as text or in Markdown."""
  lines = [["config", "parameters", "first loss", "last loss", "seconds", "verdict"]]
  for trial in trials:
    parameters = "" if trial.parameters is None else f"{trial.parameters:,}"
    losses = ["" if math.isnan(loss) else f"{loss:.3f}" for loss in (trial.first, trial.last)]
    lines.append([trial.name, parameters, *losses, f"{trial.seconds:.0f}", trial.verdict])
  return markdown(lines, 1) if as_markdown else aligned(lines, 1) + "\n"
