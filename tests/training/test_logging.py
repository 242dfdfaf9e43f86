"""What a run writes."""

import json

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.logging import RunLog, read_metrics

VALUES = {"loss": 1.0, "top1": 0.5}


def write(workdir, start, steps, leader=True, written=None):
  log = RunLog(RunFolder(workdir), start, 10, 64, ("top1", "top-1"), leader, written)
  for step in steps:
    log.metrics("train", step, step / 3, VALUES)
    log.advance(step)
  log.say("something")
  log.close()
  return log.written()


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


DAMAGE = {
  "cut": lambda lines: [*lines[:1], lines[1][:20], *lines[2:]],
  "empty": lambda lines: [*lines[:1], b"", *lines[2:]],
  "gone": lambda lines: [*lines[:1], *lines[2:]],
  "list": lambda lines: [*lines[:1], b"[]", *lines[2:]],
  "number": lambda lines: [*lines[:1], b"7", *lines[2:]],
  "text": lambda lines: [*lines[:1], b"\xff\xfe", *lines[2:]],
  "deep": lambda lines: [*lines[:1], b"[" * 100_000, *lines[2:]],
  "other row": lambda lines: [*lines[:1], b'{"split": ["train"], "step": 2}', *lines[2:]],
  "no numbers": lambda lines: [*lines[:1], lines[1].replace(b"1.0", b'"1"'), *lines[2:]],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_line(kind, tmp_path, capsys):
  """It alone is lost, which is said; the checkpoint knows what should be there."""
  written = write(tmp_path, 0, range(1, 5))
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b"\n".join(DAMAGE[kind](path.read_bytes().split(b"\n"))))
  capsys.readouterr()
  assert [row["step"] for row in read_metrics(path)] == [1, 3, 4]
  says = "" if kind == "gone" else f"warning: {path} has 1 unreadable lines, of which the first is 2\n"
  assert capsys.readouterr().err == says
  write(tmp_path, 4, [5], written=written)
  lines = "" if kind == "gone" else " (unreadable lines: 2)"
  says = f"warning: {path} does not hold what was written to it up to step 4, 4 rows{lines}; the 3 that can be read"
  assert f"{says} are kept\n" in capsys.readouterr().err
  assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3, 4, 5]


def test_a_changed_number(tmp_path, capsys):
  written = write(tmp_path, 0, range(1, 5))
  path = tmp_path / "metrics.jsonl"
  path.write_text(path.read_text().replace("0.6667", "0.6767"))
  write(tmp_path, 4, [5], written=written)
  assert "does not hold what was written to it up to step 4, 4 rows; the 4 that can be read" in capsys.readouterr().err


def test_what_was_written_is_there(tmp_path, capsys):
  """Also if more was written since, or nothing before."""
  nothing = write(tmp_path, 0, [])
  written = write(tmp_path, 0, range(1, 5))
  assert (nothing["rows"], written["rows"]) == (0, 4)
  write(tmp_path, 4, range(5, 8), written=written)
  assert write(tmp_path, 4, [], written=written) == written
  write(tmp_path, 0, [], written=nothing)
  assert "warning" not in capsys.readouterr().err


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
