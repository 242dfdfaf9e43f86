import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_datasets import make_dataset, make_settings

from cnn_zoo.data import CorruptRecordError, test_batches, train_batches
from cnn_zoo.errors import UserError

AUGMENTED = {"image_size": 16, "crop": "random", "flip": True, "shift": 0.1, "rotate": 10.0, "zoom": 0.2}


def take(batches, count):
  return [next(batches) for _ in range(count)]


def join(batches):
  return {name: np.concatenate([batch[name] for batch in batches]) for name in ("image", "label", "mask")}


def assert_equal(left, right):
  for a, b in zip(left, right, strict=True):
    for name in ("image", "label", "mask"):
      np.testing.assert_array_equal(a[name], b[name])


def test_shapes_and_types(digits):
  settings = make_settings(image_size=20)
  for batch in (
    next(train_batches(digits, settings, seed=0, batch_size=6)),
    next(iter(test_batches(digits, settings, batch_size=6))),
  ):
    assert list(batch) == ["image", "label", "mask"]
    assert batch["image"].shape == (6, 20, 20, 1) and batch["image"].dtype == np.uint8
    assert batch["label"].shape == (6,) and batch["label"].dtype == np.int32
    assert batch["mask"].all() and batch["mask"].shape == (6,) and batch["mask"].dtype == bool


def test_epochs_are_permutations_and_batches_run_across_them():
  labels = join(take(train_batches(make_dataset(10), make_settings(), seed=1, batch_size=4), 10))["label"]
  epochs = labels.reshape(4, 10)
  assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
  assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_digits_epoch_is_a_permutation(digits):
  batches = take(train_batches(digits, make_settings(), seed=0, batch_size=479), 3)
  pixels = sorted(image.tobytes() for image in join(batches)["image"])
  in_order = sorted(image.tobytes() for image in join([_in_order(digits)])["image"])
  assert pixels == in_order


def _in_order(digits):
  swapped = digits.__class__(**{**digits.__dict__, "test": digits.train, "num_test": digits.num_train})
  return next(iter(test_batches(swapped, make_settings(), batch_size=1437)))


def test_seed_decides_the_stream():
  dataset, settings = make_dataset(), make_settings(**AUGMENTED)
  first, again, other = (join(take(train_batches(dataset, settings, seed=s, batch_size=5), 4)) for s in (0, 0, 1))
  assert_equal([first], [again])
  assert (first["label"] != other["label"]).any()
  # Seed 1 is not seed 0 one epoch later.
  assert first["label"][10:].tolist() != other["label"][:10].tolist()


@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_processes_take_contiguous_shares_of_the_same_batches(process_count):
  dataset, settings = make_dataset(), make_settings(**AUGMENTED)
  whole = take(train_batches(dataset, settings, seed=3, batch_size=8), 4)
  shares = [
    take(train_batches(dataset, settings, seed=3, batch_size=8, process_index=p, process_count=process_count), 4)
    for p in range(process_count)
  ]
  assert_equal([join(parts) for parts in zip(*shares, strict=True)], whole)


def test_examples_do_not_depend_on_the_batch_they_are_in():
  dataset, settings = make_dataset(), make_settings(**AUGMENTED)
  fours = join(take(train_batches(dataset, settings, seed=3, batch_size=4), 6))
  sixes = join(take(train_batches(dataset, settings, seed=3, batch_size=6), 4))
  assert_equal([fours], [sixes])


def test_augmentation_changes_from_epoch_to_epoch():
  batches = take(train_batches(make_dataset(10), make_settings(**AUGMENTED), seed=0, batch_size=10), 2)
  first, second = (batch["image"][np.argsort(batch["label"])] for batch in batches)
  assert all((a != b).any() for a, b in zip(first, second, strict=True))


def test_start():
  dataset, settings = make_dataset(), make_settings(**AUGMENTED)
  whole = take(train_batches(dataset, settings, seed=3, batch_size=4), 7)
  batches = train_batches(dataset, settings, seed=3, batch_size=4, start=5)
  assert batches.get_state() == {"next_batch": 5}
  assert_equal(take(batches, 2), whole[5:])


def test_state_counts_batches_taken_and_restores_under_any_workers_and_processes():
  dataset, settings = make_dataset(), make_settings(**AUGMENTED)
  whole = take(train_batches(dataset, settings, seed=3, batch_size=4), 8)

  def restore(state, workers, **layout):
    batches = train_batches(dataset, make_settings(**AUGMENTED, workers=workers), seed=3, batch_size=4, **layout)
    batches.set_state(json.loads(state))
    return batches

  for workers in (0, 2):
    batches = restore('{"next_batch": 0}', workers)
    assert_equal(take(batches, 3), whole[:3])
    state = json.dumps(batches.get_state())
    assert state == '{"next_batch": 3}'
    assert_equal(take(batches, 2), whole[3:5])
    batches.close()
  for workers in (0, 2):
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
def test_test_batches_cover_every_example_once(digits, batch_size, process_count):
  settings = make_settings()
  shares = [
    test_batches(digits, settings, batch_size=batch_size, process_index=p, process_count=process_count)
    for p in range(process_count)
  ]
  assert {len(share) for share in shares} == {-(-360 // batch_size)}
  for _ in range(2):  # iterable again
    batches = [list(share) for share in shares]
    assert {len(part) for part in batches} == {-(-360 // batch_size)}
    assert {batch["image"].shape for part in batches for batch in part} == {(batch_size // process_count, 8, 8, 1)}
    whole = join([join(parts) for parts in zip(*batches, strict=True)])
    assert whole["mask"].tolist() == [True] * 360 + [False] * (len(whole["mask"]) - 360)
    assert not whole["image"][360:].any() and not whole["label"][360:].any()
    assert whole["label"][:360].tolist() == [record["label"] for record in digits.test]


def test_test_batches_with_workers():
  dataset = make_dataset(num_test=10)
  in_process, workers = (
    list(test_batches(dataset, make_settings(workers=workers), batch_size=4)) for workers in (0, 2)
  )
  assert_equal(in_process, workers)
  assert all(type(values) is np.ndarray for batch in workers for values in batch.values())


@pytest.mark.parametrize(("batch_size", "process_count"), [(64, 3), (7, 3), (0, 1)])
def test_batch_size_that_does_not_divide(digits, batch_size, process_count):
  match = f"batch_size={batch_size} must be a multiple of the number of processes, {process_count}"
  with pytest.raises(UserError, match=match):
    train_batches(digits, make_settings(), seed=0, batch_size=batch_size, process_count=process_count)
  with pytest.raises(UserError, match=match):
    test_batches(digits, make_settings(), batch_size=batch_size, process_count=process_count)


def test_wrong_settings(digits):
  with pytest.raises(UserError, match=r"data.crop='randon' is not known; did you mean random"):
    train_batches(digits, make_settings(crop="randon"), seed=0, batch_size=8)
  with pytest.raises(UserError, match=r"data.test_crop=1.1 must be from 0.01 to 1"):
    test_batches(digits, make_settings(test_crop=1.1), batch_size=8)
  with pytest.raises(UserError, match="seed=-1"):
    train_batches(digits, make_settings(), seed=-1, batch_size=8)


@pytest.mark.parametrize("problem", [b"", b"nonsense", make_dataset(1).train[0]["image"][:-30]])
def test_corrupt_record(problem):
  dataset = make_dataset(4)
  dataset.train[2]["image"] = problem
  batches = train_batches(dataset, make_settings(), seed=0, batch_size=4)
  for _ in range(2):  # the state stays where it is
    with pytest.raises(CorruptRecordError, match=r"record 2 of dataset 'tiny', split 'train', cannot be read: .*bytes"):
      next(batches)
    assert batches.get_state() == {"next_batch": 0}


def test_corrupt_record_in_a_worker():
  dataset = make_dataset(num_test=4)
  dataset.test[3]["image"] = b""
  with pytest.raises(CorruptRecordError, match="record 3 of dataset 'tiny', split 'test', cannot be read: 0 bytes"):
    list(test_batches(dataset, make_settings(workers=1), batch_size=4))


def test_corrupt_record_can_be_stepped_over():
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
sys.path.insert(0, "tests/data")
from tiny_datasets import make_dataset, make_settings
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
  root = pathlib.Path(__file__).parents[2]
  result = subprocess.run(command, cwd=root, capture_output=True, text=True, start_new_session=True)
  pids, rest = result.stdout.split("\n", 1)
  assert (len(pids.split()), rest, result.returncode) == (2, "went on\n", -9)

  def alive(pid):
    status = pathlib.Path("/proc", pid, "status")
    return status.exists() and "State:\tZ" not in status.read_text()

  deadline = time.monotonic() + 20
  while any(alive(pid) for pid in pids.split()):
    assert time.monotonic() < deadline
    time.sleep(0.1)
