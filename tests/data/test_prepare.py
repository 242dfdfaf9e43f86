"""TFDS's own builders on tiny archives of the real layout, from the archive to batches."""

import contextlib
import gzip
import hashlib
import io
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import types
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile
from tensorflow_datasets.core.download.util import DownloadError

from cnn_zoo.data import dataset_info, evaluation_batches, input_shape, open_dataset, train_batches
from cnn_zoo.data.decode import decode_image
from cnn_zoo.data.prepare import PreparationError, prepare_dataset
from cnn_zoo.data.specs import SPECS, read_class_names
from cnn_zoo.errors import UserError
from tests.helpers import ROOT
from tests.helpers.tiny_datasets import make_settings

RNG = np.random.default_rng(0)


def random_images(*shape):
  return RNG.integers(0, 256, shape, dtype=np.uint8)


def random_audio(samples):
  return RNG.integers(-30000, 30000, samples, dtype=np.int16)


def encode(colour, mode="RGB", format="jpeg", size=(50, 37)):
  """An image of one colour."""
  data = io.BytesIO()
  Image.new("RGB", size, colour).convert(mode).save(data, format=format)
  return data.getvalue()


def tar(path, files):
  mode = "w:gz" if path.name.endswith("gz") else "w"
  with tarfile.open(path, mode) as archive:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      archive.addfile(member, io.BytesIO(data))


def tar_bytes(path, files):
  tar(path, files)
  data = path.read_bytes()
  path.unlink()
  return data


@pytest.fixture
def manual(tmp_path):
  path = tmp_path / "archives"
  path.mkdir()
  return path


def prepare_and_open(name, tmp_path, manual, **overrides):
  overrides = overrides or {"image_size": 32, "crop": "random", "flip": True}
  settings = make_settings(name=name, directory=str(tmp_path / "datasets"), **overrides)
  # The tiny archives have other checksums than TFDS expects.
  assert prepare_dataset(name, settings.directory, str(manual), accept_checksums=True)
  assert not prepare_dataset(name, settings.directory, str(manual))
  dataset = open_dataset(settings)
  assert dataset.info.num_classes == len(dataset.info.class_names)
  batch = next(train_batches(dataset, settings, seed=0, batch_size=2 * dataset.num_train))
  assert batch["input"].shape == (2 * dataset.num_train, *input_shape(settings, dataset_info(settings)))
  assert (
    sum(batch["mask"].sum() for batch in evaluation_batches(dataset, settings, split="test", batch_size=2))
    == dataset.num_test
  )
  return dataset


def test_imagenet(tmp_path, manual, monkeypatch):
  from tensorflow_datasets.core import shuffle

  monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)  # as for the real one, which goes through files on disk
  train = {
    "n01440764": {"n01440764_18.JPEG": encode("red"), "n01440764_36.JPEG": encode("lime")},
    # Two of those that TFDS converts: a JPEG in CMYK and a PNG.
    "n01739381": {"n01739381_1309.JPEG": encode("blue", mode="CMYK")},
    "n02105855": {"n02105855_2933.JPEG": encode("blue", format="png")},
    "n15075141": {"n15075141_54.JPEG": encode("white", mode="L")},
  }
  classes = {f"{name}.tar": tar_bytes(manual / "class.tar", files) for name, files in train.items()}
  tar(manual / "ILSVRC2012_img_train.tar", classes)
  # The labels of these are the first three lines of TFDS's list for the 50,000.
  validation = {
    f"ILSVRC2012_val_0000000{i}.JPEG": encode(colour) for i, colour in enumerate(("red", "lime", "blue"), 1)
  }
  tar(manual / "ILSVRC2012_img_val.tar", validation)

  dataset = prepare_and_open("imagenet", tmp_path, manual)
  assert (dataset.info.num_classes, dataset.info.channels, dataset.num_train, dataset.num_test) == (1000, 3, 5, 3)
  assert dataset.info.class_names[0] == "tench" and dataset.info.class_names[-1] == "toilet tissue"
  english = read_class_names("imagenet_classes.txt")
  colours = {"n01440764_18": (255, 0, 0), "n01440764_36": (0, 255, 0), "n15075141_54": (255, 255, 255)}
  for record in dataset.train:
    name = record["file_name"].decode().removesuffix(".JPEG")
    assert dataset.info.class_names[record["label"]] == english[name.split("_")[0]]
    assert record["image"][:2] == b"\xff\xd8"
    np.testing.assert_allclose(decode_image(record["image"], 3)[18, 25], colours.get(name, (0, 0, 255)), atol=3)
  labels = {record["file_name"].decode(): dataset.info.class_names[record["label"]] for record in dataset.test}
  assert labels == dict(zip(validation, ("sea snake", "alp", "Shetland sheepdog"), strict=True))
  np.testing.assert_array_equal(
    [record["image"] for record in dataset.test], [validation[record["file_name"].decode()] for record in dataset.test]
  )


def test_imagenette(tmp_path, manual):
  files = {}
  for split, classes in {"train": ("n01440764", "n02102040"), "val": ("n03888257",)}.items():
    for name in classes:
      files |= {f"imagenette2-320/{split}/{name}/{split}_{name}_{i}.JPEG": encode("red") for i in range(3)}
  tar(manual / "imagenette2-320.tgz", files)
  dataset = prepare_and_open("imagenette", tmp_path, manual)
  assert (dataset.info.num_classes, dataset.info.channels, dataset.num_train, dataset.num_test) == (10, 3, 6, 3)
  assert (
    sorted(dataset.info.class_names[record["label"]] for record in dataset.train)
    == ["English springer"] * 3 + ["tench"] * 3
  )


def test_cifar10(tmp_path, manual):
  images = random_images(6, 32, 32, 3)
  names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
  files = {"cifar-10-batches-bin/batches.meta.txt": "\n".join(names).encode()}
  for label, image in enumerate(images):
    file = f"data_batch_{label + 1}.bin" if label < 5 else "test_batch.bin"
    files[f"cifar-10-batches-bin/{file}"] = bytes([label]) + image.transpose(2, 0, 1).tobytes()
  tar(manual / "cifar-10-binary.tar.gz", files)
  dataset = prepare_and_open("cifar10", tmp_path, manual)
  assert (dataset.info.class_names, dataset.info.channels, dataset.num_train, dataset.num_test) == (names, 3, 5, 1)
  for record in [*dataset.train, *dataset.test]:
    np.testing.assert_array_equal(decode_image(record["image"], 3), images[record["label"]])


def test_cifar100(tmp_path, manual):
  images = random_images(6, 32, 32, 3)
  files = {
    "coarse_label_names.txt": "\n".join(f"coarse {i}" for i in range(20)).encode(),
    "fine_label_names.txt": "\n".join(f"fine {i}" for i in range(100)).encode(),
    "train.bin": b"".join(bytes([19, i]) + images[i].transpose(2, 0, 1).tobytes() for i in range(4)),
    "test.bin": b"".join(bytes([0, i]) + images[i].transpose(2, 0, 1).tobytes() for i in range(4, 6)),
  }
  tar(manual / "cifar-100-binary.tar.gz", {f"cifar-100-binary/{name}": data for name, data in files.items()})
  dataset = prepare_and_open("cifar100", tmp_path, manual)
  assert (dataset.info.num_classes, dataset.info.class_names[7], dataset.num_train, dataset.num_test) == (
    100,
    "fine 7",
    4,
    2,
  )
  for record in [*dataset.train, *dataset.test]:
    np.testing.assert_array_equal(decode_image(record["image"], 3), images[record["label"]])


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist(name, tmp_path, manual, monkeypatch):
  from tensorflow_datasets.image_classification import mnist

  monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", 6)  # the builder reads this many, whatever the files say
  monkeypatch.setattr(mnist, "_TEST_EXAMPLES", 4)
  images = random_images(10, 28, 28)
  for prefix, part in {"train": range(6), "t10k": range(6, 10)}.items():
    with gzip.open(manual / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
      file.write(struct.pack(">IIII", 2051, len(part), 28, 28) + images[part].tobytes())
    with gzip.open(manual / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
      file.write(struct.pack(">II", 2049, len(part)) + bytes(part))
  dataset = prepare_and_open(name, tmp_path, manual)
  assert (dataset.info.num_classes, dataset.info.channels, dataset.num_train, dataset.num_test) == (10, 1, 6, 4)
  for record in [*dataset.train, *dataset.test]:
    np.testing.assert_array_equal(decode_image(record["image"], 1)[:, :, 0], images[record["label"]])


def wav(samples):
  data = io.BytesIO()
  wavfile.write(data, 16000, samples)
  return data.getvalue()


def test_speech_commands(tmp_path, manual):
  words = {
    f"./{name}_nohash_0.wav": random_audio(16000 - 1000 * i) for i, name in enumerate(("yes/a", "up/b", "bed/c"))
  }
  held_out = {"./no/d_nohash_0.wav": random_audio(9000), "./go/e_nohash_0.wav": random_audio(9000)}
  noise = {f"./_background_noise_/{name}.wav": random_audio(33000) for name in ("pink_noise", "running_tap")}
  files = {name: wav(audio) for name, audio in {**words, **held_out, **noise}.items()}
  files |= {"./testing_list.txt": b"no/d_nohash_0.wav\n", "./validation_list.txt": b"go/e_nohash_0.wav\n"}
  files["./stop/f_nohash_0.wav"] = b"RIFF, but cut off"  # TFDS leaves out what cannot be read
  tar(manual / "speech_commands_v0.02.tar.gz", files)
  test = {"./no/d_nohash_0.wav": held_out["./no/d_nohash_0.wav"], "./_silence_/0.wav": random_audio(16000)}
  tar(manual / "speech_commands_test_set_v0.02.tar.gz", {name: wav(audio) for name, audio in test.items()})

  dataset = prepare_and_open("speech_commands", tmp_path, manual, samples=16000, time_shift=0.1, noise=0.01)
  assert (dataset.info.num_classes, dataset.info.channels, dataset.num_train, dataset.num_test) == (12, 1, 6, 2)
  assert dataset.info.class_names[-2:] == ("_silence_", "_unknown_")
  audio = {}
  for record in dataset.train:
    assert record["audio"].dtype == np.int16
    audio.setdefault(dataset.info.class_names[record["label"]], []).append(record["audio"].tolist())
  pieces = [noise["./_background_noise_/pink_noise.wav"][i : i + 16000].tolist() for i in (0, 8000, 16000)]
  assert sorted(audio.pop("_silence_")) == sorted(pieces)  # and running_tap is for validation
  kept = {"yes": "yes/a", "up": "up/b", "_unknown_": "bed/c"}
  assert audio == {label: [words[f"./{name}_nohash_0.wav"].tolist()] for label, name in kept.items()}

  settings = make_settings(name="speech_commands", directory=str(tmp_path / "datasets"), samples=16000)
  batch = next(iter(evaluation_batches(dataset, settings, split="test", batch_size=2)))
  row = batch["label"].tolist().index(dataset.info.class_names.index("no"))
  np.testing.assert_array_equal(batch["input"][row, :9000, 0], held_out["./no/d_nohash_0.wav"])
  assert not batch["input"][row, 9000:].any()  # padded to a second


# Writes as many frames as its input says, of one gray each, instead of decoding a video.
FFMPEG = """#!{python}
import sys, cv2, numpy as np
_, flag, video, frames = sys.argv
assert flag == "-i"
for i in range(int(open(video).read())):
  cv2.imwrite(frames % (i + 1), np.full((24, 32, 3), 10 * i, np.uint8))
"""


def test_ucf101(tmp_path, manual, monkeypatch):
  from tensorflow_datasets.core.download import downloader

  videos = {
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": 20,
    "YoYo/v_YoYo_g09_c02.avi": 3,
    "HandstandPushups/v_HandStandPushups_g01_c01.avi": 6,
  }
  with zipfile.ZipFile(manual / "UCF101_videos.zip", "w") as archive:
    for name, frames in videos.items():
      file = name.split("/")[1].replace("HandStandPushups", "HandstandPushups")
      archive.writestr(f"UCF101/{file}", str(frames))
  lists = {"trainlist01.txt": list(videos)[:2], "testlist01.txt": list(videos)[2:]}
  splits = io.BytesIO()
  with zipfile.ZipFile(splits, "w") as archive:
    for name, lines in lists.items():
      archive.writestr(f"ucfTrainTestlist/{name}", "".join(f"{line} 1\n" for line in lines))

  def download(url, **_):  # the second archive is downloaded always
    assert url.endswith("/UCF101TrainTestSplits-RecognitionTask.zip")
    return contextlib.nullcontext((types.SimpleNamespace(url=url, headers={}), [splits.getvalue()]))

  monkeypatch.setattr(downloader, "_open_url", download)
  programs = tmp_path / "programs"
  programs.mkdir()
  (programs / "ffmpeg").write_text(FFMPEG.format(python=sys.executable))
  (programs / "ffmpeg").chmod(0o755)
  monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)

  dataset = prepare_and_open("ucf101", tmp_path, manual, image_size=16, frames=4, crop="random", flip=True)
  assert (dataset.info.num_classes, dataset.info.channels, dataset.num_train, dataset.num_test) == (101, 3, 2, 1)
  assert {dataset.info.class_names[record["label"]]: len(record["video"]) for record in dataset.train} == {
    "ApplyEyeMakeup": 20,
    "YoYo": 3,
  }
  settings = make_settings(name="ucf101", directory=str(tmp_path / "datasets"), image_size=16, frames=4)
  batch = next(iter(evaluation_batches(dataset, settings, split="test", batch_size=1)))
  assert dataset.info.class_names[batch["label"][0]] == "HandstandPushups"
  np.testing.assert_allclose(batch["input"][0].mean(axis=(1, 2, 3)), (10, 20, 30, 40), atol=2)  # the middle of six


def test_ucf101_needs_ffmpeg(tmp_path, manual, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(UserError, match="ucf101 can only be prepared with the program ffmpeg, which is not installed"):
    prepare_dataset("ucf101", str(tmp_path), str(manual))


def test_oxford_iiit_pet(tmp_path, manual):
  mask = np.array([[1, 1, 3, 2]], np.uint8).repeat(5, 1).repeat(12, 0)
  png = io.BytesIO()
  Image.fromarray(mask).save(png, format="png")
  # The second is one of those that TFDS converts: a PNG, whatever its name says.
  pictures = {"Abyssinian_100": "jpeg", "Egyptian_Mau_139": "png", "yorkshire_terrier_9": "jpeg"}
  pictures = {name: encode("red", format=format, size=(20, 12)) for name, format in pictures.items()}
  tar(manual / "images.tar.gz", {f"images/{name}.jpg": data for name, data in pictures.items()})
  files = {f"annotations/trimaps/{name}.png": png.getvalue() for name in pictures}
  files["annotations/trainval.txt"] = b"Abyssinian_100 1 1 1\nEgyptian_Mau_139 12 1 6\n"
  files["annotations/test.txt"] = b"yorkshire_terrier_9 37 2 25\n"
  box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
  files["annotations/xmls/Abyssinian_100.xml"] = (
    f"<annotation><size><width>20</width><height>12</height></size><object>{box}</object></annotation>".encode()
  )
  tar(manual / "annotations.tar.gz", files)

  dataset = prepare_and_open("oxford_iiit_pet", tmp_path, manual)
  assert (dataset.info.num_classes, dataset.info.channels, dataset.num_train, dataset.num_test) == (3, 3, 2, 1)
  assert dataset.info.class_names == ("pet", "background", "border") and dataset.info.task == "segmentation"
  for record in dataset.train:
    assert record["image"][:2] == b"\xff\xd8"
    np.testing.assert_allclose(decode_image(record["image"], 3)[6, 10], (255, 0, 0), atol=3)
  settings = make_settings(name="oxford_iiit_pet", directory=str(tmp_path / "datasets"), image_size=4)
  label = next(iter(evaluation_batches(dataset, settings, split="test", batch_size=1)))["label"][0]
  assert label.tolist() == [[0, 0, 2, 1]] * 4


def test_missing_archives(tmp_path, manual):
  (manual / "ILSVRC2012_img_train.tar").touch()
  with pytest.raises(UserError, match=f"imagenet needs ILSVRC2012_img_val.tar in {manual} .*https://image-net.org"):
    prepare_dataset("imagenet", str(tmp_path / "datasets"), str(manual))


def test_a_builder_that_needs_tensorflow(tmp_path, manual, monkeypatch):
  from tensorflow_datasets.image_classification import cifar

  (manual / "cifar-10-binary.tar.gz").write_bytes(tar_bytes(tmp_path / "empty.tar.gz", {}))
  monkeypatch.setattr(cifar.Cifar10, "_split_generators", lambda self, _: cifar.tf.signal.stft)
  with pytest.raises(UserError, match=r"cifar10 can only be prepared with TensorFlow installed, for tensorflow.signal"):
    prepare_dataset("cifar10", str(tmp_path), str(manual), accept_checksums=True)


def assert_nothing_is_left(directory):
  """Of an attempt to prepare a dataset, besides complete downloads."""
  left = [
    path for path in directory.rglob("*") if re.search(r"^\.|incomplete|\.tmp\.|dataset_info|\d\.\d\.\d", path.name)
  ]
  assert not left


CIFAR = "cifar-10-binary.tar.gz"


@pytest.mark.parametrize(
  ("name", "file", "data", "says"),
  [
    ("cifar10", CIFAR, b"nonsense", "not a gzip file"),
    ("cifar10", CIFAR, b"", "empty file"),
    ("cifar10", CIFAR, "cut", "Compressed file ended before the end-of-stream marker was reached"),
    ("cifar10", CIFAR, {"other.txt": b"text"}, "No such file or directory"),
    ("mnist", "train-images-idx3-ubyte.gz", gzip.compress(b"too short"), "cannot reshape array"),
    ("mnist", "train-images-idx3-ubyte.gz", b"nonsense", "Not a gzipped file"),
    ("imagenet", "ILSVRC2012_img_train.tar", b"nonsense", "truncated header"),
  ],
)
def test_broken_archives(name, file, data, says, tmp_path, manual, monkeypatch):
  for other in SPECS[name].archives or ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]:
    tar(manual / other, {})
  if name == "mnist":
    (manual / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">II", 2049, 6) + bytes(6)))
  if data == "cut":
    data = tar_bytes(manual / file, {"big": RNG.bytes(10_000)})[:-1000]
  (manual / file).write_bytes(tar_bytes(manual / file, data) if isinstance(data, dict) else data)
  message = f"{name} cannot be prepared, because an archive is incomplete or not the expected one: .*{re.escape(says)}"
  with pytest.raises(UserError, match=message) as error:
    prepare_dataset(name, str(tmp_path / "datasets"), str(manual), accept_checksums=True)
  assert "\n" not in str(error.value)
  assert_nothing_is_left(tmp_path / "datasets")


def raising(error):
  def function(*_, **__):
    raise error

  return function


@pytest.mark.parametrize(
  ("module", "function", "error", "says"),
  [
    ("download.downloader", "_open_url", ConnectionError("no route to host"), "no route to host"),
    ("download.downloader", "_open_url", DownloadError("Failed to get url.\nHTTP code: 404"), "HTTP code: 404"),
    ("download.checksums", "compute_url_info", PermissionError(13, "Permission denied"), "Permission denied"),
    ("download.extractor", "_copy", OSError(28, "No space left on device"), "No space left on device"),
    ("writer", "Writer.write", OSError(28, "No space left on device"), "No space left on device"),
    ("utils", "has_sufficient_disk_space", OSError("Not enough disk space"), "Not enough disk space"),
  ],
)
def test_network_and_disk(module, function, error, says, tmp_path, manual, monkeypatch):
  if function != "_open_url":
    parts = ("test_batch", *(f"data_batch_{part}" for part in range(1, 6)))
    files = {f"cifar-10-batches-bin/{part}.bin": bytes(3073) for part in parts}
    names = "\n".join(map(str, range(10))).encode()
    tar(manual / CIFAR, {**files, "cifar-10-batches-bin/batches.meta.txt": names})
  monkeypatch.setattr(f"tensorflow_datasets.core.{module}.{function}", raising(error))
  with pytest.raises(PreparationError, match=f"cifar10 cannot be prepared in .*: .*{says}") as raised:
    prepare_dataset("cifar10", str(tmp_path / "datasets"), str(manual), accept_checksums=True)
  assert "\n" not in str(raised.value)
  assert_nothing_is_left(tmp_path / "datasets")


def test_a_full_disk_while_an_embedded_dataset_is_written(tmp_path, monkeypatch):
  monkeypatch.setattr(
    "tensorflow_datasets.core.writer.Writer.finalize", raising(OSError(28, "No space left on device"))
  )
  with pytest.raises(PreparationError, match=r"digits cannot be prepared in .*: .*No space left on device"):
    prepare_dataset("digits", str(tmp_path))
  assert_nothing_is_left(tmp_path)


def test_a_manual_directory_that_is_not_there(tmp_path):
  with pytest.raises(UserError, match="manual_directory='/nowhere' is not a folder"):
    prepare_dataset("mnist", str(tmp_path), "/nowhere")


def test_a_broken_description(tmp_path, digits, directory):
  shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
  path = tmp_path / "digits" / "1.0.0" / "dataset_info.json"
  path.write_text(path.read_text()[:100])
  with pytest.raises(UserError, match=r"config.data.name='digits': .*/digits is broken \(.*; delete it and"):
    prepare_dataset("digits", str(tmp_path))


def run_script(*arguments):
  command = [sys.executable, "scripts/prepare_data.py", *arguments]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_script_names_the_file_with_another_checksum(tmp_path, manual):
  """Files compressed again: the same content in other bytes."""
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


@pytest.mark.slow
def test_script_exits_with_1_if_something_breaks(tmp_path):
  command = [sys.executable, "-c", OFFLINE, "cifar10", f"--directory={tmp_path}"]
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert result.returncode == 1
  assert result.stderr == f"error: cifar10 cannot be prepared in {tmp_path}: no route to host\n"
  assert_nothing_is_left(tmp_path)


@pytest.mark.slow
def test_script_refuses_in_one_line(tmp_path):
  result = run_script("imagenet", f"--directory={tmp_path}")
  assert (result.returncode, result.stdout) == (2, "")
  assert result.stderr.startswith("error: imagenet needs ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar in ")
  assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_script_lists_and_does_not_repeat(digits, directory):
  result = run_script("--list", f"--directory={directory}")
  lines = result.stdout.splitlines()
  assert result.returncode == 0 and len(lines) == 14
  assert "  digits           image     prepared" in lines
  assert "  speech_commands  waveform  not prepared" in lines
  assert "  digit_scenes     scene     not prepared (done on first use)" in lines
  result = run_script("digits", f"--directory={directory}")
  assert (result.returncode, result.stdout) == (0, f"digits is already prepared in {directory}\n")
