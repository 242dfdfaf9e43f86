"""Files of weights, read without PyTorch. Those in weights/ were made by make_weights.py."""

import io
import json
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.pretrained.files import read_weights
from tests.helpers import ROOT

WEIGHTS = ROOT / "tests" / "pretrained" / "weights"
BASE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
EXPECTED = {
  "plain": BASE,
  "transposed": BASE.transpose(2, 0, 1),
  "part": BASE[1, 1:],
  "half": BASE[0].astype(np.float16),
  "bfloat16": BASE[0].astype(ml_dtypes.bfloat16),
  "double": BASE[0].astype(np.float64),
  "tracked": np.asarray(7),
  "parameter": np.ones(2, np.float32),
  "empty": np.zeros((0, 3), np.float32),
  "mask": np.asarray([True, False]),
}


def refusal(path):
  """What is said about a file, in one line."""
  with pytest.raises(UserError) as error:
    read_weights(path)
  assert str(error.value).startswith(f"weights={str(path)!r} ") and "\n" not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "tensors.safetensors"])
def test_tensors(file):
  tensors = read_weights(WEIGHTS / file)
  assert set(tensors) == set(EXPECTED)
  for name, expected in EXPECTED.items():
    assert (tensors[name].dtype, tensors[name].shape) == (expected.dtype, expected.shape), name
    np.testing.assert_array_equal(tensors[name], expected, err_msg=name)


@pytest.mark.parametrize("file", ["checkpoint_zip.pth", "checkpoint_legacy.pth"])
def test_training_checkpoints(file):
  """Of the optimizer, the schedule and the command line in them nothing is read."""
  entries = read_weights(WEIGHTS / file)
  assert list(entries) == ["model_ema", "model"]
  assert {name: x.shape for name, x in entries["model"].items()} == {"module.weight": (3, 2), "module.bias": (3,)}
  assert set(entries["model_ema"]) == {"n_averaged", "module.weight", "module.bias"}
  step = 0.1 * np.ones((3, 2), np.float32)  # the one that was taken, after which the average was not updated
  np.testing.assert_allclose(entries["model"]["module.weight"], entries["model_ema"]["module.weight"] - step, atol=1e-6)


@pytest.mark.parametrize("extension", ["pt", "bin"])
def test_other_extensions(extension, tmp_path):
  path = tmp_path / f"weights.{extension}"
  path.write_bytes((WEIGHTS / "zip.pth").read_bytes())
  assert set(read_weights(path)) == set(EXPECTED)


def test_no_file(tmp_path):
  assert "does not exist" in refusal(tmp_path / "weights.pth")
  (tmp_path / "folder.pth").mkdir()
  assert "is not a file" in refusal(tmp_path / "folder.pth")
  assert "must end in .safetensors, .pth" in refusal(tmp_path / "weights.npz")
  assert "cannot be read: File name too long" in refusal(tmp_path / ("x" * 300 + ".pth"))


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_file_that_names_code_runs_none(kind, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert "refers to posix.system, which could run code" in refusal(WEIGHTS / f"malicious_{kind}.pth")
  assert not (tmp_path / "executed").exists()


def test_the_malicious_file_is_malicious(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with zipfile.ZipFile(WEIGHTS / "malicious_zip.pth") as file:
    pickled = file.read("malicious_zip/data.pkl")

  class Permissive(pickle.Unpickler):
    """Python's own, with nothing in the place of what PyTorch defines."""

    def find_class(self, module, name):
      return (lambda *_: None) if module.startswith("torch") else super().find_class(module, name)

    def persistent_load(self, identifier):
      return None

  Permissive(io.BytesIO(pickled)).load()
  assert (tmp_path / "executed").exists()


def write_pth(path, pickled, files=(), compression=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, "w", compression) as file:
    for name, data in {"data.pkl": pickled, **dict(files)}.items():
      file.writestr(f"archive/{name}", data)
  return path


@pytest.mark.parametrize(
  ("module", "name"),
  [
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    ("torch.storage", "_load_from_bytes"),
    ("numpy", "load"),
    ("collections", "OrderedDict.update"),
    ("collections", "ChainMap"),
    ("argparse", "ArgumentParser"),
    ("os", "FloatStorage"),
    ("importlib", "import_module"),
  ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_other_names(module, name, protocol, tmp_path):
  if protocol == 2:
    pickled = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"."
  else:
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    pickled = b"\x80\x04" + words + b"\x93."
  assert f"refers to {module}.{name}, " in refusal(write_pth(tmp_path / "weights.pth", pickled))


def test_other_objects(tmp_path):
  assert "refers to torch.nn.modules.linear.Linear" in refusal(WEIGHTS / "module.pth")
  run = write_pth(tmp_path / "run.pth", pickle.dumps({"epoch": 3}, 2))
  assert "holds 'epoch', which is not a tensor" in refusal(run)
  part = write_pth(tmp_path / "part.pth", pickle.dumps({"model": {"rate": 0.1}}, 2))
  assert "holds 'rate', which is not a tensor; valid: a file of model.state_dict(), alone or as" in refusal(part)
  values = write_pth(tmp_path / "list.pth", pickle.dumps([1, 2], 2))
  assert "holds no tensors by name" in refusal(values)


def constant(value):
  return pickle.dumps(value, 2)[2:-1]  # without the protocol and the end


def a_tensor(kind="FloatStorage", offset=0, shape=(2, 3), strides=(3, 1), identifier="storage"):
  """A pickle of {"x": tensor}, whose storage has the key "0"."""
  storage = b"(" + constant(identifier) + f"ctorch\n{kind}\n".encode() + constant("0") + constant("cpu") + b"K\x06tQ"
  arguments = b"".join(map(constant, (offset, shape, strides, False, {})))
  tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + arguments + b"tR"
  return b"\x80\x02}" + constant("x") + tensor + b"s."


def test_a_tensor_lies_within_its_storage(tmp_path):
  path, numbers = tmp_path / "weights.pth", np.arange(6, dtype=np.float32)

  def read(**changes):
    data = changes.pop("data", numbers.tobytes())
    return read_weights(write_pth(path, a_tensor(**changes), {"data/0": data}))["x"]

  np.testing.assert_array_equal(read(), numbers.reshape(2, 3))
  np.testing.assert_array_equal(read(offset=1, shape=(2,), strides=(4,)), [1, 5])
  np.testing.assert_array_equal(read(shape=(), strides=(), offset=5), 5)
  for changes in (
    {"offset": 1},
    {"offset": -1, "shape": (1,), "strides": (1,)},
    {"strides": (-3, 1)},
    {"strides": (3,)},
    {"shape": (3, 3)},
    {"shape": (2**40, 2**40)},
    {"shape": ("2", 3)},
    {"kind": "DoubleStorage"},
    {"data": numbers.tobytes()[:-1]},
    {"data": b""},
    {"identifier": "module"},
  ):
    with pytest.raises(UserError, match="is damaged"):
      read(**changes)
  with pytest.raises(UserError, match=r"refers to torch\.ComplexFloatStorage"):
    read(kind="ComplexFloatStorage")
  assert "is damaged" in refusal(write_pth(path, a_tensor()))  # no storage
  assert "is big-endian" in refusal(write_pth(path, a_tensor(), {"byteorder": b"big"}))


def test_a_small_file_that_would_become_a_large_one(tmp_path):
  """Compressed zeros, an entry that claims to be longer than the file, and a pickle that asks for a huge table."""
  path = tmp_path / "weights.pth"
  zeros = {"data/0": bytes(10_000_000)}
  write_pth(path, a_tensor(shape=(10, 250_000), strides=(250_000, 1)), zeros, zipfile.ZIP_DEFLATED)
  assert path.stat().st_size < 20_000
  assert "holds compressed entries, which torch.save never writes; valid: a file as torch.save wrote it" in refusal(
    path
  )

  write_pth(path, a_tensor(), {"data/0": np.arange(6, dtype=np.float32).tobytes()})
  data = path.read_bytes()
  at = data.rindex(b"PK\x01\x02")  # what the directory says of the last entry; its two lengths are at 20 and 24
  path.write_bytes(data[: at + 20] + 2 * (2**30).to_bytes(4, "little") + data[at + 28 :])
  assert "is damaged" in refusal(path)

  huge = b"\x80\x02}r" + (2**23).to_bytes(4, "little") + b"."
  assert "is damaged" in refusal(write_pth(path, huge))
  path.write_bytes(huge)
  assert "is damaged" in refusal(path)


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "tensors.safetensors"])
def test_cut_off_files(file, tmp_path):
  data, path = (WEIGHTS / file).read_bytes(), tmp_path / file
  for length in range(0, len(data), 7):
    path.write_bytes(data[:length])
    assert "is damaged" in refusal(path)


def write_safetensors(path, header, data=b""):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, "little") + text + data)
  return path


@pytest.mark.parametrize(
  ("header", "says"),
  [
    (b"{", "is damaged"),
    (b"[]", "is damaged"),
    (b"\xff", "is damaged"),
    ({"x": 3}, "is damaged"),
    ({"x": {"dtype": "F32", "shape": [2]}}, "is damaged"),
    ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 16]}}, "is damaged"),
    ({"x": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}}, "is damaged"),
    ({"x": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}, "is damaged"),
    ({"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, "is damaged"),
    ({"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}, "is damaged"),
    ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, "is damaged"),
    (
      {
        "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "y": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
      },
      "is damaged",
    ),
    ({"x": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}, "holds 'x' as F8_E4M3; valid: F64, F32"),
  ],
)
def test_damaged_safetensors(header, says, tmp_path):
  assert says in refusal(write_safetensors(tmp_path / "weights.safetensors", header, bytes(8)))


def test_a_header_longer_than_the_file(tmp_path):
  path = tmp_path / "weights.safetensors"
  path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
  assert "is damaged" in refusal(path)
