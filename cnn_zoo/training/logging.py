"""What a run tells: a progress bar, a log file, metrics.jsonl and TensorBoard files."""

import contextlib
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class RunLog:
  """The voice of one run.

  `metrics.jsonl` holds one JSON object a line and nothing that depends on the clock, so a resumed run writes the same
  bytes as one that was never stopped. Speed and times go to the log file and to TensorBoard.

  Args:
    workdir: where the files go.
    step: the step from which the run goes on; later lines of an earlier attempt are dropped.
    total: steps of the whole run.
    batch_size: examples in a step.
    headline: the metric that is shown beside the loss: its name and what people call it.
    leader: whether this process writes; the others of a multi-host run are silent.
  """

  def __init__(
    self, workdir: Path, step: int, total: int, batch_size: int, headline: tuple[str, str], leader: bool = True
  ):
    self._leader, self._batch_size, self._total, self._headline = leader, batch_size, total, headline
    self._time, self._step = time.monotonic(), step
    self.rate = 0.0  # examples a second, since the last training metrics
    if not leader:
      return
    from tensorboardX import SummaryWriter

    self._console = Console(stderr=True)
    self._file = (workdir / "train.log").open("a", buffering=1)
    self._path = workdir / "metrics.jsonl"
    rows = [row for row in read_metrics(self._path) if row["step"] <= step]
    temporary = self._path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    temporary.replace(self._path)
    self._metrics = self._path.open("a", buffering=1)
    self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)
    self._progress = Progress(
      TextColumn("step"),
      MofNCompleteColumn(),
      BarColumn(bar_width=None),
      TextColumn("{task.fields[note]}"),
      TimeElapsedColumn(),
      TextColumn("left"),
      TimeRemainingColumn(elapsed_when_finished=False),
      console=self._console,
      disable=not sys.stderr.isatty(),
    )
    self._task = self._progress.add_task("train", total=total, completed=step, note="")

  def say(self, text: str) -> None:
    """A line for the person who watches and for the log file."""
    if self._leader:
      self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
      self._console.print(text, markup=False, highlight=False, soft_wrap=True)

  def start_clock(self) -> None:
    """Speeds are measured from here, and the progress bar appears."""
    self._time = time.monotonic()
    if self._leader:
      self._progress.start()

  def stop_clock(self) -> None:
    """The progress bar stays as it is."""
    if self._leader:
      self._progress.stop()

  def advance(self, step: int) -> None:
    """Moves the progress bar."""
    if self._leader:
      self._progress.update(self._task, completed=step)

  def metrics(self, split: str, step: int, epoch: float, values: dict[str, float]) -> None:
    """Writes the metrics of the split "train" or "test" after `step` steps."""
    if split == "train":
      now = time.monotonic()
      self.rate = (step - self._step) * self._batch_size / max(now - self._time, 1e-9)
      self._time, self._step = now, step
    if not self._leader:
      return
    self._metrics.write(json.dumps({"split": split, "step": step, "epoch": round(epoch, 4), **values}) + "\n")
    for name, value in values.items():
      self._board.add_scalar(f"{split}/{name}", value, step)
    name, label = self._headline
    note = f"loss {values['loss']:.4f}  {label} {values[name]:6.2%}"
    if split == "train":
      self._board.add_scalar("train/examples_per_second", self.rate, step)
      note += f"  {self.rate:.0f} examples/s"
      self._progress.update(self._task, note=note)
    line = f"step {step:>{len(str(self._total))}}/{self._total}  epoch {epoch:7.2f}  {split:5}  {note}"
    if split == "train" and not self._progress.disable:
      self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")  # the bar shows it
    else:
      self.say(line)

  @contextlib.contextmanager
  def off_the_clock(self):
    """Leaves the time spent within out of the speed of training."""
    before = time.monotonic()
    yield
    self._time += time.monotonic() - before

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._leader:
      self.stop_clock()
      self._metrics.close()
      self._board.close()
      self._file.close()


def read_metrics(path: Path) -> list[dict]:
  """The rows of a metrics.jsonl; a last line that was cut off in the middle is left out."""
  rows = []
  for line in path.read_text().splitlines() if path.exists() else []:
    try:
      rows.append(json.loads(line))
    except json.JSONDecodeError:
      break
  return rows
