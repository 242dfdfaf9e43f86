"""Imports published weights: `python scripts/import_weights.py --model=NAME --weights=FILE --source=NAME --out=DIR`.

DIR becomes a folder that `eval.py --workdir=DIR` evaluates and that `train.py --config.init=DIR` starts from.
docs/pretrained.md lists the files that fit.
"""

import pathlib

from absl import flags

from cnn_zoo.command_line import load_config, run
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.pretrained.loading import SOURCES

_CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"

_MODEL = flags.DEFINE_string("model", None, "Which of our models takes the weights, such as resnet50.")
_WEIGHTS = flags.DEFINE_string(
  "weights", None, "A file of a state dict: .safetensors, or .pth as torch.save writes it."
)
_SOURCE = flags.DEFINE_enum("source", None, list(SOURCES), "Whose names the tensors have.")
_OUT = flags.DEFINE_string("out", None, "The folder that is made.")
_IN_CHANNELS = flags.DEFINE_enum(
  "in_channels", None, ["1", "3"], "Channels of the model's images; weights for the other number are adapted."
)


def main() -> None:
  """Imports the weights."""
  for flag in ("model", "weights", "source", "out"):
    if flags.FLAGS[flag].value is None:
      sources = "|".join(SOURCES)
      raise UserError(f"--{flag} is missing; valid: --model=NAME --weights=FILE --source={sources} --out=DIR")
  from cnn_zoo.data import SPECS
  from cnn_zoo.models import list_models
  from cnn_zoo.runs.importing import import_weights

  check_name("model", _MODEL.value, list_models())
  path = str(_CONFIGS / f"{_MODEL.value}.py")
  config = load_config(f"{path}:{SPECS[load_config(path).data.name].published}")
  in_channels = int(_IN_CHANNELS.value) if _IN_CHANNELS.value else None
  import_weights(config, _WEIGHTS.value, _SOURCE.value, _OUT.value, in_channels)


if __name__ == "__main__":
  run(main)
