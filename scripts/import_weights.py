"""Imports published weights: `python scripts/import_weights.py --model=NAME --weights=FILE --source=NAME --out=DIR`.

DIR becomes a folder that `eval.py --workdir=DIR` evaluates and that `train.py --config.init=DIR` starts from.
docs/pretrained.md says which files there are.
"""

import json
import pathlib

from absl import flags

_ROOT = pathlib.Path(__file__).resolve().parents[1]
from cnn_zoo import list_models, load_torch_state_dict
from cnn_zoo.command_line import load_config, run
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.models import published_setting
from cnn_zoo.pretrained import conventions
from cnn_zoo.pretrained.files import read_weights

_MODEL = flags.DEFINE_string("model", None, "Which of our models takes the weights, such as resnet50.")
_WEIGHTS = flags.DEFINE_string(
  "weights", None, "A file of a state dict: .safetensors, or .pth as torch.save writes it."
)
_SOURCE = flags.DEFINE_enum("source", None, ["torchvision", "timm"], "Whose names the tensors have.")
_OUT = flags.DEFINE_string("out", None, "The folder that is made.")


def main() -> None:
  """Runs the command."""
  for flag in ("model", "weights", "source", "out"):
    if flags.FLAGS[flag].value is None:
      raise UserError(f"--{flag} is missing; valid: --model=NAME --weights=FILE --source=torchvision|timm --out=DIR")
  check_name("model", _MODEL.value, list_models())
  out = pathlib.Path(_OUT.value)
  if out.exists() and not (out.is_dir() and not any(out.iterdir())):
    raise UserError(f"out={_OUT.value!r} is there already; valid: a new or an empty folder")
  weights = read_weights(_WEIGHTS.value)
  from cnn_zoo.data import SPECS, dataset_info
  from cnn_zoo.tasks import get_task
  from cnn_zoo.training import setup
  from cnn_zoo.training.checkpoints import Checkpoints
  from cnn_zoo.training.state import Network

  path = str(_ROOT / "configs" / f"{_MODEL.value}.py")
  config = load_config(f"{path}:{SPECS[load_config(path).data.name].published}")
  config.data.mean, config.data.std = conventions.normalization(_MODEL.value, _SOURCE.value)
  config.model.update(conventions.options(_MODEL.value, _SOURCE.value))
  published = published_setting(_MODEL.value)
  network = setup.build_network(config, published.num_classes, published.input_shape[-1])
  model = network.module(network.params, network.batch_stats)
  load_torch_state_dict(model, weights, _SOURCE.value)
  network = Network(model)

  setup.open_workdir(out)
  checkpoints = Checkpoints(out / "checkpoints", keep=1, metric=get_task(config.task).best)
  details = {"config": config.to_dict(), "weights": pathlib.Path(_WEIGHTS.value).name, "source": _SOURCE.value}
  checkpoints.save(0, {"params": network.params, "batch_stats": network.batch_stats}, details, None)
  checkpoints.close()
  (out / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
  print(f"{_MODEL.value}: {setup.count_parameters(network):,} parameters of {_WEIGHTS.value} are in {out}")
  classes = dataset_info(config.data, prepared=False).num_classes
  if classes == published.num_classes:
    print(f"  evaluate    python eval.py --workdir={out}")
  else:
    print(f"  (not for evaluation: they know {published.num_classes} classes, {config.data.name} has {classes})")
  fine_tune = f"python train.py --config=configs/{_MODEL.value}.py:DATASET --config.init={out}"
  mean, std = (",".join(map(str, numbers)) for numbers in (config.data.mean, config.data.std))
  print(f"  fine-tune   {fine_tune} '--config.data.mean=({mean})' '--config.data.std=({std})'")


if __name__ == "__main__":
  run(main)
