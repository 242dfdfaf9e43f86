"""Prints the layers of a model with their parameters and multiply-adds: `python scripts/describe.py --model=NAME`.

--input and --num_classes are, unless given, what the model was published for; --format=csv, json or markdown is for
other programs. Nothing is computed, so it takes seconds for a model of any size.
"""

import pathlib
import sys

from absl import flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the repository, which need not be installed

from cnn_zoo import describe, list_models
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.models import abstract_model, published_setting
from cnn_zoo.training.command_line import run

_FORMATS = {
  "text": str,
  "markdown": lambda table: table.to_markdown(),
  "csv": lambda table: table.to_csv(),
  "json": lambda table: table.to_json(),
}

_MODEL = flags.DEFINE_string("model", None, f"Which model: {', '.join(list_models())}.")
_INPUT = flags.DEFINE_string("input", None, "Shape of one example, HEIGHTxWIDTHxCHANNELS such as 224x224x3.")
_NUM_CLASSES = flags.DEFINE_integer("num_classes", None, "Width of the logits.")
_FORMAT = flags.DEFINE_string("format", "text", f"One of {', '.join(_FORMATS)}.")


def main() -> None:
  """Runs the command."""
  check_name("format", _FORMAT.value, _FORMATS)
  if _MODEL.value is None:
    raise UserError(f"give a model, --model=NAME; valid: {', '.join(list_models())}")
  published = published_setting(_MODEL.value)
  shape = published.input_shape if _INPUT.value is None else _parse_shape(_INPUT.value)
  num_classes = published.num_classes if _NUM_CLASSES.value is None else _NUM_CLASSES.value
  if num_classes < 1:
    raise UserError(f"num_classes={num_classes} must be at least 1")
  model = abstract_model(_MODEL.value, num_classes=num_classes, in_channels=shape[-1])
  print(_FORMATS[_FORMAT.value](describe(model, shape)).rstrip("\n"))


def _parse_shape(text):
  sizes = text.split("x")
  if len(sizes) < 2 or not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
    raise UserError(f"input={text!r} must be HEIGHTxWIDTHxCHANNELS such as 224x224x3")
  return tuple(map(int, sizes))


if __name__ == "__main__":
  run(main)
