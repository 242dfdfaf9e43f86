"""Prints a model as a table: `python scripts/describe.py --model=NAME` or `--config=configs/NAME.py[:DATASET]`.

A row is a layer, or with --rows=stages several successive layers of one kind. `cnn_zoo.describe.summary.Row` explains
the columns. --input and --num_classes default to what the model was published for. With --config, the model, its
options, its convolutions, its input and its classes are those that train.py would build, and --config.field=value sets
a field as there. --as=paper prints the table of the model's paper instead. --format=csv, json or markdown is for other
programs. Nothing is computed, so it takes seconds for a model of any size.
"""

from absl import flags

from cnn_zoo import describe, list_models
from cnn_zoo.command_line import define_config, run
from cnn_zoo.describe.summary import ROWS
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.models import abstract_model, published_setting

_FORMATS = {"text": "to_text", "markdown": "to_markdown", "csv": "to_csv", "json": "to_json"}

_MODEL = flags.DEFINE_string("model", None, f"The model: {', '.join(list_models())}.")
_CONFIG = define_config("Instead of a model: configs/NAME.py[:DATASET].")
_INPUT = flags.DEFINE_string("input", None, "Shape of one example, HEIGHTxWIDTHxCHANNELS, such as 224x224x3.")
_NUM_CLASSES = flags.DEFINE_integer("num_classes", None, "Width of the logits.")
_ROWS = flags.DEFINE_string("rows", "layers", f"What a row is: {' or '.join(ROWS)}.")
_AS = flags.DEFINE_string("as", None, "paper: the table of the model's paper, in its own columns.")
_FORMAT = flags.DEFINE_string("format", "text", f"One of {', '.join(_FORMATS)}.")


def main() -> None:
  """Runs the command."""
  check_name("format", _FORMAT.value, _FORMATS)
  check_name("rows", _ROWS.value, ROWS)
  if (_MODEL.value is None) == (_CONFIG.value is None):
    raise UserError(
      f"give either a model, --model=NAME, or --config=configs/NAME.py; models: {', '.join(list_models())}"
    )
  options = {"rows": _ROWS.value}
  if _AS.value is not None:
    table, options = _paper_table(), {}
  elif _CONFIG.value is not None:
    table = _configured()
  else:
    table = _published(_MODEL.value)
  print(getattr(table, _FORMATS[_FORMAT.value])(**options).rstrip("\n"))


def _refuse(flags_, why):
  for flag in flags_:
    if flag.present:
      raise UserError(f"--{flag.name} cannot be used with {why}")


def _paper_table():
  from cnn_zoo.describe.paper_tables import paper_table

  check_name("as", _AS.value, ["paper"])
  if _MODEL.value is None:
    raise UserError("--as=paper shows a model as it was published; give --model=NAME instead of --config")
  _refuse((_INPUT, _NUM_CLASSES, _ROWS), "--as=paper, which shows a model as it was published")
  return paper_table(_MODEL.value)


def _configured():
  from cnn_zoo.runs.description import describe_config

  _refuse((_INPUT, _NUM_CLASSES), "--config, whose dataset defines it; --config.data.image_size=N sets the size")
  return describe_config(_CONFIG.value)


def _published(name):
  """The table of a model as published unless flags change its input and classes."""
  published = published_setting(name)
  shape = published.input_shape if _INPUT.value is None else _parse_shape(_INPUT.value)
  num_classes = published.num_classes if _NUM_CLASSES.value is None else _NUM_CLASSES.value
  if num_classes < 1:
    raise UserError(f"num_classes={num_classes} must be at least 1")
  return describe(abstract_model(name, num_classes=num_classes, in_channels=shape[-1]), shape)


def _parse_shape(text):
  sizes = text.split("x")
  if len(sizes) < 2 or not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
    raise UserError(f"input={text!r} must be HEIGHTxWIDTHxCHANNELS such as 224x224x3")
  return tuple(map(int, sizes))


if __name__ == "__main__":
  run(main)
