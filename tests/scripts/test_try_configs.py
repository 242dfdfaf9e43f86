"""scripts/try_configs.py; tests/benchmarks/test_config_trials.py trains."""

import subprocess
import sys

import pytest

from tests.helpers import ROOT

SCRIPT = ROOT / "scripts" / "try_configs.py"


@pytest.mark.parametrize(("last", "code"), [(1.0, 0), (9.0, 1)])
def test_script(last, code):
  """Its exit code says whether all configurations train; progress goes to stderr, the table to stdout."""
  program = (
    "import runpy, sys; from cnn_zoo.benchmarks import config_trials as t; "
    f"t.try_config = lambda config, *_, **__: t.Trial(config.stem, 5, [2.0] * 3 + [{last}] * 3, 1.0, ''); "
    f"sys.argv = [{str(SCRIPT)!r}, '--only=lenet5,resnet18', '--markdown']; "
    f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
  )
  ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
  assert ended.returncode == code, ended.stderr
  verdict = "ok" if code == 0 else "failed: the loss does not fall"
  progress, *error = ended.stderr.splitlines()[1:]
  assert progress == f"[2/2] resnet18: {verdict}, 2.000 -> {last:.3f}, 1 s"
  assert error == (["error: 2 of 2 failed: lenet5, resnet18"] if code else [])
  assert [line.split()[1] for line in ended.stdout.splitlines()[2:]] == ["lenet5", "resnet18"]
