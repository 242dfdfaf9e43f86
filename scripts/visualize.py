"""Draws pictures: `python scripts/visualize.py COMMAND`.

`convolutions [--out=DIR]` draws what docs/convolutions.md shows, a PNG for each convolution variant, and prints its
table of costs. `runs --workdir=DIR --workdir=DIR --out=PNG` draws the training losses and the test metrics of several
runs beside each other. `upsampling --out=PNG` draws what an untrained U-Net's transposed convolutions do to an embedded
scene, beside resizing.
"""

import pathlib

from absl import flags

_ROOT = pathlib.Path(__file__).resolve().parents[1]
from cnn_zoo.command_line import load_config, run
from cnn_zoo.describe.comparison import compare, to_markdown
from cnn_zoo.errors import UserError
from cnn_zoo.plots.diagrams import draw_convolutions

_OUT = flags.DEFINE_string("out", None, "convolutions: the folder to draw into (docs/convolutions); others: the PNG.")
_WORKDIR = flags.DEFINE_multi_string("workdir", [], "runs: the folder of a run; give two or more.")


def convolutions() -> None:
  """Draws every picture and tells of each."""
  if _WORKDIR.value:
    raise UserError("--workdir belongs to the command 'runs'")
  for path in draw_convolutions(pathlib.Path(_OUT.value or "docs/convolutions")):
    print(path, flush=True)
  print("\n" + to_markdown(compare()), end="")


def runs() -> None:
  """Draws runs beside each other."""
  if not _OUT.value:
    raise UserError("--out is missing; valid: --out=FILE.png")
  from cnn_zoo.runs.comparison import compare_runs

  compare_runs(_WORKDIR.value, pathlib.Path(_OUT.value))
  print(_OUT.value)


def upsampling() -> None:
  """Draws enlarged maps of untrained networks."""
  from cnn_zoo import data
  from cnn_zoo.plots.enlargements import draw_enlargements

  out = pathlib.Path(_OUT.value or "upsampling.png")
  settings = load_config(str(_ROOT / "configs" / "unet.py")).data
  batch = next(iter(data.evaluation_batches(data.open_dataset(settings), settings, split="test", batch_size=2)))
  draw_enlargements(batch["input"][1], out)
  print(out)


if __name__ == "__main__":
  run({"convolutions": convolutions, "runs": runs, "upsampling": upsampling})
