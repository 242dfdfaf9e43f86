"""scripts/describe.py."""

import json
import subprocess
import sys

import pytest

from tests.helpers import ROOT

SCRIPT = ROOT / "scripts" / "describe.py"
LENET5, VGG11 = (f"--config={ROOT}/configs/{name}.py" for name in ("lenet5", "vgg11"))


def run(*arguments):
  return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, cwd="/", check=False)


def test_script():
  result = run("--model=efficientnet_b1", "--num_classes=10", "--input=64x48x1", "--format=json", "--rows=stages")
  assert result.returncode == 0, result.stderr
  table = json.loads(result.stdout)
  assert table["input_shape"] == [64, 48, 1] and table["stages"][-1]["output_shape"] == [10]


def test_script_of_a_configuration(tmp_path):
  """Fields on the command line count, and nothing is written."""
  directory = f"--config.data.directory={tmp_path}"
  result = run(VGG11, directory, "--config.data.image_size=48", "--config.model.hidden_features=8", "--rows=stages")
  assert result.returncode == 0, result.stderr
  assert "48x48x1" in result.stdout.splitlines()[0] and "head" in result.stdout.splitlines()[-3]
  assert not list(tmp_path.iterdir())


def test_script_as_paper():
  result = run("--model=efficientnet_b0", "--as=paper", "--format=markdown")
  assert result.returncode == 0, result.stderr
  assert result.stdout.splitlines()[-1] == "| 9     | Conv1x1 & Pooling & FC | 7x7        | 1280      | 1       |"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "give either a model, --model=NAME, or --config=configs/NAME.py; models: alexnet"),
    (["--model=lenet5", "--input=32x0x1"], "input='32x0x1' must be HEIGHTxWIDTHxCHANNELS"),
    (["--model=resnet18", "--as=paper", "--input=32x32x3"], "--input cannot be used with --as=paper"),
    ([LENET5, "--as=paper"], "--as=paper shows a model as it was published; give --model=NAME"),
    ([LENET5, "--config.data.image_size=8"], "is too small for kernel_size=(5, 5)"),
  ],
)
def test_script_mistakes(arguments, message):
  result = run(*arguments)
  assert result.returncode == 2 and result.stdout == ""
  assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and message in result.stderr
