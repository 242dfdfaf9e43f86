"""The style of every picture: colours, fonts, sizes, and how a picture is saved."""

import contextlib
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_zoo.errors import UserError

# Colours of Okabe and Ito, which people with colour-vision deficiency can tell apart.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, "#D55E00", "#56B4E9", "#000000")
"""The colours of curves in one picture, in this order."""
INK, GREY, FAINT, EMPTY = "#222222", "#999999", "#BBBBBB", "#EEEEEE"

WIDTH, DPI = 8, 160  # inches; 1,280 pixels, sharp on a page of 800 on a dense screen
SMALL = 8  # points, for text next to or within what it labels

# "default" first, so that a matplotlibrc file changes nothing. Names of classes and files are not formulas.
_STYLE = ["default", {"font.size": 10, "axes.titlesize": 10, "figure.titlesize": 11, "text.parse_math": False}]


def picture_style() -> contextlib.AbstractContextManager:
  """A context in which figures have the project's style. Figures are made and saved in it.

  >>> with picture_style():
  ...   figure = new_figure(3)
  >>> figure.get_size_inches().tolist()
  [8.0, 3.0]
  """
  return matplotlib.style.context(_STYLE)


def new_figure(height: float) -> Figure:
  """A figure of the common width and of `height` inches."""
  return Figure(figsize=(WIDTH, height), layout="constrained")


def save_picture(figure: Figure, path: Path) -> None:
  """Writes a figure as a PNG. Equal figures give equal bytes.

  Args:
    figure: made by `new_figure` in `picture_style`.
    path: of the PNG. Its folder is made if need be.

  Raises:
    UserError: if the file cannot be written, or if its name does not end with .png.
  """
  if path.suffix != ".png":
    raise UserError(f"out={str(path)!r} must end with .png")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
  except OSError as error:
    folder = str(path.parent)
    raise UserError(f"out={folder!r} cannot be written: {error.strerror}; valid: a folder that can be") from None


def hide_frame(axis: Axes, *sides: str) -> None:
  """Hides the frame of a plot at the top, at the right and at further `sides`."""
  axis.spines[["top", "right", *sides]].set_visible(False)
