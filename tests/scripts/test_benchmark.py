"""scripts/benchmark.py."""

import concurrent.futures
import json
import subprocess
import sys

from tests.helpers import ROOT

SCRIPT = ROOT / "scripts" / "benchmark.py"


def test_script():
  """As a person types it: a measurement, then mistakes, each one line and exit code 2."""
  cases = {
    "convolutions --group=1d --shapes=384 --batch=1 --repeat=1 --json": "",
    "convolutions --model=lenet5": "error: --model belongs to the command 'models'",
    "models": "error: give a model, --model=NAME; valid: ",
  }

  def run(typed):
    return subprocess.run([sys.executable, str(SCRIPT), *typed.split()], capture_output=True, text=True)

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    (measured, _), *mistakes = zip(pool.map(run, cases), cases.values(), strict=True)
  assert measured.returncode == 0, measured.stderr
  report = json.loads(measured.stdout)
  assert [row["name"] for row in report["shapes"]] == ["m34_res 7 384-384 3"]
  assert report["shapes"][0]["forward"]["ours"]["gflops"] > 0 and "[1/1] m34_res 7 384-384 3: " in measured.stderr
  for result, says in mistakes:
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(says)
