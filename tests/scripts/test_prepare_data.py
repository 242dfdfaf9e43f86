import gzip
import hashlib
import subprocess
import sys

from cnn_zoo.data import SPECS
from tests.helpers import ROOT
from tests.helpers.archives import assert_nothing_is_left


def run_script(*arguments):
  command = [sys.executable, "scripts/prepare_data.py", *arguments]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_it_names_the_file_with_another_checksum(tmp_path):
  """Files compressed again: the same content in other bytes."""
  manual = tmp_path / "archives"
  manual.mkdir()
  data = gzip.compress(b"images")
  for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
    (manual / f"{name}-ubyte.gz").write_bytes(data)
  directory = tmp_path / "datasets"
  result = run_script("mnist", f"--directory={directory}", f"--manual_directory={manual}")
  expected = "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
  assert result.returncode == 2
  assert result.stderr == (
    f"error: {manual}/t10k-images-idx3-ubyte.gz is not the file that TFDS expects: SHA-256 {expected} expected, "
    f"{hashlib.sha256(data).hexdigest()} found; replace it, or use it all the same with --accept_checksums\n"
  )
  assert_nothing_is_left(directory)


# Runs the script where the network is broken.
OFFLINE = """
import runpy, sys
from tensorflow_datasets.core.download import downloader
def refuse(*_, **__):
  raise ConnectionError("no route to host")
downloader._open_url = refuse
runpy.run_path("scripts/prepare_data.py", run_name="__main__")
"""


def test_it_exits_with_1_if_something_breaks(tmp_path):
  command = [sys.executable, "-c", OFFLINE, "cifar10", f"--directory={tmp_path}"]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert result.returncode == 1
  assert result.stderr == f"error: cifar10 cannot be prepared in {tmp_path}: no route to host\n"
  assert_nothing_is_left(tmp_path)


def test_it_refuses_in_one_line(tmp_path):
  result = run_script("imagenet", f"--directory={tmp_path}")
  assert (result.returncode, result.stdout) == (2, "")
  assert result.stderr.startswith("error: imagenet needs ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar in ")
  assert result.stderr.count("\n") == 1


def test_it_lists_and_does_not_repeat(tmp_path):
  result = run_script("digits", f"--directory={tmp_path}")
  assert (result.returncode, result.stdout) == (0, f"digits is now prepared in {tmp_path}\n")
  result = run_script("--list", f"--directory={tmp_path}")
  lines = result.stdout.splitlines()
  assert result.returncode == 0 and len(lines) == 1 + len(SPECS)
  assert "  digits           image     prepared" in lines
  assert "  speech_commands  waveform  not prepared" in lines
  assert "  digit_scenes     scene     not prepared (done on first use)" in lines
