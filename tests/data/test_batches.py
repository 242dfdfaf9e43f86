import dataclasses
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from cnn_zoo.data import CorruptRecordError, batch_shapes, evaluation_batches, input_shape, train_batches
from cnn_zoo.errors import UserError
from tests.helpers import ROOT
from tests.helpers.tiny_datasets import AUGMENTED, KINDS, encode_png, make_dataset, make_settings


def take(batches, count):
  return [next(batches) for _ in range(count)]


def join(batches):
  return {name: np.concatenate([batch[name] for batch in batches]) for name in ("input", "label", "mask")}


def assert_equal(left, right):
  for a, b in zip(left, right, strict=True):
    for name in ("input", "label", "mask"):
      np.testing.assert_array_equal(a[name], b[name])


def test_shapes_and_types(digits):
  settings = make_settings(image_size=20)
  for batch in (
    next(train_batches(digits, settings, seed=0, batch_size=6)),
    next(iter(evaluation_batches(digits, settings, split="test", batch_size=6))),
  ):
    assert list(batch) == ["input", "label", "mask"]
    assert batch["input"].shape == (6, 20, 20, 1) and batch["input"].dtype == np.uint8
    assert batch["label"].shape == (6,) and batch["label"].dtype == np.int32
    assert batch["mask"].all() and batch["mask"].shape == (6,) and batch["mask"].dtype == bool


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_known_before(kind):
  dataset, settings = make_dataset(10, 5, kind=kind), make_settings(**AUGMENTED[kind])
  wanted = {
    "image": (16, 16, 3),
    "waveform": (30, 1),
    "clip": (4, 16, 16, 3),
    "scene": (16, 16, 3),
  }[kind]
  assert input_shape(settings, dataset.info) == wanted
  shapes = batch_shapes(settings, 4, dataset.info)
  assert shapes["input"].shape == (4, *wanted)
  assert shapes["input"].dtype == (np.int16 if kind == "waveform" else np.uint8)
  assert (shapes["label"].shape, shapes["label"].dtype) == (
    ((4, 16, 16), np.uint8) if kind == "scene" else ((4,), np.int32)
  )
  for batch in (
    next(train_batches(dataset, settings, seed=0, batch_size=4)),
    *evaluation_batches(dataset, settings, split="test", batch_size=4),
  ):
    assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
      name: (x.shape, x.dtype) for name, x in shapes.items()
    }


def test_epochs_are_permutations_and_batches_run_across_them():
  labels = join(take(train_batches(make_dataset(10), make_settings(), seed=1, batch_size=4), 10))["label"]
  epochs = labels.reshape(4, 10)
  assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
  assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_digits_epoch_is_a_permutation(digits):
  batches = take(train_batches(digits, make_settings(), seed=0, batch_size=479), 3)
  pixels = sorted(image.tobytes() for image in join(batches)["input"])
  in_order = sorted(image.tobytes() for image in join([_in_order(digits)])["input"])
  assert pixels == in_order


def _in_order(digits):
  swapped = dataclasses.replace(digits, test=digits.train)
  return next(iter(evaluation_batches(swapped, make_settings(), split="test", batch_size=1437)))


@pytest.mark.parametrize("kind", KINDS)
def test_seed_decides_the_stream(kind):
  dataset, settings = make_dataset(kind=kind), make_settings(**AUGMENTED[kind])
  first, again, other = (join(take(train_batches(dataset, settings, seed=s, batch_size=5), 4)) for s in (0, 0, 1))
  assert_equal([first], [again])
  assert (first["label"] != other["label"]).any()
  # Seed 1 is not seed 0 one epoch later.
  assert first["label"][10:].tolist() != other["label"][:10].tolist()


@pytest.mark.parametrize(("process_count", "kind"), [(1, "image"), (2, "image"), *((4, kind) for kind in KINDS)])
def test_processes_take_contiguous_shares_of_the_same_batches(process_count, kind):
  dataset, settings = make_dataset(kind=kind), make_settings(**AUGMENTED[kind])
  whole = take(train_batches(dataset, settings, seed=3, batch_size=8), 4)
  shares = [
    take(train_batches(dataset, settings, seed=3, batch_size=8, process_index=p, process_count=process_count), 4)
    for p in range(process_count)
  ]
  assert_equal([join(parts) for parts in zip(*shares, strict=True)], whole)


def test_examples_do_not_depend_on_the_batch_they_are_in():
  dataset, settings = make_dataset(), make_settings(**AUGMENTED["image"])
  fours = join(take(train_batches(dataset, settings, seed=3, batch_size=4), 6))
  sixes = join(take(train_batches(dataset, settings, seed=3, batch_size=6), 4))
  assert_equal([fours], [sixes])


@pytest.mark.parametrize("kind", ["image", "waveform", "clip"])
def test_augmentation_changes_from_epoch_to_epoch(kind):
  settings = make_settings(**AUGMENTED[kind])
  batches = take(train_batches(make_dataset(10, kind=kind), settings, seed=0, batch_size=10), 2)
  first, second = (batch["input"][np.argsort(batch["label"])] for batch in batches)
  assert all((a != b).any() for a, b in zip(first, second, strict=True))


def test_augmentation_of_scenes_and_label_maps_changes_from_epoch_to_epoch():
  settings = make_settings(**AUGMENTED["scene"])
  first, second = take(train_batches(make_dataset(1, kind="scene"), settings, seed=0, batch_size=1), 2)
  assert (first["input"] != second["input"]).any()
  assert ((first["label"] == 255) != (second["label"] == 255)).any()  # what a rotation uncovers


def test_start():
  dataset, settings = make_dataset(), make_settings(**AUGMENTED["image"])
  whole = take(train_batches(dataset, settings, seed=3, batch_size=4), 7)
  batches = train_batches(dataset, settings, seed=3, batch_size=4, start=5)
  assert batches.get_state() == {"next_batch": 5}
  assert_equal(take(batches, 2), whole[5:])


def test_state_counts_batches_taken_and_restores_under_any_workers_and_processes():
  dataset, settings = make_dataset(), make_settings(**AUGMENTED["image"])
  whole = take(train_batches(dataset, settings, seed=3, batch_size=4), 8)

  def restore(state, workers, **layout):
    batches = train_batches(
      dataset, make_settings(**AUGMENTED["image"], workers=workers), seed=3, batch_size=4, **layout
    )
    batches.set_state(json.loads(state))
    return batches

  for workers in (0, 2):
    batches = restore('{"next_batch": 0}', workers)
    assert_equal(take(batches, 3), whole[:3])
    state = json.dumps(batches.get_state())
    assert state == '{"next_batch": 3}'
    assert_equal(take(batches, 2), whole[3:5])
    batches.close()
  for workers in (0, 1):
    batches = restore(state, workers)
    assert_equal(take(batches, 5), whole[3:])
    batches.close()
  batches = restore(state, workers=0)
  next(batches)
  batches.set_state({"next_batch": 2})  # back, on an iterator in use
  assert_equal(take(batches, 3), whole[2:5])
  halves = [take(restore(state, 0, process_index=p, process_count=2), 5) for p in range(2)]
  assert_equal([join(parts) for parts in zip(*halves, strict=True)], whole[3:])


@pytest.mark.parametrize(("batch_size", "process_count"), [(360, 1), (64, 1), (7, 1), (360, 3), (63, 3), (21, 3)])
def test_evaluation_batches_cover_every_example_once(digits, batch_size, process_count):
  settings = make_settings()
  shares = [
    evaluation_batches(
      digits, settings, split="test", batch_size=batch_size, process_index=p, process_count=process_count
    )
    for p in range(process_count)
  ]
  assert {len(share) for share in shares} == {-(-360 // batch_size)}
  for _ in range(2):  # iterable again
    batches = [list(share) for share in shares]
    assert {len(part) for part in batches} == {-(-360 // batch_size)}
    assert {batch["input"].shape for part in batches for batch in part} == {(batch_size // process_count, 8, 8, 1)}
    whole = join([join(parts) for parts in zip(*batches, strict=True)])
    assert whole["mask"].tolist() == [True] * 360 + [False] * (len(whole["mask"]) - 360)
    assert not whole["input"][360:].any() and not whole["label"][360:].any()
    assert whole["label"][:360].tolist() == [record["label"] for record in digits.test]


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_batches_are_filled_up(kind):
  dataset, settings = make_dataset(num_test=5, kind=kind), make_settings(**AUGMENTED[kind])
  whole = join(evaluation_batches(dataset, settings, split="test", batch_size=4))
  assert whole["mask"].tolist() == [True] * 5 + [False] * 3
  assert all(example.any() for example in whole["input"][:5]) and not whole["input"][5:].any()
  if kind == "scene":
    assert (whole["label"][:5] < 10).all() and (whole["label"][5:] == 255).all()
  else:
    assert whole["label"].tolist() == [0, 1, 2, 3, 4, 0, 0, 0]


def test_evaluation_batches_with_workers():
  """The same batches, up to the one with a broken record."""
  dataset = make_dataset(num_test=10)
  in_process = list(evaluation_batches(dataset, make_settings(), split="test", batch_size=4))
  dataset.test[9]["image"] = b""
  batches = iter(evaluation_batches(dataset, make_settings(workers=2), split="test", batch_size=4))
  workers = take(batches, 2)
  assert_equal(in_process[:2], workers)
  assert all(type(values) is np.ndarray for batch in workers for values in batch.values())
  with pytest.raises(CorruptRecordError, match="record 9 of dataset 'tiny', split 'test', cannot be read: 0 bytes"):
    next(batches)


@pytest.mark.parametrize(("batch_size", "process_count"), [(64, 3), (7, 3), (0, 1)])
def test_batch_size_that_does_not_divide(digits, batch_size, process_count):
  match = f"batch_size={batch_size} must be a multiple of the number of processes, {process_count}"
  with pytest.raises(UserError, match=match):
    train_batches(digits, make_settings(), seed=0, batch_size=batch_size, process_count=process_count)
  with pytest.raises(UserError, match=match):
    evaluation_batches(digits, make_settings(), split="test", batch_size=batch_size, process_count=process_count)


def test_wrong_seed(digits):
  with pytest.raises(UserError, match="seed=-1"):
    train_batches(digits, make_settings(), seed=-1, batch_size=8)


PNG = make_dataset(1).train[0]["image"]


@pytest.mark.parametrize(
  ("kind", "change", "problem"),
  [
    ("image", {"image": b""}, "0 bytes that are not a complete image"),
    ("image", {"image": b"nonsense"}, "8 bytes that are not a complete image"),
    ("image", {"image": PNG[:-30]}, "bytes that are not a complete image"),
    ("waveform", {"audio": np.zeros(0, np.int16)}, "a waveform without samples"),
    ("clip", {"video": []}, "a video without frames"),
    ("clip", {"video": [PNG, PNG, b"nonsense"]}, "frame 2: 8 bytes that are not a complete image"),
    ("scene", {"image": b"nonsense"}, "8 bytes that are not a complete image"),
    ("scene", {"segmentation_mask": b"nonsense"}, "8 bytes that are not a complete image"),
    (
      "scene",
      {"segmentation_mask": encode_png(np.zeros((12, 9, 1), np.uint8))},
      "the image has 12 x 12 pixels, its mask 12 x 9",
    ),
    (
      "scene",
      {"segmentation_mask": encode_png(np.full((12, 12, 1), 4, np.uint8))},
      "the mask has the value 4, which is no class",
    ),
  ],
)
def test_corrupt_record(kind, change, problem):
  dataset = make_dataset(4, kind=kind)
  dataset.train[2].update(change)
  batches = train_batches(dataset, make_settings(), seed=0, batch_size=4)
  for _ in range(2):  # the state stays where it is
    message = rf"record 2 of dataset 'tiny', split 'train', cannot be read: .*{problem}"
    with pytest.raises(CorruptRecordError, match=message):
      next(batches)
    assert batches.get_state() == {"next_batch": 0}


def test_corrupt_record_can_be_skipped():
  dataset, broken = make_dataset(8), make_dataset(8)
  labels = [batch["label"].tolist() for batch in take(train_batches(dataset, make_settings(), seed=0, batch_size=4), 4)]
  broken.train[labels[1][0]]["image"] = b""
  batches = train_batches(broken, make_settings(), seed=0, batch_size=4)
  assert next(batches)["label"].tolist() == labels[0]
  with pytest.raises(CorruptRecordError):
    next(batches)
  batches.set_state({"next_batch": batches.get_state()["next_batch"] + 1})
  assert labels[1][0] in labels[2] + labels[3]
  following = next(train_batches(dataset, make_settings(), seed=0, batch_size=4, start=2))["label"].tolist()
  assert following == labels[2]


# Prints the process ids of its workers, has itself and them interrupted, goes on, and is killed.
KILLED = """
import multiprocessing, os, signal, sys
sys.path.insert(0, ".")
from tests.helpers.tiny_datasets import make_dataset, make_settings
from cnn_zoo.data import train_batches
if __name__ == "__main__":
  batches = train_batches(make_dataset(), make_settings(workers=2), seed=0, batch_size=4)
  for _ in range(4):  # so that both workers are up
    next(batches)
  print(*[process.pid for process in multiprocessing.active_children()])
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: None)
    os.killpg(0, number)
  for _ in range(5):
    next(batches)
  print("went on", flush=True)
  os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_outlive_signals_but_not_their_parent():
  command = [sys.executable, "-c", KILLED]

  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, start_new_session=True)
  pids, rest = result.stdout.split("\n", 1)
  assert (len(pids.split()), rest, result.returncode) == (2, "went on\n", -9)

  def alive(pid):
    status = pathlib.Path("/proc", pid, "status")
    return status.exists() and "State:\tZ" not in status.read_text()

  deadline = time.monotonic() + 20
  while any(alive(pid) for pid in pids.split()):
    assert time.monotonic() < deadline
    time.sleep(0.1)
