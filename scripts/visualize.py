"""Draws pictures: `python scripts/visualize.py convolutions [--out=docs/convolutions]`.

`convolutions` draws what docs/convolutions.md shows, a PNG for each convolution variant, and prints its table of costs.
"""

import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the repository, which need not be installed

from cnn_zoo.inspection.comparison import compare, to_markdown
from cnn_zoo.inspection.diagrams import draw_convolutions
from cnn_zoo.training.command_line import run

_OUT = flags.DEFINE_string("out", "docs/convolutions", "The folder to draw into.")


def convolutions() -> None:
  """Draws every picture and tells of each."""
  for path in draw_convolutions(pathlib.Path(_OUT.value)):
    print(path, flush=True)
  print("\n" + to_markdown(compare()), end="")


if __name__ == "__main__":
  run({"convolutions": convolutions})
