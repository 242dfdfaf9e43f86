"""The predictions of a run for files of the user, or for records of its own test set."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.markup import escape
from rich.table import Column, Table

from cnn_zoo import data
from cnn_zoo.data import KINDS, CorruptRecordError, DatasetInfo
from cnn_zoo.data.decode import LARGEST, TooLargeError
from cnn_zoo.errors import UserError
from cnn_zoo.plots.predictions import draw_prediction, picture_paths
from cnn_zoo.runs.evaluation import print_table
from cnn_zoo.runs.saved import SavedRun, open_run
from cnn_zoo.tasks.segmentation import IGNORE


class Example(NamedTuple):
  """An example to predict.

  Attributes:
    name: the file as it was given, or DATASET-test-NUMBER of a test record.
    input: as a batch has it, uint8 or int16 `[*spatial, channels]`.
    truth: the label of a test record: a class, or uint8 `[height, width]` with 255 where there is none.
  """

  name: str
  input: np.ndarray
  truth: int | np.ndarray | None = None


def predict(
  workdir: str | Path,
  files: Sequence[str] = (),
  *,
  test: int | None = None,
  step: str | None = None,
  weights: str = "ema",
  out: Path | None = None,
  top: int = 5,
  largest: int = LARGEST,
) -> list[dict]:
  """Predicts each file, draws a picture of each prediction, and prints a table and one JSON line a file.

  Args:
    workdir: the run's folder.
    files: what to predict: image files, WAV files, or folders of frames, as the kind of the run's dataset asks for.
    test: instead of files, how many records of the run's test set, from the first on.
    step: a step number, "last" or "best"; None as for `cnn_zoo.runs.saved.open_run`.
    weights: "ema" for the averaged weights if the run has them, "raw" for the others.
    out: the folder of the pictures; None for WORKDIR/predictions.
    top: how many classes to report, the most probable ones.
    largest: how many pixels an image, or samples a waveform, may have; larger files are refused by their headers.

  Returns:
    What the JSON lines say: {"file", "classes": [[name, probability], ...], "picture"}, and for scenes instead of the
    classes {"pixels": {name: share}}; with `test` also the "truth", a name or shares.

  Raises:
    UserError: without files, for a file that cannot be read, and as `open_run`.
    CorruptRecordError: a test record cannot be read.

  Example:
    >>> (result,) = predict("runs/lenet5", ["seven.png"], top=1)  # doctest: +SKIP
    >>> sorted(result)  # doctest: +SKIP
    ['classes', 'file', 'picture']
  """
  if bool(files) == (test is not None):
    raise UserError(f"give {'either ' if files else ''}files to predict, or --test=N for N records of the test set")
  if top < 1:
    raise UserError(f"top={top} must be at least 1")
  run = open_run(None, workdir, step, weights, prepared=test is not None)
  config, info = run.config, run.programs.info
  if test is None:
    examples = [Example(file, read_input(Path(file), info, config.data, largest)) for file in files]
  else:
    examples = read_test(test, config.data)
  pictures = picture_paths([example.name for example in examples], out or run.folder.predictions)
  results = []
  logits = answers(run, [example.input for example in examples])
  for example, scores, picture in zip(examples, logits, pictures, strict=True):
    if not np.isfinite(scores).all():
      raise UserError(
        f"step={run.step} predicts {example.name!r} with numbers that are not finite; give another --step"
      )
    answer = scores.argmax(-1).astype(np.uint8) if info.task == "segmentation" else softmax(scores)
    draw_prediction(picture, info, example.name, example.input, answer, example.truth, top)
    results.append({**_result(example, answer, info, top), "picture": str(picture)})
  print_table(_table(results, f"{config.model.name} on {config.data.name}, step {run.step}, {run.kind} weights"))
  for result in results:
    print(json.dumps(result), flush=True)
  return results


def answers(run: SavedRun, inputs: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
  """The logits of each input, float64 `[classes]`, or `[height, width, classes]` of a scene."""
  size = min(len(inputs), run.config.eval.batch_size)
  for start in range(0, len(inputs), size):
    some = np.stack(inputs[start : start + size])
    batch = np.zeros((size, *some.shape[1:]), some.dtype)  # the last one is filled up: another size would compile again
    batch[: len(some)] = some
    yield from np.asarray(jax.device_get(run.programs.answers(run.weights, batch)), np.float64)[: len(some)]


def softmax(logits: np.ndarray) -> np.ndarray:
  """Probabilities, along the last axis, of float64 logits.

  Example:
    >>> softmax(np.array([1000.0, 1000.0])).tolist()
    [0.5, 0.5]
  """
  exponentials = np.exp(logits - logits.max(-1, keepdims=True))
  return exponentials / exponentials.sum(-1, keepdims=True)


def read_test(number: int, settings: ConfigDict) -> list[Example]:
  """The first `number` records of the test set, as they are evaluated.

  Args:
    number: how many.
    settings: `config.data`.

  Raises:
    UserError: there are not as many, or the dataset is not prepared.
    CorruptRecordError: one cannot be read.
  """
  dataset = data.open_dataset(settings)
  if not 1 <= number <= dataset.num_test:
    raise UserError(f"test={number} must be from 1 to {dataset.num_test}, the records of the test set")
  settings = ConfigDict({**settings.to_dict(), "workers": 0})  # starting processes takes longer than reading a few
  batch = next(iter(data.evaluation_batches(dataset, settings, split="test", batch_size=number)))
  examples = enumerate(zip(batch["input"], batch["label"], strict=True))
  return [
    Example(f"{dataset.name}-test-{index}", inputs, label if label.ndim else int(label))
    for index, (inputs, label) in examples
  ]


def read_input(file: Path, info: DatasetInfo, settings: ConfigDict, largest: int = LARGEST) -> np.ndarray:
  """The input that a file is for a dataset, uint8 or int16 `[*spatial, channels]`, made as test examples are.

  Args:
    file: as `read_file` of the dataset's kind takes it (`cnn_zoo.data.kinds`).
    info: of the dataset.
    settings: `config.data`.
    largest: how many pixels an image, or samples a waveform, may have.

  Raises:
    UserError: if the file does not exist, is of another kind, is damaged or too large.
  """
  kind = KINDS[info.kind]
  try:
    with _muted():
      return kind.read_file(file, info, settings, largest)
  except TooLargeError as error:
    problem = f"{error} (see --max_size)"
  except CorruptRecordError as error:
    problem = str(error).rstrip(".")
  except OSError as error:
    problem = error.strerror
  raise UserError(f"file={str(file)!r} cannot be read: {problem}; valid: {kind.FILE}")


@contextlib.contextmanager
def _muted():
  """Discards what is written to stderr: the C libraries print lines of their own about a damaged image."""
  kept = os.dup(2)
  try:
    with open(os.devnull, "w") as nowhere:
      os.dup2(nowhere.fileno(), 2)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)


def _result(example, answer, info, top):
  """What is reported of an answer, except the picture."""
  names, truth = info.class_names, example.truth
  if info.task == "segmentation":
    result = {"file": example.name, "pixels": shares(answer, names)}
    return result if truth is None else {**result, "truth": shares(truth, names)}
  classes = np.argsort(-answer, kind="stable")[:top]
  result = {"file": example.name, "classes": [[names[k], float(answer[k])] for k in classes]}
  return result if truth is None else {**result, "truth": names[truth]}


def shares(labels: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
  """The share of the pixels that each class has, the largest first.

  Args:
    labels: uint8 `[height, width]`, 255 where a pixel has no class.
    class_names: the name of each class.

  Example:
    >>> shares(np.array([[1, 1], [1, 255]], np.uint8), ["cat", "dog"])
    {'dog': 0.75}
  """
  counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
  order = [k for k in np.argsort(-counts[:IGNORE], kind="stable") if counts[k]]
  return {class_names[k]: float(counts[k] / labels.size) for k in order}


def _table(results, title):
  scenes = "pixels" in results[0]
  truth = ["truth"] if "truth" in results[0] else []
  table = Table(
    Column("file", overflow="fold"), *(["pixels"] if scenes else ["class", "probability", "next"]), *truth, title=title
  )
  for result in results:
    if scenes:
      cells = [_percent(result[field].items()) for field in ("pixels", *truth)]
    else:
      (name, probability), *others = result["classes"]
      cells = [name, f"{probability:.2%}", _percent(others), *(result[field] for field in truth)]
    table.add_row(*map(escape, (result["file"], *cells)))
  return table


def _percent(pairs):
  return ", ".join(f"{name}: {share:.1%}" for name, share in pairs)
