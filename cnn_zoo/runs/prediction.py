"""What a trained run answers to files of the user, or to records of its own test set."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from cnn_zoo import convolutions, data
from cnn_zoo.data import CorruptRecordError, DatasetInfo
from cnn_zoo.data.kinds import clip, image, waveform
from cnn_zoo.data.decode import decode_wav, resample
from cnn_zoo.data.kinds.scene import IGNORE
from cnn_zoo.errors import UserError
from cnn_zoo.plots.predictions import draw_prediction, picture_paths
from cnn_zoo.runs.evaluation import SavedRun, open_run

# What a run answers to, by the kind of its dataset.
VALID = {
  "image": "an image file, such as JPEG or PNG",
  "scene": "an image file, such as JPEG or PNG",
  "waveform": "a WAV file",
  "clip": "a folder of frames, which are image files",
}

# What a frame's name ends with; a folder may hold other files too.
FRAMES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# Samples a second; a header that says something else is broken, and resampling by it takes any amount of memory.
RATES = (1_000, 1_000_000)


class Example(NamedTuple):
  """Something to answer to.

  Attributes:
    name: the file as it was given, or DATASET-test-NUMBER of a test record.
    input: as a batch has it, uint8 or int16 [*spatial, channels].
    truth: of a test record, its label: a class, or uint8 [height, width] with 255 where there is none.
  """

  name: str
  input: np.ndarray
  truth: int | np.ndarray | None = None


def predict(
  workdir: Path,
  files: Sequence[str] = (),
  *,
  test: int | None = None,
  step: str = "last",
  weights: str = "ema",
  out: Path | None = None,
  top: int = 5,
) -> list[dict]:
  """Answers to each file, draws a picture of each answer, and prints a table and one JSON line a file.

  Args:
    workdir: the run's folder.
    files: what to answer to; `VALID` says what a run takes.
    test: in place of files, how many records of the run's test set, from the first on.
    step: a step number, "last" or "best".
    weights: "ema" for the averaged weights if the run has them, "raw" for the others.
    out: the folder of the pictures; None for WORKDIR/predictions.
    top: how many classes to tell of, the most probable ones.

  Returns:
    What the JSON lines say: {"file", "classes": [[name, probability], ...], "picture"}, and of a scene in place of the
    classes {"pixels": {name: share}}; with `test` also the "truth", a name or shares.

  Raises:
    UserError: without files, for a file that cannot be read, and as `evaluation.evaluate`.
    CorruptRecordError: a test record cannot be read.
  """
  if bool(files) == (test is not None):
    raise UserError(f"give {'either ' if files else ''}files to answer to, or --test=N for N records of the test set")
  if top < 1:
    raise UserError(f"top={top} must be at least 1")
  run = open_run(None, workdir, step, weights, prepared=test is not None)
  config, info = run.config, run.programs.info
  if test is None:
    examples = [Example(file, read_input(Path(file), info, config.data)) for file in files]
  else:
    examples = read_test(test, config.data)
  pictures = picture_paths([example.name for example in examples], out or workdir / "predictions")
  results = []
  with convolutions.lowering(config.convolution_lowering):
    logits = answers(run, [example.input for example in examples])
    for example, scores, picture in zip(examples, logits, pictures, strict=True):
      if not np.isfinite(scores).all():
        raise UserError(f"step={run.step} answers to {example.name!r} with no finite numbers; give another --step")
      answer = scores.argmax(-1).astype(np.uint8) if info.kind == "scene" else softmax(scores)
      draw_prediction(picture, info, example.name, example.input, answer, example.truth, top)
      results.append({**_told(example, answer, info, top), "picture": str(picture)})
  title = f"{config.model.name} on {config.data.name}, step {run.step}, {run.kind} weights"
  console = Console()
  console.width = max(console.width, 100)  # a log has no width of its own
  console.print(_table(results, title))
  for result in results:
    print(json.dumps(result), flush=True)
  return results


def answers(run: SavedRun, inputs: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
  """The logits of each input, float64 [classes], or [height, width, classes] of a scene."""
  size = min(len(inputs), run.config.eval.batch_size)
  for start in range(0, len(inputs), size):
    some = np.stack(inputs[start : start + size])
    batch = np.zeros((size, *some.shape[1:]), some.dtype)  # the last one is filled up, for another size takes compiling
    batch[: len(some)] = some
    yield from np.asarray(jax.device_get(run.programs.answers(run.weights, batch)), np.float64)[: len(some)]


def softmax(logits: np.ndarray) -> np.ndarray:
  """Probabilities, along the last axis, of float64 logits."""
  exponentials = np.exp(logits - logits.max(-1, keepdims=True))
  return exponentials / exponentials.sum(-1, keepdims=True)


def read_test(number: int, settings: ConfigDict) -> list[Example]:
  """The first `number` records of the test set of `settings` (`config.data`), as they are evaluated.

  Raises:
    UserError: there are not as many, or the dataset is not prepared.
    CorruptRecordError: one cannot be read.
  """
  dataset = data.open_dataset(settings)
  if not 1 <= number <= dataset.num_test:
    raise UserError(f"test={number} must be from 1 to {dataset.num_test}, the records of the test set")
  settings = ConfigDict({**settings.to_dict(), "workers": 0})  # to start processes takes longer than to read some
  batch = next(iter(data.test_batches(dataset, settings, batch_size=number)))
  examples = enumerate(zip(batch["input"], batch["label"], strict=True))
  return [
    Example(f"{dataset.name}-test-{index}", inputs, label if label.ndim else int(label))
    for index, (inputs, label) in examples
  ]


def read_input(file: Path, info: DatasetInfo, settings: ConfigDict) -> np.ndarray:
  """Makes of a file what a test example of the dataset `info` is, uint8 or int16 [*spatial, channels].

  Args:
    file: what `VALID` says for the dataset's kind. The channels of a WAV file are averaged, and its rate becomes the
      dataset's. Of a folder, the image files are the frames, in the order of their names, where 2 comes before 10.
    info: of the dataset.
    settings: `config.data`.

  Raises:
    UserError: the file is not there, is something else or is broken.
  """
  try:
    with _muted():
      return _READERS[info.kind](file, info, settings)
  except CorruptRecordError as error:
    problem = str(error).rstrip(".")
  except OSError as error:
    problem = error.strerror
  raise UserError(f"file={str(file)!r} cannot be read: {problem}; valid: {VALID[info.kind]}")


@contextlib.contextmanager
def _muted():
  """Sends nowhere what is written to stderr: of a broken image, the libraries in C tell in lines of their own."""
  kept = os.dup(2)
  try:
    with open(os.devnull, "w") as nowhere:
      os.dup2(nowhere.fileno(), 2)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)


def frame_files(folder: Path) -> list[Path]:
  """The image files in a folder, ordered by their names as a person would: frame2 before frame10."""
  frames = [file for file in folder.iterdir() if file.suffix.lower() in FRAMES and not file.name.startswith(".")]
  return sorted(frames, key=lambda file: (_natural(file.name), file.name))


def _natural(name):
  """Texts and numbers by turns."""
  return [int(part) if index % 2 else part.casefold() for index, part in enumerate(re.split(r"(\d+)", name))]


def _read_image(file, info, settings):
  return image.plain_image(file.read_bytes(), info.channels, settings)


def _read_waveform(file, info, settings):
  samples, rate = decode_wav(file.read_bytes())
  if not RATES[0] <= rate <= RATES[1]:
    raise CorruptRecordError(f"{rate} samples a second, where there must be {RATES[0]:,} to {RATES[1]:,}")
  mono = np.rint(samples.mean(axis=1, keepdims=True)).astype(np.int16)
  audio = resample(mono, rate, info.sample_rate)[:, 0]
  return waveform.make_example({"audio": audio, "label": 0}, info, settings, None)[0]


def _read_clip(folder, info, settings):
  frames = frame_files(folder)
  if not frames:
    raise CorruptRecordError(f"it holds no file that ends with {', '.join(FRAMES)}")
  try:
    return clip.make_example({"video": [f.read_bytes() for f in frames], "label": 0}, info, settings, None)[0]
  except CorruptRecordError:
    for frame in frames:  # which one is broken
      read_input(frame, info._replace(kind="image"), settings)
    raise


_READERS = {"image": _read_image, "scene": _read_image, "waveform": _read_waveform, "clip": _read_clip}


def _told(example, answer, info, top):
  """What is said of an answer, but for the picture."""
  names, truth = info.class_names, example.truth
  if info.kind == "scene":
    told = {"file": example.name, "pixels": shares(answer, names)}
    return told if truth is None else {**told, "truth": shares(truth, names)}
  classes = np.argsort(-answer, kind="stable")[:top]
  told = {"file": example.name, "classes": [[names[k], float(answer[k])] for k in classes]}
  return told if truth is None else {**told, "truth": names[truth]}


def shares(labels: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
  """The share of the pixels [height, width] that each class has, the largest first; pixels may have no class (255)."""
  counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
  order = [k for k in np.argsort(-counts[:IGNORE], kind="stable") if counts[k]]
  return {class_names[k]: counts[k] / labels.size for k in order}


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
