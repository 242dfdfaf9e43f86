"""TFDS's own builders on tiny archives of the real layout, from the archive to batches."""

import contextlib
import gzip
import io
import os
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from cnn_zoo.data import dataset_info, evaluation_batches, input_shape, open_dataset, train_batches
from cnn_zoo.data.decode import decode_image
from cnn_zoo.data.prepare import prepare_dataset
from cnn_zoo.data.specs import read_class_names
from tests.helpers.archives import tar, tar_bytes
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
