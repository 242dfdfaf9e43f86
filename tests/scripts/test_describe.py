"""scripts/describe.py."""

import json
import subprocess
import sys

import pytest

from tests.helpers import ROOT

SCRIPT = ROOT / "scripts" / "describe.py"
LENET5 = f"--config={ROOT}/configs/lenet5.py"


def run(*arguments):
  return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, cwd="/", check=False)


def test_script():
  result = run("--model=efficientnet_b1", "--num_classes=10", "--input=64x48x1", "--format=json", "--rows=stages")
  assert result.returncode == 0, result.stderr
  table = json.loads(result.stdout)
  assert table["input_shape"] == [64, 48, 1] and table["stages"][-1]["output_shape"] == [10]


def test_script_of_a_configuration(tmp_path):
  """The model that would be trained, on a dataset that need not be there."""
  config = f"--config={ROOT}/configs/vgg11.py"
  surgery = "--config.model.convolution=grouped:groups=4,keep=stages.0"
  directory = f"--config.data.directory={tmp_path}"
  typed = [surgery, "--config.model.hidden_features=16", "--config.dtype=bfloat16", directory, "--format=json"]
  result = run(f"{config}:imagenet", *typed)
  assert result.returncode == 0, result.stderr
  table = json.loads(result.stdout)
  assert table["input_shape"] == [224, 224, 3] and table["layers"][-1]["output_shape"] == [1000]
  first, second, *_ = [row for row in table["layers"] if row["type"] == "Convolution"]
  assert first["parameters"] == 9 * 3 * 64 + 64 and second["parameters"] == 9 * 64 * 128 // 4 + 128
  assert first["activation_bytes"] == 224 * 224 * 64 * 2
  result = run(config, directory, "--config.data.image_size=48", "--config.model.hidden_features=8", "--rows=stages")
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
