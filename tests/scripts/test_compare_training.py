"""scripts/compare_training.py."""

import subprocess
import sys

import pytest

from tests.helpers import ROOT

SCRIPT = ROOT / "scripts" / "compare_training.py"


@pytest.mark.parametrize(("loss", "code"), [(1.0005, 0), (1.01, 1)])
def test_script(loss, code):
  """Its exit code is the verdict."""
  program = (
    "import runpy, sys; from cnn_zoo.benchmarks import training_comparison as t; "
    f"t.compare_training = lambda *_: [t.Comparison('resnet18', [1.0], [{loss}])]; "
    f"sys.argv = [{str(SCRIPT)!r}]; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
  )
  ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
  assert ended.returncode == code, ended.stderr
  assert ended.stdout.startswith("largest difference: resnet18 ")
  assert ended.stderr == ("error: losses differ by more than 0.001\n" if code else "")
