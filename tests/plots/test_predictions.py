"""The pictures of predictions."""

import itertools
import os

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from cnn_zoo.data import DatasetInfo
from cnn_zoo.errors import UserError
from cnn_zoo.plots.predictions import (
  SHOWN_BARS,
  SHOWN_CLASSES,
  class_colours,
  draw_prediction,
  overlay,
  picture_paths,
  prediction_figure,
  spectrogram,
)
from cnn_zoo.plots.style import BLUE, DPI, GREEN, WIDTH

RNG = np.random.default_rng(0)
NAMES = ("background", *(f"class {letter}" for letter in "abcdefg"))
PROBABILITIES = np.array([0.3, 0.02, 0.2, 0.08, 0.1, 0.15, 0.01, 0.14])
LABELS = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
INPUTS = {
  "image": RNG.integers(0, 256, (8, 8, 1), np.uint8),
  "scene": RNG.integers(0, 256, (8, 8, 3), np.uint8),
  "clip": RNG.integers(0, 256, (10, 8, 8, 3), np.uint8),
  "waveform": RNG.integers(-3000, 3000, (1000, 1), np.int16),
  "another": RNG.integers(0, 256, (4, 4, 4, 1), np.uint8),  # a kind without a picture of its own
}


def make_info(kind, names=NAMES):
  return DatasetInfo(len(names), INPUTS[kind].shape[-1], "", kind, names, 8000 if kind == "waveform" else None)


def answer(kind):
  return LABELS if kind == "scene" else PROBABILITIES


@pytest.mark.parametrize("kind", INPUTS)
def test_pictures(kind, tmp_path):
  """Equal predictions give equal bytes, others do not."""
  truth = LABELS.T if kind == "scene" else 6
  pictures = [tmp_path / "new" / "folder" / f"{name}.png" for name in ("one", "again", "truth")]
  for picture, right in zip(pictures, (None, None, truth), strict=True):
    draw_prediction(picture, make_info(kind), "$title$", INPUTS[kind], answer(kind), right)
    height, width, _ = cv2.imread(str(picture)).shape
    assert width == WIDTH * DPI and height < width
  one, again, with_truth = (picture.read_bytes() for picture in pictures)
  assert one == again and one != with_truth


def test_unwritable_folder(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(
    UserError, match=r"^out='.*/file/x' cannot be written: Not a directory; valid: a folder that can be$"
  ):
    draw_prediction(tmp_path / "file" / "x" / "a.png", make_info("image"), "", INPUTS["image"], PROBABILITIES)


@pytest.mark.parametrize("kind", ["image", "clip", "waveform", "another"])
@pytest.mark.parametrize(
  ("top", "truth", "shown"),
  [
    (3, None, ["background", "class b", "class e"]),
    (3, 2, ["background", "class b (truth)", "class e"]),
    (2, 6, ["background", "class b", "class f (truth)"]),
    (100, None, [NAMES[k] for k in np.argsort(-PROBABILITIES)]),
  ],
)
def test_bars(kind, top, truth, shown):
  figure = prediction_figure(make_info(kind), "", INPUTS[kind], PROBABILITIES, truth, top)
  (axis,) = (axis for axis in figure.axes if axis.get_title() == "probability")
  assert [text.get_text() for text in axis.get_yticklabels()] == shown
  order = [NAMES.index(name.removesuffix(" (truth)")) for name in shown]
  assert [bar.get_width() for bar in axis.patches] == PROBABILITIES[order].tolist()
  expected = [to_rgba(GREEN if k == truth else BLUE) for k in order]
  assert [bar.get_facecolor() for bar in axis.patches] == expected


def test_kind_without_a_figure():
  info = make_info("image")._replace(kind="volume")
  (axis,) = prediction_figure(info, "", np.zeros((4, 4, 4, 1), np.uint8), PROBABILITIES, top=3).axes
  assert [bar.get_width() for bar in axis.patches] == sorted(PROBABILITIES, reverse=True)[:3]


def test_no_more_bars_than_there_is_room_for():
  names = tuple(f"class {k}" for k in range(1000))
  figure = prediction_figure(make_info("image", names), "", INPUTS["image"], np.full(1000, 1e-3), 999, 1000)
  assert len(figure.axes[1].patches) == SHOWN_BARS + 1 and figure.get_figheight() < WIDTH


def test_frames():
  """As many as there are of a short clip; from the first to the last of a long one."""
  for number, titles in ((3, [1, 2, 3]), (10, [1, 2, 4, 5, 6, 7, 9, 10])):
    clip = np.arange(number, dtype=np.uint8)[:, None, None, None] * np.ones((8, 8, 1), np.uint8)
    above, _ = prediction_figure(make_info("clip"), "", clip, PROBABILITIES).subfigs
    shown = [axis for axis in above.axes if axis.images]
    assert [axis.get_title() for axis in shown] == [f"frame {title}" for title in titles]
    assert [axis.images[0].get_array()[0, 0] + 1 for axis in shown] == titles


def test_scene_panels_and_legend():
  def legend(*arguments):
    figure = prediction_figure(make_info("scene"), "", INPUTS["scene"], *arguments)
    *panels, last = figure.axes
    return [panel.get_title() for panel in panels], [text.get_text() for text in last.get_legend().get_texts()]

  assert legend(LABELS) == (["image", "prediction"], ["background", "class a", "class b"])
  truth = np.where(LABELS == 0, 255, 5).astype(np.uint8)
  found = ["background", "class a", "class b", "class e", "no label"]
  assert legend(LABELS, truth) == (["image", "prediction", "truth"], found)


def test_legend_of_too_many_classes():
  names = tuple(f"class {k}" for k in range(20))
  labels = np.minimum(np.arange(64), 19).astype(np.uint8).reshape(8, 8)  # the last one has most of the pixels
  figure = prediction_figure(make_info("scene", names), "", INPUTS["scene"], labels)
  texts = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
  expected = [f"class {k}" for k in (*range(SHOWN_CLASSES - 1), 19)]
  assert texts == [*expected, f"and {20 - SHOWN_CLASSES} more"]


@pytest.mark.parametrize("number", [1, 3, 10, 11, 20])
def test_class_colours(number):
  """Each differs from every other and from the greys that an image has; the background takes none of them."""
  names = tuple(map(str, range(number)))
  colours = class_colours(names)
  assert np.array_equal(class_colours((names[0], "background", *names[1:]))[[0, *range(2, number + 1)]], colours)
  assert all(np.ptp(colour) > 0.2 for colour in colours)
  assert all(abs(a - b).sum() > 0.1 for a, b in itertools.combinations(colours, 2))


def test_overlay():
  scene = np.full((1, 4, 3), (0, 51, 204), np.uint8)
  labels = np.array([[0, 1, 2, 255]], np.uint8)
  grey = np.full(3, 1 / 3)
  colours = class_colours(NAMES)
  drawn = overlay(scene, labels, NAMES)
  expected = [grey, 0.25 * grey + 0.75 * colours[1], 0.25 * grey + 0.75 * colours[2], np.ones(3)]
  assert drawn.shape == (1, 4, 3) and np.allclose(drawn[0], expected)
  without = overlay(scene, labels, NAMES[1:])  # every class has a colour
  assert np.allclose(without[0, 0], expected[1])


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_spectrogram(rate):
  """A sine of full scale has 0 dB at its frequency, and far from it little."""
  pitch = 0.125 * rate
  waveform = np.rint(32767 * np.sin(2 * np.pi * pitch * np.arange(rate) / rate)).astype(np.int16)
  levels, step = spectrogram(waveform, rate)
  assert step == pytest.approx(0.008, rel=0.01) and levels.shape[1] == rate // round(step * rate) + 1
  frequencies = np.linspace(0, rate / 2, len(levels))
  middle = levels[:, 5:-5]
  peaks = frequencies[middle.argmax(0)]
  assert abs(peaks - pitch).max() < 1 / 0.032 and abs(middle.max(0)).max() < 0.5
  assert middle[abs(frequencies - pitch) > 200].max() < -60
  assert (spectrogram(np.zeros(100, np.int16), rate)[0] == -120).all()


def test_picture_paths(tmp_path, monkeypatch):
  """No picture takes the place of another or of a file that it is of."""
  monkeypatch.chdir(tmp_path)
  os.makedirs("walk.v2")
  names = ["a/seven.png", "b/seven.jpg", "c/Seven.png", "walk.v2/", "out/eight.png", "nine.wav"]
  paths = picture_paths(names, tmp_path / "out")
  assert [path.name for path in paths] == [
    "seven.png",
    "seven-2.png",
    "Seven-3.png",
    "walk.v2.png",
    "eight-2.png",
    "nine.png",
  ]
  assert all(path.parent == tmp_path / "out" for path in paths)
