"""What a run writes."""

import json

from tensorboardX.proto.event_pb2 import Event, SessionLog

from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.logging import RunLog, read_metrics

VALUES = {"loss": 1.0, "top1": 0.5}


def write(workdir, start, steps, leader=True):
  log = RunLog(RunFolder(workdir), start, 10, 64, ("top1", "top-1"), leader)
  for step in steps:
    log.metrics("train", step, step / 3, VALUES)
    log.advance(step)
  log.say("something")
  log.close()


def test_a_resumed_run_writes_the_same_bytes(tmp_path):
  for name in ("whole", "resumed"):
    (tmp_path / name).mkdir()
  write(tmp_path / "whole", 0, range(1, 11))
  write(tmp_path / "resumed", 0, range(1, 8))
  write(tmp_path / "resumed", 4, range(5, 11))  # steps 5 to 7 were not saved
  whole = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
  assert whole == (tmp_path / "resumed" / "metrics.jsonl").read_bytes()
  row = json.loads(whole.splitlines()[3])
  assert row == {"split": "train", "step": 4, "epoch": 1.3333, "loss": 1.0, "top1": 0.5}


def test_a_line_that_was_cut_off(tmp_path):
  write(tmp_path, 0, range(1, 5))
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(path.read_bytes()[:-12])
  assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
  write(tmp_path, 3, range(4, 6))
  assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_a_run_that_starts_over_drops_its_lines(tmp_path):
  write(tmp_path, 0, range(1, 5))
  write(tmp_path, 0, range(1, 3))
  assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]


def test_other_processes_are_silent(tmp_path, capsys):
  write(tmp_path, 0, range(1, 5), leader=False)
  assert list(tmp_path.iterdir()) == [] and capsys.readouterr() == ("", "")


def test_no_metrics_yet(tmp_path):
  assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_the_report_of_a_run_that_goes_on_is_dropped(tmp_path):
  """With a validation set, the test row belongs to the end, although its step may be an earlier one."""
  rows = [
    {"split": split, "step": step, "epoch": 1.0, **VALUES} for split, step in (("val", 4), ("val", 10), ("test", 4))
  ]
  for resumed_from, kept in ((8, [("val", 4)]), (10, [("val", 4), ("val", 10), ("test", 4)])):
    folder = RunFolder(tmp_path / str(resumed_from))
    folder.prepare()
    folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = RunLog(folder, resumed_from, 10, 64, ("top1", "top-1"))
    assert log.has("test") == (resumed_from == 10)
    log.close()
    assert [(row["split"], row["step"]) for row in read_metrics(folder.metrics)] == kept


def tensorboard(workdir):
  """{(tag, step)} of what TensorBoard shows: a writer that starts at a step drops what it has from that step on."""
  shown = []
  for file in sorted((workdir / "tensorboard").iterdir()):
    data = file.read_bytes()
    while data:  # length, its checksum, an event, its checksum
      size = int.from_bytes(data[:8], "little")
      event, data = Event.FromString(data[12 : 12 + size]), data[16 + size :]
      if event.session_log.status == SessionLog.START:
        shown = [(tag, step) for tag, step in shown if step < event.step]
      shown += [(value.tag, event.step) for value in event.summary.value]
  assert len(shown) == len(set(shown))
  return set(shown)


def test_tensorboard_shows_what_metrics_jsonl_holds(tmp_path, monkeypatch):
  """Also after a run was extended, whose report was of an early step."""
  for number, (start, total, splits) in enumerate(
    (
      (0, 6, [("train", 2), ("val", 3), ("train", 4), ("train", 6), ("val", 6), ("test", 3)]),
      (6, 8, [("train", 8), ("val", 8), ("test", 8)]),
      (4, 8, [("train", 6), ("val", 6), ("train", 8), ("val", 8), ("test", 6)]),
    )
  ):
    # The names of its files have the time in seconds.
    monkeypatch.setattr("tensorboardX.event_file_writer.time.time", lambda number=number: 1e9 + number)
    log = RunLog(RunFolder(tmp_path), start, total, 64, ("top1", "top-1"))
    for split, step in splits:
      log.metrics(split, step, step / 3, VALUES)
    log.close()
    monkeypatch.undo()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    expected = {(f"{row['split']}/{name}", row["step"]) for row in rows for name in VALUES}
    shown = {(tag, step) for tag, step in tensorboard(tmp_path) if tag != "train/examples_per_second"}
    assert shown == expected and ("test/top1", splits[-1][1]) in shown
