"""Files of a user are predicted as the same examples are in an evaluation."""

import json
import os
import struct
import threading
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from scipy.io import wavfile

from cnn_zoo import data
from cnn_zoo.data.kinds.clip import frame_files
from cnn_zoo.errors import UserError
from cnn_zoo.runs.evaluation import evaluate
from cnn_zoo.runs.prediction import answers, predict, read_input, read_test, shares, softmax
from cnn_zoo.runs.saved import open_run
from tests.helpers import runner

PREDICT = "scripts/predict.py"
TINY_UNET = {"model.features": 4, "model.depth": 2, "data.image_size": 32}


@pytest.fixture(scope="module")
def images_run(tmp_path_factory):
  return runner.save_untrained(tmp_path_factory.mktemp("images"), "lenet5", {"eval.batch_size": 100})


@pytest.fixture(scope="module")
def scenes_run(tmp_path_factory):
  return runner.save_untrained(tmp_path_factory.mktemp("scenes"), "unet", TINY_UNET)


def write_images(config, number, folder):
  """The first images of the test set as files of a user, in another compression than the records have."""
  records = data.open_dataset(config.data).test
  files = [folder / f"{index}.png" for index in range(number)]
  for file, record in zip(files, records, strict=False):
    image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(file), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])
  return list(map(str, files))


def first_batch(config, size):
  return next(iter(data.evaluation_batches(data.open_dataset(config.data), config.data, split="test", batch_size=size)))


def test_images(images_run, tmp_path, capsys):
  run = open_run(None, images_run)
  files = write_images(run.config, 4, tmp_path)
  batch = first_batch(run.config, 4)
  expected = np.asarray(run.programs.answers(run.weights, batch["input"]))

  inputs = [read_input(tmp_path / f"{index}.png", run.programs.info, run.config.data) for index in range(4)]
  assert np.array_equal(inputs, batch["input"])
  logits = list(answers(run, inputs))
  assert np.array_equal(logits, expected) and logits[0].dtype == np.float64

  results = predict(images_run, files, top=3)
  for file, result, scores in zip(files, results, expected, strict=True):
    assert result["file"] == file and list(result) == ["file", "classes", "picture"]
    order = np.argsort(-scores)[:3]
    exponentials = np.exp(scores.astype(np.float64))
    probabilities = exponentials[order] / exponentials.sum()
    assert [name for name, _ in result["classes"]] == [str(digit) for digit in order]
    assert [p for _, p in result["classes"]] == pytest.approx(probabilities, rel=1e-12)
  assert [result["picture"] for result in results] == [f"{images_run}/predictions/{k}.png" for k in range(4)]
  *table, a, b, c, d = capsys.readouterr().out.splitlines()
  assert list(map(json.loads, (a, b, c, d))) == results
  assert "lenet5 on digits, step 1, raw weights" in table[0] and "truth" not in table[2]


def test_whole_test_set(images_run):
  """The predictions of all records are what an evaluation counts; the last of its batches is not full."""
  examples = read_test(360, open_run(None, images_run).config.data)
  run = open_run(None, images_run)
  logits = np.array(list(answers(run, [example.input for example in examples])))
  right = logits.argmax(-1) == [example.truth for example in examples]
  assert right.mean() == evaluate(None, images_run)["top1"]


def test_scenes(scenes_run, tmp_path):
  run = open_run(None, scenes_run)
  batch = first_batch(run.config, 3)
  answered = np.asarray(run.programs.answers(run.weights, batch["input"])).argmax(-1)
  assert len(np.unique(answered)) > 2
  names = run.programs.info.class_names
  files = write_images(run.config, 3, tmp_path)
  results = predict(scenes_run, files, out=tmp_path / "files"), predict(scenes_run, test=3, out=tmp_path / "test")
  for index, (of_file, of_record) in enumerate(zip(*results, strict=True)):
    counted = {names[k]: np.mean(answered[index] == k) for k in np.unique(answered[index])}
    assert of_file["pixels"] == of_record["pixels"] == counted
    assert list(of_file["pixels"].values()) == sorted(counted.values(), reverse=True)
    label = batch["label"][index]
    assert of_record["truth"] == {names[k]: np.mean(label == k) for k in np.unique(label[label != 255])}
    assert "truth" not in of_file and of_record["file"] == f"digit_scenes-test-{index}"
    assert {path.name for path in (tmp_path / "files").iterdir()} == {"0.png", "1.png", "2.png"}


@pytest.mark.parametrize(
  ("name", "fields"), [("m5", {}), ("c3d", {"model.width": 0.03125, "model.hidden_features": 8})]
)
def test_waveforms_and_clips(name, fields, tmp_path):
  run = open_run(None, runner.save_untrained(tmp_path, name, fields), prepared=False)
  if name == "m5":
    wavfile.write(tmp_path / "example", 8000, np.random.default_rng(0).integers(-9000, 9000, 8000, np.int16))
  else:
    write_frames(tmp_path / "example", range(1, 17))
  example = read_input(tmp_path / "example", run.programs.info, run.config.data)
  (logits,) = np.asarray(run.programs.answers(run.weights, example[None]), np.float64)
  (result,) = predict(tmp_path, [str(tmp_path / "example")], top=100)
  assert [p for _, p in result["classes"]] == np.sort(softmax(logits))[::-1].tolist()
  assert [run.programs.info.class_names.index(name) for name, _ in result["classes"]] == np.argsort(-logits).tolist()
  assert (tmp_path / "predictions" / "example.png").exists()


def test_dataset_that_is_not_prepared(tmp_path):
  """Only its records need it; the names of its classes are not known, but their numbers are."""
  runner.save_untrained(tmp_path, "lenet5", {"data.name": "cifar10"})
  cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9), np.uint8))
  (result,) = predict(tmp_path, [str(tmp_path / "a.png")], top=10)
  assert sorted(name for name, _ in result["classes"]) == list("0123456789")
  with pytest.raises(UserError, match=r"^config.data.name='cifar10' is not prepared in .*prepare_data.py cifar10"):
    predict(tmp_path, test=1)


def test_shares():
  labels = np.array([[2, 2, 255], [0, 2, 2]], np.uint8)
  assert list(shares(labels, "abc").items()) == [("c", 4 / 6), ("a", 1 / 6)]


def test_softmax():
  assert softmax(np.array([1000.0, 1000.0, 1000.0 + np.log(2)])).tolist() == pytest.approx([0.25, 0.25, 0.5])


def waveform_settings(samples):
  config = runner.load("m5", **{"data.samples": samples})
  return data.dataset_info(config.data, prepared=False), config.data


@pytest.mark.parametrize("samples", [8000, 5000, 9001])
def test_waveforms_of_the_same_rate(samples, tmp_path):
  """Whatever the number of channels; cut and padded as test examples are."""
  info, settings = waveform_settings(samples)
  audio = np.random.default_rng(0).integers(-30000, 30000, 8000, dtype=np.int16)
  expected = np.zeros((samples, 1), np.int16)
  start = max(0, 8000 - samples) // 2
  expected[:8000, 0] = audio[start : start + samples]
  stereo = np.stack([audio - 100, audio + 100], axis=1)
  for name, waveform in {"mono": audio, "stereo": stereo}.items():
    wavfile.write(tmp_path / f"{name}.wav", 8000, waveform)
    assert np.array_equal(read_input(tmp_path / f"{name}.wav", info, settings), expected)


def test_waveforms_of_another_rate(tmp_path):
  """A tone stays the tone that it is."""
  info, settings = waveform_settings(8000)
  times = np.arange(44100) / 44100
  wavfile.write(tmp_path / "tone.wav", 44100, (0.5 * np.sin(2 * np.pi * 1000 * times)).astype(np.float32))
  tone = read_input(tmp_path / "tone.wav", info, settings)[:, 0]
  expected = 16384 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
  assert abs(tone - expected)[100:-100].max() < 100


def clip_settings():
  config = runner.load("c3d", **{"data.frames": 4, "data.image_size": 8})
  return data.dataset_info(config.data, prepared=False), config.data


def write_frames(folder, numbers):
  folder.mkdir()
  for number in numbers:
    cv2.imwrite(str(folder / f"frame{number}.PNG"), np.full((8, 8), 10 * number, np.uint8))


def test_clips(tmp_path):
  """2 comes before 10, other files do not matter; the middle of many frames, and the last of few again and again."""
  write_frames(tmp_path / "many", range(1, 13))
  (tmp_path / "many" / "notes.txt").write_text("")
  (tmp_path / "many" / "._frame1.png").write_text("")
  clip = read_input(tmp_path / "many", *clip_settings())
  assert clip.shape == (4, 8, 8, 1) and clip[:, 0, 0, 0].tolist() == [50, 60, 70, 80]
  write_frames(tmp_path / "few", (2, 10, 9))
  assert read_input(tmp_path / "few", *clip_settings())[:, 0, 0, 0].tolist() == [20, 90, 100, 100]


def test_order_of_frames(tmp_path):
  names = ["a.jpg", "B2.png", "b10.png", "b010.webp", "2b.png", "10.png", "²1.png"]
  for name in names:
    (tmp_path / name).touch()
  assert [file.name for file in frame_files(tmp_path)] == [
    "2b.png",
    "10.png",
    "a.jpg",
    "B2.png",
    "b10.png",
    "b010.webp",
    "²1.png",
  ]


def test_clips_with_a_broken_frame(tmp_path):
  write_frames(tmp_path / "clip", range(1, 5))
  broken = tmp_path / "clip" / "frame3.PNG"
  broken.write_bytes(broken.read_bytes()[:50])
  with pytest.raises(
    UserError, match=r"^file='.*/clip' cannot be read: frame3.PNG: 50 bytes that are not .*; valid: a folder"
  ):
    read_input(tmp_path / "clip", *clip_settings())


@pytest.mark.parametrize(
  ("kind", "name", "says"),
  [
    ("image", "nowhere.png", "No such file or directory; valid: an image file, such as JPEG or PNG"),
    ("image", "cut.png", "50 bytes that are not a complete image: "),
    ("image", "tone.wav", "not a complete image: b'RIFF"),
    ("image", "folder", "Is a directory; valid: an image file"),
    ("scene", "cut.png", "valid: an image file, such as JPEG or PNG"),
    ("waveform", "cut.png", "not a complete WAV file: "),
    ("waveform", "cut.wav", "not a complete WAV file: "),
    ("waveform", "fast.wav", "2000000000 samples a second, where there must be 1,000 to 1,000,000; valid: a WAV file"),
    ("clip", "folder", "it holds no file that ends with .bmp, .gif, "),
    ("clip", "cut.png", "Not a directory; valid: a folder of frames, which are image files"),
    ("clip", "nowhere", "No such file or directory; valid: a folder of frames"),
  ],
)
def test_files_that_cannot_be_read(kind, name, says, tmp_path):
  image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
  (tmp_path / "cut.png").write_bytes(cv2.imencode(".png", image)[1].tobytes()[:50])
  wavfile.write(tmp_path / "tone.wav", 8000, np.ones(100, np.int16))
  (tmp_path / "cut.wav").write_bytes((tmp_path / "tone.wav").read_bytes()[:100])
  wavfile.write(tmp_path / "fast.wav", 2_000_000_000, np.ones(100, np.uint8))
  (tmp_path / "folder").mkdir()
  (tmp_path / "folder" / "notes.txt").touch()
  info, settings = waveform_settings(100)
  with pytest.raises(UserError) as error:
    read_input(tmp_path / name, info._replace(kind=kind), settings)
  message = str(error.value)
  assert message.startswith(f"file='{tmp_path}/{name}' cannot be read: ") and says in message and "\n" not in message


@pytest.fixture
def fifo(tmp_path):
  """A pipe that nobody writes into; after some seconds it ends, so that a reader fails instead of waiting forever."""
  path = tmp_path / "fifo"
  os.mkfifo(path)
  end = threading.Timer(10, lambda: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)))
  end.start()
  yield path
  end.cancel()


@pytest.mark.parametrize("kind", ["image", "scene", "waveform"])
def test_pipes_and_devices_are_not_read(kind, fifo):
  info, settings = waveform_settings(100)
  for file in (fifo, "/dev/null"):
    with pytest.raises(UserError, match=rf"^file='{file}' cannot be read: it is not a regular file; valid: "):
      read_input(Path(file), info._replace(kind=kind), settings)


def test_a_frame_that_is_a_pipe(fifo):
  fifo.rename(fifo.with_name("frame1.png"))
  with pytest.raises(UserError, match=r"cannot be read: frame1.png: it is not a regular file; valid: a folder"):
    read_input(fifo.parent, *clip_settings())


def png_header(height, width):
  """The beginning of a gray PNG of this size."""
  return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 0, 0, 0, 0) + bytes(40)


def test_images_are_too_large_by_their_headers(tmp_path):
  """Whatever is behind the header: it need not be decoded."""
  config = runner.load("lenet5")
  info, settings = data.dataset_info(config.data), config.data
  (tmp_path / "bomb.png").write_bytes(png_header(32_000, 32_000))
  with pytest.raises(UserError) as error:
    read_input(tmp_path / "bomb.png", info, settings)
  says = "cannot be read: 32,000 x 32,000 pixels, more than 100,000,000 (see --max_size); valid: an image file"
  assert says in str(error.value)
  image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
  for end in ("bmp", "gif", "jpg", "png", "ppm", "tiff", "webp"):
    file = tmp_path / f"image.{end}"
    assert cv2.imwrite(str(file), image)
    expected = read_input(file, info, settings)
    assert np.array_equal(read_input(file, info, settings, largest=600), expected)
    with pytest.raises(UserError, match=r"cannot be read: 20 x 30 pixels, more than 599 \(see --max_size\); valid: an"):
      read_input(file, info, settings, largest=599)


def test_clips_of_too_large_frames(tmp_path):
  write_frames(tmp_path / "clip", (1,))
  with pytest.raises(UserError, match=r"cannot be read: frame1.PNG: 8 x 8 pixels, more than 63 \(see --max_size\); "):
    read_input(tmp_path / "clip", *clip_settings(), largest=63)


def test_waveforms_that_are_too_large(tmp_path):
  info, settings = waveform_settings(100)
  wavfile.write(tmp_path / "stereo.wav", 8000, np.ones((100, 2), np.int16))
  assert read_input(tmp_path / "stereo.wav", info, settings, largest=200).all()
  wavfile.write(tmp_path / "slow.wav", 1000, np.ones(100, np.int16))
  (tmp_path / "long.wav").touch()
  os.truncate(tmp_path / "long.wav", 2_000_000)
  for name, largest, says in (
    ("stereo.wav", 199, "200 samples, more than 199"),
    ("slow.wav", 799, "800 samples at 8,000 a second, more than 799"),
    ("long.wav", 1000, "2,000,000 bytes, more than 1,000 pixels or samples need"),
  ):
    with pytest.raises(UserError, match=rf"{name}' cannot be read: {says} \(see --max_size\); valid: a WAV file$"):
      read_input(tmp_path / name, info, settings, largest)


@pytest.mark.parametrize(
  ("files", "options", "says"),
  [
    ([], {}, "^give files to predict, or --test=N for N records of the test set$"),
    (["a.png"], {"test": 1}, "^give either files to predict, or --test=N"),
    ([], {"test": 0}, "^test=0 must be from 1 to 360"),
    ([], {"test": 361}, "^test=361 must be from 1 to 360"),
    ([], {"test": 1, "top": 0}, "^top=0 must be at least 1$"),
    ([], {"test": 1, "step": "7"}, "^step='7' is not there; valid: last, best, 1$"),
  ],
)
def test_mistakes(files, options, says, images_run):
  with pytest.raises(UserError, match=says):
    predict(images_run, files, **options)


def test_answers_that_are_not_finite(tmp_path):
  def spoil(state):
    return jax.tree.map(lambda x: x * np.nan if x.ndim == 4 else x, state)

  with pytest.raises(UserError, match=r"^step=1 predicts 'digits-test-0' with numbers that are not finite; give an"):
    predict(runner.save_untrained(tmp_path, "lenet5", {}, spoil), test=1)


def test_command(images_run, tmp_path):
  """As a person types it, and one line for mistakes, whatever the libraries that decode would say."""
  flipped = bytearray(cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))[1].tobytes())
  flipped[600] ^= 255
  (tmp_path / "flipped.png").write_bytes(flipped)
  out = tmp_path / "pictures"
  run = f"--workdir={images_run}"
  (tmp_path / "large.png").write_bytes(png_header(2000, 2000))
  processes = {
    0: runner.start([PREDICT, run, "--test=2", "--top=2", f"--out={out}"]),
    "--workdir is missing; valid: the folder of a run": runner.start([PREDICT, "a.png"]),
    "flipped.png' cannot be read: ": runner.start([PREDICT, str(tmp_path / "flipped.png"), run]),
    "2,000 x 2,000 pixels, more than 3,000,000": runner.start(
      [PREDICT, str(tmp_path / "large.png"), run, "--max_size=3"]
    ),
  }
  stdout, _ = runner.finish(processes.pop(0))
  *table, first, second = stdout.splitlines()
  truths = [str(label) for label in first_batch(runner.load("lenet5"), 2)["label"]]
  for index, line in enumerate((first, second)):
    result = json.loads(line)
    assert (result["file"], result["truth"], len(result["classes"])) == (f"digits-test-{index}", truths[index], 2)
    assert result["picture"] == str(out / f"digits-test-{index}.png") and (out / f"digits-test-{index}.png").exists()
  assert "truth" in table[2] and "digits-test-1" in table[5]
  for says, process in processes.items():
    stdout, err = runner.finish(process, code=2)
    assert err.startswith("error: ") and says in err and err.count("\n") == 1 and not stdout
