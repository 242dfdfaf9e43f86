"""A run that was stopped, in whatever way, ends with the bits of one that was not."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from cnn_zoo.data.batches import _Stream
from cnn_zoo.runs.evaluation import evaluate
from cnn_zoo.training.loop import train
from cnn_zoo.training.programs import Programs
from tests.helpers import runner


def check_same(workdir, whole, config):
  assert (workdir / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
  ours, theirs = runner.saved_state(workdir, config), runner.saved_state(whole, config)
  assert runner.different_leaves(ours, theirs) == []
  assert runner.saved_steps(workdir) == runner.saved_steps(whole)


def half_written(workdir):
  folder = Path(workdir) / "checkpoints"
  return [entry.name for entry in os.scandir(folder) if "tmp" in entry.name] if folder.exists() else []


def complete(workdir):
  folder = Path(workdir) / "checkpoints"
  return folder.exists() and runner.saved_steps(workdir)


def logged(workdir):
  """Lines of train.log that tell of steps."""
  log = Path(workdir) / "train.log"
  return sum("  epoch " in line for line in log.read_text().splitlines()) if log.exists() else 0


def wait_for(process, condition):
  while process.poll() is None:
    if condition():
      return
    time.sleep(0.0005)
  pytest.fail("the run ended before it could be stopped: " + "".join(process.communicate())[-2000:])


def kill(process, workdir, writing, delay):
  """SIGKILL, some steps after the start and with something to resume from; whether a checkpoint was being written."""
  before = logged(workdir)
  wait_for(process, lambda: logged(workdir) >= before + 3 and complete(workdir))
  if writing:
    wait_for(process, lambda: half_written(workdir))
  else:
    time.sleep(delay)
  assert process.poll() is None, "the run was over before it was killed"
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  return bool(half_written(workdir))


def test_killed(whole_run, tmp_path):
  random.seed(0)
  workdir = tmp_path / "run"
  arguments = runner.arguments("lenet5", workdir, runner.UNEVEN)
  hits = [kill(runner.start(arguments), workdir, i % 2 == 0, random.uniform(0, 0.15)) for i in range(5)]
  assert any(hits), "no kill met a checkpoint that was being written"
  runner.finish(runner.start(arguments))
  assert (workdir / "train.log").read_text().count("resuming from step") >= 3
  assert not half_written(workdir)
  check_same(workdir, whole_run, runner.load("lenet5", **runner.UNEVEN))


def test_terminated(whole_run, tmp_path):
  """SIGTERM saves and ends; the same command goes on, here with the data in worker processes."""
  workdir = tmp_path / "run"
  process = runner.start(runner.arguments("lenet5", workdir, runner.UNEVEN))
  wait_for(process, lambda: logged(workdir) >= 3)
  process.send_signal(signal.SIGTERM)
  runner.finish(process)
  stopped = runner.saved_steps(workdir)[-1]
  assert f"stopped by a signal: step {stopped} of 90 is saved" in (workdir / "train.log").read_text()
  assert 12 <= stopped < 90
  runner.train_process("lenet5", workdir, {**runner.UNEVEN, "data.workers": 2})
  assert f"resuming from step {stopped} of 90" in (workdir / "train.log").read_text()
  check_same(workdir, whole_run, runner.load("lenet5", **runner.UNEVEN))


def test_terminated_while_evaluating(tmp_path, monkeypatch):
  """What the log says is saved is saved, whenever the signal comes."""
  evaluate = Programs.evaluate

  def interrupted(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return {**evaluate(*arguments), "top1": -2.0}  # no new best, for which it would be saved anyway

  monkeypatch.setattr(Programs, "evaluate", interrupted)
  train(runner.load("lenet5", steps=30), tmp_path / "run")
  (stopped,) = runner.saved_steps(tmp_path / "run")
  assert f"stopped by a signal: step {stopped} of 30 is saved" in (tmp_path / "run" / "train.log").read_text()


def test_broken_efficientnet(tmp_path, monkeypatch):
  """Batch statistics, dropout and stochastic depth go on too, from any step."""
  fields = {
    **runner.TINY_EFFICIENTNET,
    "log_every_steps": 3,
    "batch_size": 32,
    "steps": 9,
    "ema_decay": 0.9,
    "checkpoint.every_steps": 2,
  }
  config = runner.load("efficientnet_b0", **fields)
  train(config, tmp_path / "whole")
  take = _Stream.__next__
  for stop_at in (5, 8):

    def breaks(stream, stop_at=stop_at):
      if stream.get_state()["next_batch"] == stop_at:
        raise OSError("the disk is gone")
      return take(stream)

    with monkeypatch.context() as patch:
      patch.setattr(_Stream, "__next__", breaks)
      with pytest.raises(OSError, match="the disk is gone"):
        train(config, tmp_path / "broken")
  train(config, tmp_path / "broken")
  log = (tmp_path / "broken" / "train.log").read_text()
  assert "resuming from step 4" in log and "resuming from step 8" in log
  check_same(tmp_path / "broken", tmp_path / "whole", config)


def test_finished(whole_run, tmp_path):
  """The command of a finished run evaluates it again and changes nothing."""
  before = (whole_run / "metrics.jsonl").read_bytes()
  result = train(runner.load("lenet5", **runner.UNEVEN), whole_run)
  last = runner.rows(whole_run, "test")[-1]
  assert result["top1"] == last["top1"] and result["loss"] == pytest.approx(last["loss"], rel=1e-6)
  assert (whole_run / "metrics.jsonl").read_bytes() == before


def test_many_blocks_are_evaluated(tmp_path):
  """Where names of blocks have two digits, their order in a checkpoint is another than in the model."""
  fields = {**runner.TINY_EFFICIENTNET, "model.depth": 1.0, "steps": 1}
  expected = train(runner.load("efficientnet_b0", **fields), tmp_path)
  result = evaluate(None, tmp_path)
  assert result["loss"] == pytest.approx(expected["loss"], rel=1e-6)
