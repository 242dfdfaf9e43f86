"""Grids of coloured cells, of which the diagrams of convolutions are made."""

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes

from cnn_zoo.plots.style import BLUE, INK, SMALL


def draw_cells(
  axis: Axes, cells: np.ndarray, text: np.ndarray | None = None, frame: tuple[int, int] | None = None
) -> None:
  """Draws a grid of colours.

  Args:
    axis: to draw into.
    cells: names of colours, [rows, columns].
    text: a text for each cell, [rows, columns].
    frame: (rows, columns) of the largest grid in the same row of a figure, so that cells of both have the same size.
  """
  rows, columns = cells.shape
  rgb = colors.to_rgba_array(cells.ravel())[:, :3].reshape(rows, columns, 3)
  axis.imshow(rgb)
  axis.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, color="white", lw=1.2)
  axis.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, color="white", lw=1.2)
  if text is not None:
    ink = np.where(rgb @ (0.3, 0.6, 0.1) < 0.4, "white", INK)  # white on dark colours
    for (row, column), cell in np.ndenumerate(text):
      axis.text(column, row, cell, ha="center", va="center", fontsize=SMALL, color=ink[row, column])
  high, wide = frame or (rows, columns)
  axis.set(xticks=[], yticks=[], xlim=((columns - wide - 1) / 2, (columns + wide - 1) / 2))
  axis.set_ylim((rows + high - 1) / 2, (rows - high - 1) / 2)
  axis.spines[:].set_visible(False)


def draw_sign(axis: Axes, sign: str) -> None:
  """Draws a sign, such as an arrow, between two grids."""
  axis.text(0.5, 0.5, sign, ha="center", va="center", fontsize=16, transform=axis.transAxes)
  axis.set_axis_off()


def count_colours(counts: np.ndarray) -> np.ndarray:
  """A colour for each count, darker for larger ones, and light enough for a number on it up to 4."""
  tints = colors.LinearSegmentedColormap.from_list("counts", ["#F3F8FB", BLUE])
  return np.array([colors.to_hex(tints(count / 6)) for count in counts.flat]).reshape(counts.shape)


def as_text(values: np.ndarray) -> np.ndarray:
  """The numbers as texts.

  >>> as_text(np.array([1.0, 0.5, -0.0])).tolist()
  ['1', '0.5', '0']
  """
  return np.vectorize(lambda value: f"{value:g}")(np.round(values, 6) + 0.0)  # + 0.0 turns -0 into 0
