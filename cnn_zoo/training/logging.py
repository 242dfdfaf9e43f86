"""What a run writes: a progress bar, a log file, metrics.jsonl and TensorBoard files."""

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cnn_zoo.training.folder import RunFolder

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""The names of the splits in metrics.jsonl and TensorBoard, and those of `cnn_zoo.data.Dataset`."""


class RunLog:
  """The log of one run.

  `metrics.jsonl` holds one JSON object a line and nothing that depends on the clock, so that a resumed run writes the
  same bytes as one that was never stopped. Speed and times go to the log file and to TensorBoard.

  Args:
    folder: where the files go.
    step: the step from which the run resumes, or 0; later lines of an earlier attempt are dropped.
    total: steps of the whole run.
    batch_size: examples in a step.
    headline: the metric that is shown next to the loss: its name and its label.
    leader: whether this process writes; the other processes of a job write nothing.
    written: what `written` returned when the checkpoint of `step` was saved; None without one.

  Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   log = RunLog(RunFolder(folder), step=0, total=10, batch_size=64, headline=("top1", "top-1"))
    ...   log.metrics("train", 5, 0.25, {"loss": 1.5, "top1": 0.5})
    ...   log.close()
    ...   read_metrics(RunFolder(folder).metrics)
    [{'split': 'train', 'step': 5, 'epoch': 0.25, 'loss': 1.5, 'top1': 0.5}]
  """

  def __init__(
    self,
    folder: RunFolder,
    step: int,
    total: int,
    batch_size: int,
    headline: tuple[str, str],
    leader: bool = True,
    written: dict | None = None,
  ):
    self._leader, self._batch_size, self._total, self._headline = leader, batch_size, total, headline
    self._time, self._step = time.monotonic(), step
    self._lines, self._digest = 0, hashlib.blake2b(digest_size=16)  # of metrics.jsonl
    self.rate = 0.0  # examples a second, since the last training metrics
    if not leader:
      return
    from tensorboardX import SummaryWriter

    self._console = Console(stderr=True)
    self._file = folder.log.open("a", buffering=1)
    saved, damaged = _parse(folder.metrics)
    rows = _kept(saved, step, total)
    # TensorBoard drops all points from `purge_step` on. A test row that is not kept may be of an early step.
    reports = [row["step"] for row in saved if row["split"] == "test" and row not in rows]
    purged = min([step + 1, *reports])
    self._splits = {row["split"] for row in rows}
    as_it_was = written is None or holds(folder.metrics, written)
    temporary = folder.metrics.with_suffix(".tmp")
    temporary.write_text("".join(map(self._line, rows)))
    temporary.replace(folder.metrics)
    self._metrics = folder.metrics.open("a", buffering=1)
    self._board = SummaryWriter(str(folder.tensorboard), purge_step=purged)
    for row in rows:
      if row["step"] >= purged:
        self._draw(row)
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
    if not as_it_was:
      says = f"warning: {folder.metrics} does not hold what was written to it up to step {step}"
      lines = f" (unreadable lines: {', '.join(map(str, damaged))})" if damaged else ""
      self.say(f"{says}, {(written or {})['rows']} rows{lines}; the {len(rows)} that can be read are kept")

  def say(self, text: str) -> None:
    """Prints a line and writes it to the log file."""
    if self._leader:
      self._write(text)
      self._console.print(text, markup=False, highlight=False, soft_wrap=True)

  def _write(self, text):
    self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

  def start_clock(self) -> None:
    """Starts to measure the speed and shows the progress bar."""
    self._time = time.monotonic()
    if self._leader:
      self._progress.start()

  def advance(self, step: int) -> None:
    """Moves the progress bar."""
    if self._leader:
      self._progress.update(self._task, completed=step)

  def _line(self, row):
    """The line of a row, which is counted."""
    line = json.dumps(row) + "\n"
    self._lines += 1
    self._digest.update(line.encode())
    return line

  def written(self) -> dict:
    """{"rows", "digest"} of metrics.jsonl up to now, for a checkpoint; of an empty one in silent processes."""
    return {"rows": self._lines, "digest": self._digest.hexdigest()}

  def has(self, split: str) -> bool:
    """Whether metrics.jsonl already had a row of `split` when this log was opened; False in silent processes."""
    return self._leader and split in self._splits

  def metrics(self, split: str, step: int, epoch: float, values: dict[str, float]) -> None:
    """Writes metrics.

    Args:
      split: "train", "val" or "test".
      step: the number of steps after which they were measured.
      epoch: the same in epochs.
      values: the metrics by name, with "loss" and the headline among them.
    """
    if split == "train":
      now = time.monotonic()
      self.rate = (step - self._step) * self._batch_size / max(now - self._time, 1e-9)
      self._time, self._step = now, step
    if not self._leader:
      return
    self._metrics.write(self._line({"split": split, "step": step, "epoch": round(epoch, 4), **values}))
    self._draw({"split": split, "step": step, **values})
    name, label = self._headline
    note = f"loss {values['loss']:.4f}  {label} {values[name]:6.2%}"
    if split == "train":
      self._board.add_scalar("train/examples_per_second", self.rate, step)
      note += f"  {self.rate:.0f} examples/s"
      self._progress.update(self._task, note=note)
    line = f"step {step:>{len(str(self._total))}}/{self._total}  epoch {epoch:7.2f}  {split:5}  {note}"
    if split == "train" and not self._progress.disable:
      self._write(line)  # the bar shows it
    else:
      self.say(line)

  def _draw(self, row):
    """Adds a row of metrics.jsonl to TensorBoard."""
    for name, value in row.items():
      if name not in ("split", "step", "epoch"):
        self._board.add_scalar(f"{row['split']}/{name}", value, row["step"])

  @contextlib.contextmanager
  def off_the_clock(self) -> Iterator[None]:
    """A context whose time does not count for the speed of training."""
    before = time.monotonic()
    yield
    self._time += time.monotonic() - before

  def close(self) -> None:
    """Stops the progress bar, flushes and closes the files."""
    if self._leader:
      self._progress.stop()
      self._metrics.close()
      self._board.close()
      self._file.close()


def _kept(rows, step, total):
  """The rows that stay when a run resumes from `step`.

  Where checkpoints are chosen on a validation set, the test row is the report at the end, whatever its step.
  """
  report = any(row["split"] == "val" for row in rows) and step < total
  return [row for row in rows if row["step"] <= step and not (report and row["split"] == "test")]


def read_metrics(path: Path) -> list[dict]:
  r"""The rows of a metrics.jsonl; [] if there is none, and without a last line that was cut off in the middle.

  Other lines that are damaged are left out, and named on stderr.

  Args:
    path: of the file.

  Returns:
    A dict for each row, as `RunLog.metrics` wrote it.

  Example:
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "metrics.jsonl")
    >>> _ = path.write_text('{"split": "val", "step": 5, "loss": 1.5}\n{"split": "tes')
    >>> read_metrics(path)
    [{'split': 'val', 'step': 5, 'loss': 1.5}]
  """
  rows, damaged = _parse(path)
  if damaged:
    print(f"warning: {path} has {len(damaged)} unreadable lines, of which the first is {damaged[0]}", file=sys.stderr)
  return rows


def holds(path: Path, written: dict) -> bool:
  """Whether a metrics.jsonl begins with the rows that a checkpoint stands for.

  Args:
    path: the file; it need not exist.
    written: what `RunLog.written` returned when the checkpoint was saved.
  """
  lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
  return hashlib.blake2b(b"".join(lines[: written["rows"]]), digest_size=16).hexdigest() == written["digest"]


def _parse(path):
  """The rows, and the numbers of the lines that are none; the last one may be cut off."""
  rows, damaged = [], []
  *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
  for number, line in enumerate([*lines, last], 1):
    try:
      row = json.loads(line)
      if row["split"] in SPLITS and type(row["step"]) is int and _are_numbers(row):
        rows.append(row)
        continue
    except (ValueError, LookupError, TypeError, RecursionError):
      pass
    damaged.append(number)
  return rows, [number for number in damaged if number <= len(lines)]


def _are_numbers(row):
  return "loss" in row and all(isinstance(x, int | float | None) for name, x in row.items() if name != "split")
