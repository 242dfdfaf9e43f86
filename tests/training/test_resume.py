"""A run that was stopped, in whatever way, resumes bit-exactly; a finished one can be extended."""

import json
import math
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from cnn_zoo.data.batches import _Stream
from cnn_zoo.errors import UserError
from cnn_zoo.runs.evaluation import evaluate as evaluate_run
from cnn_zoo.runs.training import train_run
from cnn_zoo.training import loop
from cnn_zoo.training.loop import train
from cnn_zoo.training.programs import Programs
from tests.helpers import runner
from tests.helpers.damage import flip_bit


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
  """The number of lines of train.log about steps."""
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


def test_a_second_run_is_refused(whole_run, tmp_path):
  """While the first trains, whatever the second is; the first does not notice."""
  workdir = tmp_path / "run"
  process = runner.start(runner.arguments("lenet5", workdir, runner.UNEVEN))
  wait_for(process, lambda: logged(workdir) >= 1)
  other = runner.load("lenet5", **{**runner.UNEVEN, "seed": 1})
  for restart in (False, True):
    with pytest.raises(UserError, match=f"is in use by process {process.pid} on .* since .*; wait until it has ended"):
      train(other, workdir, restart=restart)
  runner.finish(process)
  check_same(workdir, whole_run, runner.load("lenet5", **runner.UNEVEN))
  assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_terminated(whole_run, tmp_path):
  """SIGTERM saves and ends; the same command resumes, here with the data in worker processes."""
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


@pytest.mark.parametrize("restart", [False, True])
def test_terminated_while_evaluating(restart, tmp_path, monkeypatch):
  """What the log says is saved is saved, whenever the signal comes."""
  evaluate = Programs.evaluate

  def interrupted(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return {**evaluate(*arguments), "top1": -2.0}  # not a new best, which would be saved anyway

  monkeypatch.setattr(Programs, "evaluate", interrupted)
  train(runner.load("lenet5", steps=30), tmp_path / "run", restart=restart)
  (stopped,) = runner.saved_steps(tmp_path / "run")
  again = "the same command without --restart" if restart else "the same command"
  assert (
    f"stopped by a signal: step {stopped} of 30 is saved; {again} resumes from there\n"
    in (tmp_path / "run" / "train.log").read_text()
  )


def test_of_equally_good_checkpoints_the_first_is_reported(tmp_path, monkeypatch):
  """However often a run saves, and wherever it was stopped."""
  evaluate = Programs.evaluate
  accuracies = [0.25, 0.75, 0.75, 0.5, 0.75]  # of the validation set, after each step

  def run(name, evaluated, every_steps=100, stop_after=None):
    """Trains, with these steps to evaluate, and stops at the step after `stop_after`."""
    steps = iter(evaluated)

    def scripted(programs, weights, dataset, split):
      metrics = evaluate(programs, weights, dataset, split)
      if split == "test":
        return metrics
      if (step := next(steps)) == stop_after:
        os.kill(os.getpid(), signal.SIGTERM)
      return metrics | {"top1": accuracies[step - 1]}

    monkeypatch.setattr(Programs, "evaluate", scripted)
    fields = {"steps": 5, "batch_size": 8, "eval.every_epochs": 0.004, "checkpoint.every_steps": every_steps}
    train(runner.load("lenet5", **fields), tmp_path / name)

  run("seldom", range(1, 6))
  run("often", range(1, 6), every_steps=1)
  run("stopped", range(1, 4), stop_after=2)
  assert runner.saved_steps(tmp_path / "stopped") == [2, 3]
  run("stopped", range(4, 6))
  (test,) = runner.rows(tmp_path / "seldom", "test")
  assert test["step"] == 2
  whole = (tmp_path / "seldom" / "metrics.jsonl").read_bytes()
  for name in ("often", "stopped"):
    assert (tmp_path / name / "metrics.jsonl").read_bytes() == whole
  monkeypatch.undo()
  assert [evaluate_run(None, tmp_path / name)["step"] for name in ("seldom", "often", "stopped")] == [2, 2, 2]


def test_broken_efficientnet(tmp_path, monkeypatch):
  """Batch statistics, dropout and stochastic depth resume too, from any step."""
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


def test_finished(whole_run, capfd):
  """The command of a finished run evaluates it again, changes nothing and names what would."""
  names = ("metrics.jsonl", "config.json", "environment.json")
  before = [(whole_run / name).read_bytes() for name in names]
  result = train(runner.load("lenet5", **runner.UNEVEN, **{"eval.batch_size": 180}), whole_run)
  (test,) = runner.rows(whole_run, "test")
  assert result["top1"] == test["top1"] and result["loss"] == pytest.approx(test["loss"], rel=1e-6)
  assert [(whole_run / name).read_bytes() for name in names] == before
  err = capfd.readouterr().err
  assert "this run is finished: step 90 of 90" in err and "--restart" in err


SHORT = {"steps": 4, "batch_size": 32, "log_every_steps": 2, "schedule.name": "constant"}


def test_extended(tmp_path):
  """With a constant rate, six steps are the same whether or not the run was first meant to have four."""
  longer = runner.load("lenet5", **{**SHORT, "steps": 6})
  train(runner.load("lenet5", **SHORT), tmp_path / "extended")
  train(longer, tmp_path / "extended")
  log = (tmp_path / "extended" / "train.log").read_text()
  assert "resuming from step 4 of 6" in log and "the run is extended from 4 to 6 steps\n" in log
  train(longer, tmp_path / "whole")
  extended, whole = (runner.saved_state(tmp_path / run, longer) for run in ("extended", "whole"))
  assert runner.different_leaves(extended, whole) == []
  assert [row["step"] for row in runner.rows(tmp_path / "extended")] == [2, 4, 6]
  assert len(runner.rows(tmp_path / "extended", "test")) == 1  # the report of the shorter run is gone


def test_extended_by_epochs(tmp_path):
  fields = {**SHORT, "steps": None, "schedule.warmup_epochs": 0.0}
  train(runner.load("lenet5", **fields, epochs=0.1), tmp_path)
  train(runner.load("lenet5", **fields, epochs=0.2), tmp_path)
  assert "resuming from step 5 of 9" in (tmp_path / "train.log").read_text()
  assert runner.saved_steps(tmp_path)[-1] == 9


def test_extended_cosine(tmp_path):
  """Its rates depend on the length, so it has to be asked for."""
  fields = {**SHORT, "schedule.name": "cosine", "schedule.warmup_epochs": 0.0, "optimizer.learning_rate": 0.01}
  train(runner.load("lenet5", **fields), tmp_path)
  with pytest.raises(
    UserError, match=r"another length \(steps: 4 -> 8\), on which the cosine schedule depends; valid: "
  ):
    train(runner.load("lenet5", **{**fields, "steps": 8}), tmp_path)
  train(runner.load("lenet5", **{**fields, "steps": 8, "schedule.extend": True}), tmp_path)
  assert (
    "the run is extended from 4 to 8 steps; its cosine schedule is that of 8 steps from here on: the learning rate of "
    "step 4 was 0.00146, that of step 5 is 0.005\n"
  ) in (tmp_path / "train.log").read_text()
  rates = [0.005 * (1 + math.cos(math.pi * step / 8)) for step in (5, 7)]  # of steps 6 and 8
  assert [row["learning_rate"] for row in runner.rows(tmp_path)[2:]] == pytest.approx(rates, rel=1e-6)


@pytest.mark.parametrize("steps", [3, 4])
def test_shortened(steps, tmp_path):
  """Only to an end that is not past."""
  fields = {**SHORT, "steps": 6, "checkpoint.every_steps": 4}
  train(runner.load("lenet5", **fields), tmp_path)
  shutil.rmtree(tmp_path / "checkpoints" / "6")
  says = (
    f"config.steps={steps} ends at step {steps}, but workdir=.* holds a run that has done 4; valid: more than 4 steps"
  )
  with pytest.raises(UserError, match=says):
    train(runner.load("lenet5", **{**fields, "steps": steps}), tmp_path)
  train(runner.load("lenet5", **{**fields, "steps": 5}), tmp_path)
  assert "the run is shortened from 6 to 5 steps" in (tmp_path / "train.log").read_text()
  assert runner.saved_steps(tmp_path) == [4, 5]


def test_restarted(tmp_path):
  """The old folder keeps all that it had."""
  workdir = tmp_path / "run"
  train(runner.load("lenet5", **SHORT), workdir)
  old = (workdir / "metrics.jsonl").read_bytes()
  train(runner.load("lenet5", **{**SHORT, "steps": 2, "seed": 1}), workdir, restart=True)
  assert (tmp_path / "run.old1" / "metrics.jsonl").read_bytes() == old
  assert runner.saved_steps(tmp_path / "run.old1") == [4] and runner.saved_steps(workdir) == [2]
  assert f"the run that was in {workdir} is now in {workdir}.old1" in (workdir / "train.log").read_text()


@pytest.mark.parametrize(
  ("fields", "says"),
  [
    ({"init": "nowhere"}, "config.init='nowhere' holds no checkpoints"),
    ({"data.image_size": 16}, "config.data.image_size=16 is too small"),
    ({"data.validation": 0.9999}, "config.data.validation=0.9999 leaves none"),
  ],
)
def test_a_restart_that_is_refused_leaves_the_run(fields, says, tmp_path):
  """Whenever the mistake is found: before, while and after the step is traced."""
  train(runner.load("lenet5", **SHORT), tmp_path / "run")
  with pytest.raises(UserError, match=says):
    train(runner.load("lenet5", **SHORT, **fields), tmp_path / "run", restart=True)
  assert [path.name for path in tmp_path.iterdir()] == ["run"]
  assert runner.saved_steps(tmp_path / "run") == [4]


def test_restarted_from_its_own_weights(tmp_path):
  workdir = tmp_path / "run"
  train(runner.load("lenet5", **SHORT), workdir)
  train(runner.load("lenet5", **{**SHORT, "steps": 2, "init": str(workdir)}), workdir, restart=True)
  assert f"starting from the weights of step 4 in {workdir}\n" in (workdir / "train.log").read_text()
  assert runner.saved_steps(tmp_path / "run.old1") == [4] and runner.saved_steps(workdir) == [2]


def test_changed_code_and_packages(tmp_path, monkeypatch, capfd):
  """They are stored when there is something to train, and a warning says what has changed since."""
  old = {"commit": "0123456789abcdef", "changes": None, "versions": {"jax": "0.1", "numpy": "2"}}
  new = {"commit": "fedcba9876543210", "changes": "1234", "versions": {"jax": "0.2", "numpy": "2"}}
  for environment, steps, stored in ((old, 4, old), (new, 4, old), (new, 6, new)):
    monkeypatch.setattr(loop, "current_environment", lambda environment=environment: environment)
    train(runner.load("lenet5", **{**SHORT, "steps": steps}), tmp_path)
    assert json.loads((tmp_path / "environment.json").read_text()) == stored
  err = capfd.readouterr().err
  assert err.count("warning: ") == 2
  assert (
    "warning: since step 4 was saved there are changes: code 0123456789 -> fedcba9876 with uncommitted changes; "
    "jax 0.1 -> 0.2\n"
  ) in err


def test_a_damaged_checkpoint(tmp_path, capfd):
  """The newest whole one is used, which is said, and the run ends as if nothing had happened."""
  config = runner.load("lenet5", **{**SHORT, "steps": 6, "checkpoint.every_steps": 2})
  train(config, tmp_path / "whole")
  shutil.copytree(tmp_path / "whole", tmp_path / "run")
  flip_bit(tmp_path / "run" / "checkpoints" / "6" / "state")
  train(config, tmp_path / "run")
  says = f"moved to {tmp_path}/run/damaged; step 4 is the newest that is whole\n"
  err = capfd.readouterr().err
  assert "warning: step 6 is damaged: " in err and says in err and "resuming from step 4 of 6" in err
  assert runner.saved_steps(tmp_path / "whole") == [4, 6]
  check_same(tmp_path / "run", tmp_path / "whole", config)
  assert (tmp_path / "run" / "damaged" / "6" / "state").exists()


def test_no_checkpoint_is_whole(tmp_path):
  """Nothing is started over or moved that was not asked for."""
  fields = {**SHORT, "steps": 2, "checkpoint.every_steps": 1}
  train(runner.load("lenet5", **fields), tmp_path)
  for step in (1, 2):
    flip_bit(tmp_path / "checkpoints" / str(step) / "state")
  _, err = runner.train_process("lenet5", tmp_path, fields, code=1)
  (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
  assert "is whole: step 2 is damaged: " in line and "; step 1 is damaged: " in line and "Traceback" not in err
  assert runner.saved_steps(tmp_path) == [1, 2]


def test_damaged_metrics(tmp_path, capfd):
  """The checkpoint knows that a row is missing; the others stay, and the summary and the curves need none."""
  config = runner.load("lenet5", **SHORT)
  train_run(config, tmp_path)
  path = tmp_path / "metrics.jsonl"
  lines = path.read_bytes().splitlines(keepends=True)
  assert [json.loads(line)["split"] for line in lines] == ["train", "train", "val", "test"]
  capfd.readouterr()
  train_run(config, tmp_path)
  assert "does not hold" not in capfd.readouterr().err and path.read_bytes() == b"".join(lines)
  for number, line in enumerate(lines):
    rest = [*lines[:number], *lines[number + 1 :]]
    path.write_bytes(b"".join([*lines[:number], line[:9] + b"\n", *lines[number + 1 :]]))
    train_run(config, tmp_path)
    says = f"up to step 4, 3 rows (unreadable lines: {number + 1}); the 3 that can be read are kept"
    assert (says in capfd.readouterr().err) == (number < 3)
    assert path.read_bytes() == b"".join(lines if number == 3 else rest)
