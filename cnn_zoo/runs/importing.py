"""Imports published weights into a folder that is evaluated, and trained from, as that of a run is."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from cnn_zoo import data
from cnn_zoo.errors import UserError
from cnn_zoo.models import published_setting
from cnn_zoo.pretrained import conventions
from cnn_zoo.pretrained.files import read_weights
from cnn_zoo.pretrained.loading import load_torch_state_dict
from cnn_zoo.pretrained.state_dicts import check_separate, select_state_dict
from cnn_zoo.tasks import get_task
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.network import Network, build_network, count_parameters


class ImportingError(RuntimeError):
  """The imported weights cannot be written; nothing is left of them."""


def import_weights(
  config: ConfigDict, weights: str | Path, source: str, out: str | Path, in_channels: int | None = None
) -> None:
  """Imports a file of weights, and prints what can be done with it.

  The folder holds a checkpoint, of step 0, that is marked as imported, and `config` with the normalisation of pixels
  and the options of the model that the weights were made for.

  Args:
    config: of the model and of the dataset that its published weights are for.
    weights: a state dict: .safetensors, or .pth as torch.save writes it.
    source: whose names the tensors have, "torchvision" or "timm".
    out: the folder; it must be empty, or not exist.
    in_channels: 1 or 3, of the images that the imported model takes; weights for the other number are adapted
      (`cnn_zoo.load_torch_state_dict`). None: those of the published model, and nothing is adapted.

  Raises:
    UserError: if the folder is not empty or cannot be made, the file cannot be read, or its tensors do not fit the
      model.
    ImportingError: if writing fails, for instance because the disk is full.

  Example:
    >>> from cnn_zoo.training.settings import default_config
    >>> config = default_config("resnet50")
    >>> config.data.name = "imagenet"
    >>> import_weights(config, "resnet50.pth", "torchvision", "runs/imported")  # doctest: +SKIP
  """
  folder, name = RunFolder(out, "out"), config.model.name
  if folder.path.exists() and not (folder.path.is_dir() and not any(folder.path.iterdir())):
    raise UserError(f"out={str(out)!r} is there already; valid: a new or an empty folder")
  tensors = read_weights(weights)
  config.data.mean, config.data.std = conventions.normalization(name, source, in_channels)
  config.model.update(conventions.options(name, source))
  published = published_setting(name)
  channels = in_channels or published.input_shape[-1]
  network = build_network(config, published.num_classes, channels)
  model = network.module(network.params, network.batch_stats)
  notes = load_torch_state_dict(model, tensors, source, adapt_input=in_channels is not None)
  check_separate(select_state_dict(tensors)[0])
  network = Network(model)

  details = {"config": config.to_dict(), "imported": {"weights": Path(weights).name, "source": source}}
  metric = get_task(config.task).best
  with _whole_or_nothing(folder.path):
    with contextlib.closing(Checkpoints(folder.checkpoints, keep=1, metric=metric)) as checkpoints:
      checkpoints.save(0, {"params": network.params, "batch_stats": network.batch_stats}, details, None)
    folder.write_config(config)
  print(f"{name}: {count_parameters(network):,} parameters of {weights} are in {folder}")
  for note in notes:
    print(f"  {note}")
  info = data.dataset_info(config.data, prepared=False)
  classes = info.num_classes
  if classes != published.num_classes:
    print(f"  (not for evaluation: they have {published.num_classes} classes, {config.data.name} has {classes})")
  elif info.channels != channels:
    print(f"  (not for evaluation: they take {channels} channels, {config.data.name} has {info.channels})")
  else:
    print(f"  evaluate    python eval.py --workdir={folder}")
  mean, std = (str(tuple(numbers)).replace(" ", "") for numbers in (config.data.mean, config.data.std))
  options = "".join(f" --config.model.{option}={value}" for option, value in conventions.options(name, source).items())
  print(
    f"  fine-tune   python train.py --config=configs/{name}.py:DATASET --config.init={folder} "
    f"'--config.data.mean={mean}' '--config.data.std={std}'{options}"
  )


@contextlib.contextmanager
def _whole_or_nothing(path: Path) -> Iterator[None]:
  """Makes the folder `path`; if writing into it within the context fails, everything in it is removed."""
  existed = path.exists()
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"out={str(path)!r} cannot be written: {error.strerror}; give another --out") from None
  try:
    yield
  except BaseException as error:
    shutil.rmtree(path, ignore_errors=True)
    if existed:
      path.mkdir(exist_ok=True)
    if not isinstance(error, Exception):  # Ctrl-C
      raise
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise ImportingError(f"out={str(path)!r} cannot be written: {reason}; nothing is left in it") from error
