"""Pictures of predictions: the input of a model, and next to it the probabilities or the classes of the pixels."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cnn_zoo.data import DatasetInfo
from cnn_zoo.data.kinds.scene import IGNORE
from cnn_zoo.plots.style import (
  BLUE,
  FAINT,
  GREEN,
  GREY,
  INK,
  SMALL,
  WIDTH,
  hide_frame,
  new_figure,
  picture_style,
  save_picture,
)

SHOWN_FRAMES = 8  # of a clip, from the first to the last
SHOWN_BARS = 20  # at most, for the most probable classes
SHOWN_CLASSES = 12  # in the legend of a scene, which has room for no more
OPACITY = 0.75  # of a class's colour over the image, which is drawn in grey
BACKGROUND = "background"  # the class without a colour, so that the image stays visible
# Up to ten classes have Matplotlib's ten colours, with yellow instead of grey, which is the image's.
_TAB10: Any = colormaps["tab10"]
COLOURS = (*_TAB10.colors[:7], (1.0, 0.9, 0.2), *_TAB10.colors[8:])
WINDOW, HOP = 0.032, 0.008  # seconds, for spectrograms
LEAST, RANGE = -120.0, 80.0  # dB: the level of silence, and the range of a spectrogram below its maximum


def picture_paths(names: Sequence[str], folder: Path) -> list[Path]:
  """The paths of the pictures of files: NAME.png in `folder`, or NAME-2.png and so on if that name is taken.

  Names of other pictures and of the files themselves are taken.

  Args:
    names: of the files.
    folder: for the pictures.

  Returns:
    A path for each file.

  >>> [path.name for path in picture_paths(["a/seven.png", "b/seven.jpg"], Path("out"))]
  ['seven.png', 'seven-2.png']
  """
  taken = {str(Path(name).resolve()).casefold() for name in names}
  paths = []
  for name in names:
    file = Path(name).resolve()
    stem = file.name if file.is_dir() else file.stem
    numbered = (folder / f"{stem}{end}.png" for end in itertools.chain([""], map("-{}".format, itertools.count(2))))
    paths.append(next(path for path in numbered if str(path.resolve()).casefold() not in taken))
    taken.add(str(paths[-1].resolve()).casefold())
  return paths


def draw_prediction(
  picture: Path,
  info: DatasetInfo,
  title: str,
  inputs: np.ndarray,
  answer: np.ndarray,
  truth: int | np.ndarray | None = None,
  top: int = 5,
) -> None:
  """Draws the input of a model and its prediction.

  Args:
    picture: the PNG to write. Its folder is made if need be.
    info: of the dataset. Its kind decides what is drawn.
    title: of the picture.
    inputs: the input as it is stored, uint8 or int16 [*spatial, channels].
    answer: float [classes], the probabilities. For a scene uint8 [height, width], the class of each pixel.
    truth: the true class, or label map, if it is known.
    top: how many of the most probable classes to show, at most `SHOWN_BARS`. The true class is always shown.

  Raises:
    UserError: if the picture cannot be written.

  Example:
    >>> import tempfile
    >>> info = DatasetInfo(2, 1, "classification", "image", ("cat", "dog"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   picture = Path(folder, "dog.png")
    ...   draw_prediction(picture, info, "dog.jpg", np.zeros((8, 8, 1), np.uint8), np.array([0.1, 0.9]))
    ...   picture.exists()
    True
  """
  with picture_style():
    save_picture(prediction_figure(info, title, inputs, answer, truth, top), picture)


def prediction_figure(
  info: DatasetInfo,
  title: str,
  inputs: np.ndarray,
  answer: np.ndarray,
  truth: int | np.ndarray | None = None,
  top: int = 5,
) -> Figure:
  """The figure that `draw_prediction` writes, from the same arguments."""
  draw = _FIGURES.get(info.kind, _draw_bars)
  figure = draw(info, inputs, answer, truth, min(top, SHOWN_BARS, len(info.class_names)))
  figure.suptitle(title if len(title) <= 75 else "…" + title[-74:], fontsize=11)
  return figure


def class_colours(class_names: Sequence[str]) -> np.ndarray:
  """The colour of each class.

  Args:
    class_names: of the dataset.

  Returns:
    float [classes, 3] from 0 to 1. The class "background" has a colour that is never drawn.
  """
  number = sum(name != BACKGROUND for name in class_names)
  colours = iter(COLOURS if number <= len(COLOURS) else colormaps["turbo"](np.linspace(0.05, 0.95, number)))
  return np.array([(1, 1, 1) if name == BACKGROUND else next(colours)[:3] for name in class_names])


def overlay(scene: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
  """The classes' colours over a grey scene. Pixels of the background show the scene; pixels without a label are white.

  Args:
    scene: uint8 [height, width, channels].
    labels: uint8 [height, width].
    class_names: of the dataset.

  Returns:
    float [height, width, 3] from 0 to 1.
  """
  grey = scene.mean(-1, keepdims=True) / 255
  colours = np.vstack([class_colours(class_names), np.ones((IGNORE + 1 - len(class_names), 3))])
  mixed = (1 - OPACITY) * grey + OPACITY * colours[labels]
  if BACKGROUND in class_names:
    mixed = np.where((labels == class_names.index(BACKGROUND))[..., None], grey, mixed)
  return np.where((labels == IGNORE)[..., None], 1.0, mixed)


def spectrogram(waveform: np.ndarray, sample_rate: int) -> tuple[np.ndarray, float]:
  """The spectrogram of a waveform.

  Args:
    waveform: int16 [samples].
    sample_rate: samples per second.

  Returns:
    float [frequencies, times], levels in dB, where a sine of full scale has 0 dB. Frequencies go from 0 to half the
    sample rate, and times, the centres of the windows, start at 0. Also the seconds from one time to the next, which
    are about `HOP`.
  """
  window, hop = 2 * round(WINDOW / 2 * sample_rate), max(1, round(HOP * sample_rate))
  weights = np.hanning(window + 1)[:-1]
  padded = np.pad(waveform / 32768, window // 2, mode="reflect")  # zeros would make a click at the start
  windows = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
  amplitudes = 2 * np.abs(np.fft.rfft(windows * weights)) / weights.sum()
  return 20 * np.log10(np.maximum(amplitudes, 10 ** (LEAST / 20))).T, hop / sample_rate


def _draw_image(info, image, probabilities, truth, top):
  figure = new_figure(max(2.9, _bars_height(top)))
  left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
  _pixels(left, image)
  left.set_title("input")
  _bars(right, info, probabilities, truth, top)
  return figure


def _draw_clip(info, clip, probabilities, truth, top):
  figure = new_figure(1.5 + _bars_height(top))
  halves: Any = figure.subfigures(2, 1, height_ratios=(1.3, _bars_height(top)))
  above, below = halves
  shown = np.unique(np.linspace(0, len(clip) - 1, SHOWN_FRAMES).round().astype(int))
  for axis, number in zip(above.subplots(1, SHOWN_FRAMES).flat, shown, strict=False):
    _pixels(axis, clip[number])
    axis.set_title(f"frame {number + 1}", fontsize=SMALL)
  for axis in above.axes[len(shown) :]:  # of a shorter clip
    axis.set_axis_off()
  _bars(below.subplots(), info, probabilities, truth, top)
  return figure


def _draw_waveform(info, waveform, probabilities, truth, top):
  samples, rate = waveform[:, 0], info.sample_rate
  seconds = len(samples) / rate
  figure = new_figure(max(4.2, _bars_height(top)))
  panels = figure.subplot_mosaic(
    [["wave", ".", "bars"], ["levels", "scale", "bars"]], width_ratios=(4, 0.15, 2.6), height_ratios=(1, 1.5)
  )
  panels["wave"].plot(np.arange(len(samples)) / rate, samples / 32768, color=BLUE, lw=0.6)
  panels["wave"].axhline(0, color=FAINT, lw=0.6, zorder=0)
  panels["wave"].set(xlim=(0, seconds), ylabel="amplitude", title="input")
  hide_frame(panels["wave"])
  levels, step = spectrogram(samples, rate)
  drawn = panels["levels"].imshow(
    levels,
    origin="lower",
    aspect="auto",
    cmap="magma",
    vmin=max(levels.max() - RANGE, LEAST - 1),
    vmax=levels.max(),
    extent=(-step / 2, (levels.shape[1] - 0.5) * step, 0, rate / 2),
  )
  panels["levels"].set(xlim=(0, seconds), xlabel="seconds", ylabel="Hz")
  figure.colorbar(drawn, cax=panels["scale"]).ax.set_title("dB", fontsize=SMALL)
  _bars(panels["bars"], info, probabilities, truth, top)
  return figure


def _draw_scene(info, scene, labels, truth, top):
  pictures = {"image": scene, "prediction": overlay(scene, labels, info.class_names)}
  if truth is not None:
    pictures["truth"] = overlay(scene, truth, info.class_names)
  ratios = [1] * len(pictures) + [0.6]
  figure = new_figure(WIDTH / sum(ratios) + 0.5)
  *axes, legend = figure.subplots(1, len(ratios), width_ratios=ratios)
  for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
    _pixels(axis, picture)
    axis.set_title(name)
  legend.set_axis_off()
  placed = {"loc": "center left", "frameon": False, "borderaxespad": 0, "labelspacing": 0.35, "fontsize": SMALL}
  legend.legend(handles=_legend(info.class_names, labels, truth), **placed)
  return figure


def _draw_bars(info, inputs, probabilities, truth, top):
  """The figure of a kind that has none of its own: only the probabilities."""
  del inputs
  figure = new_figure(_bars_height(top))
  _bars(figure.subplots(), info, probabilities, truth, top)
  return figure


_FIGURES = {"image": _draw_image, "clip": _draw_clip, "waveform": _draw_waveform, "scene": _draw_scene}


def _pixels(axis, pixels):
  """Draws [height, width, channels], uint8 or RGB from 0 to 1, with square pixels."""
  axis.imshow(
    pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest"
  )
  axis.set(xticks=[], yticks=[])
  axis.spines[:].set_color(FAINT)


def _bars_height(top):
  """Inches for `top` bars and one for the true class."""
  return 0.8 + 0.3 * (top + 1)


def _bars(axis, info, probabilities, truth, top):
  """Bars of the most probable classes, the first at the top, and of the true one if it is known, in green."""
  shown = np.argsort(-probabilities, kind="stable")[:top].tolist()
  if truth is not None and truth not in shown:
    shown.append(int(truth))
  names = [_short(info.class_names[k], 24) + " (truth)" * (k == truth) for k in shown]
  colours = [GREEN if k == truth else BLUE for k in shown]
  rows = np.arange(len(shown))
  bars = axis.barh(rows, probabilities[shown], 0.6, color=colours)
  axis.bar_label(bars, [f"{p:.1%}" for p in probabilities[shown]], padding=3, fontsize=SMALL, color=INK)
  axis.set_yticks(rows, names)
  axis.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
  axis.set(xlim=(0, 1.2), ylim=(max(len(shown), 5) - 0.4, -0.6), title="probability")
  axis.tick_params(left=False)
  hide_frame(axis, "left")


def _legend(class_names, labels, truth):
  """A patch for each class in the pictures, or for those with most pixels if there are many, and for no label."""
  found = np.concatenate([labels.ravel(), [] if truth is None else truth.ravel()]).astype(int)
  counts = np.bincount(found, minlength=IGNORE + 1)
  order = [k for k in np.argsort(-counts[:IGNORE], kind="stable") if counts[k]]
  colours = class_colours(class_names)
  handles = [
    Patch(
      facecolor=GREY if class_names[k] == BACKGROUND else (*colours[k], OPACITY),
      edgecolor=FAINT,
      label=_short(class_names[k], 16),
    )
    for k in sorted(order[:SHOWN_CLASSES])
  ]
  if len(order) > SHOWN_CLASSES:
    handles.append(Patch(facecolor="none", label=f"and {len(order) - SHOWN_CLASSES} more"))
  if counts[IGNORE]:
    handles.append(Patch(facecolor="white", edgecolor=FAINT, label="no label"))
  return handles


def _short(text, length):
  return text if len(text) <= length else text[: length - 1] + "…"
