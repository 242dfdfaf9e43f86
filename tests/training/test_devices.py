"""The same numbers on one device, on eight and in two processes, and what crosses between them."""

import os
import re
import shutil

import pytest

from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.loop import train
from cnn_zoo.training.ownership import owned
from tests.helpers import runner

EIGHT = "--xla_force_host_platform_device_count=8"

# SGD, because AdamW's first updates are close to signs of gradients: where one is near zero, rounding turns it around.
# Slowly, because the last layers have one pixel: statistics of 8 numbers a group amplify rounding.
# XLA's own convolutions, as on GPUs and TPUs.
SMALL = {
  **runner.TINY_EFFICIENTNET,
  "convolution_lowering": "lax",
  "batch_size": 64,
  "steps": 20,
  "optimizer.name": "sgd",
  "optimizer.learning_rate": 1e-3,
}


def test_lenet5_on_eight_devices(tmp_path):
  fields = {"steps": 20, "log_every_steps": 1}
  train(runner.load("lenet5", **fields), tmp_path / "one")
  runner.train_process("lenet5", tmp_path / "eight", fields, XLA_FLAGS=EIGHT)
  assert "8 x cpu" in (tmp_path / "eight" / "train.log").read_text()
  assert len(runner.losses(tmp_path / "eight")) == 20
  assert runner.losses(tmp_path / "eight") == pytest.approx(runner.losses(tmp_path / "one"), rel=1e-4)
  (one,), (eight,) = runner.rows(tmp_path / "one", "test"), runner.rows(tmp_path / "eight", "test")
  assert one["top1"] == eight["top1"] and one["loss"] == pytest.approx(eight["loss"], rel=1e-4)


@pytest.mark.parametrize("group_size", [None, 8])
def test_efficientnet_on_eight_devices(group_size, tmp_path):
  """With groups within a device, a step has one all-reduce: gradients, statistics and metrics together."""
  fields = {**SMALL, **({"batch_norm.group_size": group_size} if group_size else {})}
  # XLA writes down what it compiled; not from the cache, which has no texts.
  dump = f"--xla_dump_to={tmp_path / 'hlo'} --xla_dump_hlo_as_text --xla_dump_hlo_module_re=jit_.*"
  eight = runner.start(
    runner.arguments("efficientnet_b0", tmp_path / "eight", {**fields, "compilation_cache": ""}),
    XLA_FLAGS=f"{EIGHT} {dump}",
  )
  train(runner.load("efficientnet_b0", **fields), tmp_path / "one")
  runner.finish(eight)
  one, eight = runner.losses(tmp_path / "one"), runner.losses(tmp_path / "eight")
  assert len(eight) == 20 and len(set(eight)) == 20
  assert eight == pytest.approx(one, rel=1e-4)

  programs = [path for path in (tmp_path / "hlo").glob("*after_optimizations.txt") if "eval_step" not in path.name]
  text = "".join(path.read_text() for path in programs)
  crossings = r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
  found = re.findall(crossings, text)
  assert found == ["all-reduce"] if group_size else len(found) > 20


def two_processes(arguments):
  """(stdout, stderr) of each process of a job of two."""
  coordinator = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{runner.free_port()}", "JAX_NUM_PROCESSES": "2"}
  processes = [runner.start(arguments, JAX_PROCESS_ID=str(i), **coordinator) for i in range(2)]
  try:
    return [runner.finish(process) for process in processes]
  finally:
    for process in processes:
      process.kill()


def test_two_processes(tmp_path):
  """They train one run, of which process 0 alone writes metrics, and a single process resumes from their checkpoint."""
  fields = {"steps": 20, "log_every_steps": 1, "checkpoint.every_steps": 7, "eval.every_epochs": 0.5}
  (out, _), (quiet_out, quiet_err) = two_processes(runner.arguments("lenet5", tmp_path / "two", fields))
  assert "accumulate: 1" in out and "accumulate" not in quiet_out
  assert "epoch" not in quiet_err
  train(runner.load("lenet5", **fields), tmp_path / "one")
  assert [row["step"] for row in runner.rows(tmp_path / "two")] == list(range(1, 21))
  assert runner.losses(tmp_path / "two") == pytest.approx(runner.losses(tmp_path / "one"), rel=1e-5)
  for split, number in (("val", 2), ("test", 1)):
    one, two = ([(row["step"], row["top1"]) for row in runner.rows(tmp_path / run, split)] for run in ("one", "two"))
    assert one == two and len(one) == number
  assert runner.saved_steps(tmp_path / "two") == runner.saved_steps(tmp_path / "one")
  assert "2 x cpu" in (tmp_path / "two" / "train.log").read_text()

  # Its last checkpoint is removed; one process resumes from the one before.
  shutil.rmtree(tmp_path / "two" / "checkpoints" / "20")
  train(runner.load("lenet5", **fields), tmp_path / "two")
  assert "resuming from step 14 of 20" in (tmp_path / "two" / "train.log").read_text()
  assert runner.losses(tmp_path / "two") == pytest.approx(runner.losses(tmp_path / "one"), rel=1e-5)


def test_two_processes_are_refused(tmp_path):
  """A folder that is in use, by the first process, of which the second one learns."""
  coordinator = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{runner.free_port()}", "JAX_NUM_PROCESSES": "2"}
  with owned(RunFolder(tmp_path / "run")):
    arguments = runner.arguments("lenet5", tmp_path / "run", {"steps": 2})
    processes = [runner.start(arguments, JAX_PROCESS_ID=str(i), **coordinator) for i in range(2)]
    errors = [runner.finish(process, code=2)[1] for process in processes]
  says = {line for err in errors for line in err.splitlines() if line.startswith("error: ")}
  assert all("\nerror: " in f"\n{err}" for err in errors) and len(says) == 1
  assert f"is in use by process {os.getpid()} on " in says.pop()


def test_two_processes_start_over(tmp_path):
  """train.py --restart, from the weights of the run that is set aside: once, and both processes train the new one."""
  fields = {"steps": 4, "batch_size": 32, "log_every_steps": 2}
  train(runner.load("lenet5", **fields), tmp_path / "run")
  old = (tmp_path / "run" / "metrics.jsonl").read_bytes()
  changed = {**fields, "steps": 2, "init": tmp_path / "run"}
  two_processes([*runner.arguments("lenet5", tmp_path / "run", changed), "--restart"])
  assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old1"]
  assert (tmp_path / "run.old1" / "metrics.jsonl").read_bytes() == old
  assert runner.saved_steps(tmp_path / "run.old1") == [4] and runner.saved_steps(tmp_path / "run") == [2]
  log = (tmp_path / "run" / "train.log").read_text()
  assert f"the run that was in {tmp_path}/run is now in {tmp_path}/run.old1\n" in log
  assert f"starting from the weights of step 4 in {tmp_path}/run\n" in log and "2 x cpu" in log
