"""Draws pictures: `python scripts/visualize.py COMMAND`.

`convolutions [--out=DIR]` draws the pictures of docs/convolutions.md, a PNG for each convolution variant, and prints
the table of costs. `runs --workdir=DIR --workdir=DIR --out=PNG` draws the training losses and the evaluation metrics of
several runs in one picture. `upsampling --out=PNG` draws the maps that an untrained U-Net makes of an embedded scene,
with transposed convolutions and with resizing.
"""

import pathlib

from absl import flags

from cnn_zoo.command_line import load_config, run
from cnn_zoo.describe.comparison import compare, to_markdown
from cnn_zoo.errors import UserError
from cnn_zoo.plots.diagrams import draw_convolutions

_ROOT = pathlib.Path(__file__).resolve().parents[1]

_OUT = flags.DEFINE_string("out", None, "convolutions: the folder to draw into (docs/convolutions); others: the PNG.")
_WORKDIR = flags.DEFINE_multi_string("workdir", [], "runs: the folder of a run; repeat for two or more.")


def convolutions() -> None:
  """Draws every picture and prints its path."""
  if _WORKDIR.value:
    raise UserError("--workdir belongs to the command 'runs'")
  for path in draw_convolutions(pathlib.Path(_OUT.value or "docs/convolutions")):
    print(path, flush=True)
  print("\n" + to_markdown(compare()), end="")


def runs() -> None:
  """Draws several runs in one picture."""
  if not _OUT.value:
    raise UserError("--out is missing; valid: --out=FILE.png")
  from cnn_zoo.runs.comparison import compare_runs

  compare_runs(_WORKDIR.value, pathlib.Path(_OUT.value))
  print(_OUT.value)


def upsampling() -> None:
  """Draws upsampled maps of untrained networks."""
  from cnn_zoo import data
  from cnn_zoo.plots.enlargements import draw_enlargements

  out = pathlib.Path(_OUT.value or "upsampling.png")
  settings = load_config(str(_ROOT / "configs" / "unet.py")).data
  batch = next(iter(data.evaluation_batches(data.open_dataset(settings), settings, split="test", batch_size=2)))
  draw_enlargements(batch["input"][1], out)
  print(out)


if __name__ == "__main__":
  run({"convolutions": convolutions, "runs": runs, "upsampling": upsampling})
