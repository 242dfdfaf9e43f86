"""Grids of coloured cells."""

import numpy as np
from matplotlib import colors

from cnn_zoo.plots.grids import as_text, count_colours, draw_cells
from cnn_zoo.plots.style import INK, new_figure


def test_cells_and_their_texts():
  axis = new_figure(2).subplots()
  cells, text = np.array([["#000000", "#FFFFFF", "#FF0000"]]), np.array([["a", "b", "c"]])
  draw_cells(axis, cells, text)
  (image,) = axis.images
  np.testing.assert_allclose(image.get_array(), [[[0, 0, 0], [1, 1, 1], [1, 0, 0]]])
  assert [(t.get_text(), t.get_position(), t.get_color()) for t in axis.texts] == [
    ("a", (0, 0), "white"),
    ("b", (1, 0), INK),
    ("c", (2, 0), "white"),
  ]
  assert (axis.get_xlim(), axis.get_ylim()) == ((-0.5, 2.5), (0.5, -0.5))


def test_a_small_grid_is_centred_in_the_frame_of_a_larger_one():
  axis = new_figure(2).subplots()
  draw_cells(axis, np.full((1, 3), "#FFFFFF"), frame=(5, 5))
  assert (axis.get_xlim(), axis.get_ylim()) == ((-1.5, 3.5), (2.5, -2.5))


def test_colours_of_counts_get_darker():
  shades = [sum(colors.to_rgb(colour)) for colour in count_colours(np.arange(5))]
  assert shades == sorted(shades, reverse=True) and len(set(shades)) == 5


def test_numbers_as_texts():
  assert as_text(np.array([[-1e-9, 2.0], [1 / 3, -0.25]])).tolist() == [["0", "2"], ["0.333333", "-0.25"]]
