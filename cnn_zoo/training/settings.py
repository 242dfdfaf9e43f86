"""Every setting of a run: its default, what it means, what is valid, and what changing it does to a resumed run.

`SETTINGS` has one row a field. `default_config` makes a configuration of it, `check` says whether one can be run, and
`check_same_run` whether it may resume a given run. The options of an architecture, `config.model.*`, follow from its
constructor (`cnn_zoo.models.model_options`).
"""

import json
from pathlib import Path

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from cnn_zoo import data
from cnn_zoo.convolutions.lowerings.choice import LOWERINGS
from cnn_zoo.data.kinds.image import CROPS
from cnn_zoo.errors import UserError, check_name, nearest
from cnn_zoo.models import list_models, model_options
from cnn_zoo.models.surgery import parse_convolution
from cnn_zoo.tasks import TASKS
from cnn_zoo.training.fields import (
  FREE,
  LENGTH,
  REFUSED,
  Setting,
  choice,
  number,
  numbers,
  option_error,
  shown,
  switch,
  text,
  whole,
)
from cnn_zoo.training.optimizers import OPTIMIZERS
from cnn_zoo.training.schedules import DEPEND_ON_LENGTH, SCHEDULES

STEPS = "[1, 2147483647]"  # counted in int32
BATCH = "[1, 1048576]"
EPOCHS = "(0, 1000000]"

# fmt: off
SETTINGS: dict[str, Setting] = {
  "seed": whole(0, "[0, 4294967295]", "of initial weights, order of the data, augmentation and training noise"),
  "init": text(None, "folder of a run, or of scripts/import_weights.py, whose weights this run starts from"),
  "task": choice("classification", TASKS, "what the labels mean, which decides on loss and metrics"),
  "dtype": choice("auto", ("float32", "bfloat16", "auto"),
    "what the model computes in; auto: bfloat16 on GPU and TPU, else float32"),
  "convolution_lowering": choice("auto", LOWERINGS,
    "auto: the measured best for the backend; lax: XLA's own everywhere", FREE),
  "compilation_cache": text("~/.cache/cnn_zoo", "where compiled programs are kept between runs; '' for nowhere", FREE),

  # config.model.* also has the architecture's own options; None leaves the architecture's value.
  "model.name": choice("lenet5", list_models(), "the architecture"),
  "model.convolution": text("standard", "what replaces its k x k convolutions: NAME or NAME:option=value,keep=LAYER"),

  "data.name": choice("digits", data.list_datasets(), "the dataset"),
  "data.directory": text(None, "of prepared TFDS data; None: $TFDS_DATA_DIR or ~/tensorflow_datasets", FREE),
  "data.validation": number(0.1, "[0, 1)",
    "share of the training examples held out to choose the best checkpoint; 0: it is chosen on the test set"),
  "data.image_size": whole(32, "[1, 16384]", "pixels a side that the model sees, of images, clips and scenes"),
  "data.frames": whole(16, "[1, 16384]", "of a clip"),
  "data.samples": whole(8000, "[1, 16777216]", "of a waveform"),
  "data.workers": whole(0, "[0, 1024]", "processes that load and augment; 0: threads of this process", FREE),
  "data.crop": choice("resize", CROPS,
    "training crops: resize (the whole image) or random (Inception's random resized crop)"),
  "data.min_area": number(0.08, "(0, 1]", "crop='random': the smallest share of the image's area"),
  "data.test_crop": number(0.875, "[0.01, 1]", "crop='random': the share of the shorter side that is evaluated"),
  "data.flip": switch(False, "mirror half of the training images (whole clips) left to right"),
  "data.shift": number(0.0, "[0, 1]", "largest shift in training, as a share of the side"),
  "data.rotate": number(0.0, "[0, 180]", "largest rotation in training, degrees"),
  "data.zoom": number(0.0, "[0, 10]", "largest relative zoom in training, in or out"),
  "data.time_shift": number(0.0, "[0, 1]", "waveforms: largest shift in training, as a share of the length"),
  "data.gain": number(0.0, "[0, 100]", "waveforms: largest change of level in training, dB"),
  "data.noise": number(0.0, "[0, 1]", "waveforms: largest level of noise added in training, as a share of full scale"),
  "data.mean": numbers((0.5,), "[-1000, 1000]",
    "subtracted from pixels in [0, 1], samples in [-1, 1]: one number, or one per channel"),
  "data.std": numbers((0.25,), "(0, 1000]", "what they are then divided by"),

  "batch_size": whole(64, BATCH, "examples in a step, over all devices and processes"),
  "accumulate": whole(1, BATCH, "parts in which a batch is computed, one after another, to save memory"),
  "epochs": number(20.0, EPOCHS, "length of training; may be a fraction", LENGTH),
  "steps": whole(None, STEPS, "length of training in steps, instead of epochs", LENGTH),
  "label_smoothing": number(0.0, "[0, 1)", "probability spread evenly over all classes"),
  "ema_decay": number(0.0, "[0, 1)", "of the averaged copy of the weights that is evaluated; 0: none"),
  "on_nan": choice("stop", ("stop", "continue"),
    "when the loss is not finite: stop (keeping the last good checkpoint) or continue", FREE),

  "optimizer.name": choice("adamw", OPTIMIZERS, "the rule, a function of cnn_zoo/training/optimizers.py"),
  "optimizer.learning_rate": number(1e-3, "[0, 1000]", "the largest, for this batch size"),
  "optimizer.momentum": number(0.9, "[0, 1)", "of the gradient's average; beta 1 of Adam and its kind"),
  "optimizer.decay": number(0.999, "[0, 1)", "of the average of squared gradients; beta 2 of Adam and its kind"),
  "optimizer.epsilon": number(1e-8, "(0, 1000]", "added to the denominator (rmsprop: under the root)"),
  "optimizer.weight_decay": number(0.0, "[0, 1000]",
    "of kernels only; decoupled in Adam's kind, else added to the gradient"),
  "optimizer.clip_norm": number(0.0, "[0, 1e9]", "largest norm of the whole gradient; 0: not clipped"),

  "schedule.name": choice("cosine", SCHEDULES,
    "cosine (to zero), step (times decay_rate every decay_epochs) or constant"),
  "schedule.warmup_epochs": number(0.0, "[0, 1000000]", "of linear growth from zero"),
  "schedule.decay_rate": number(0.1, "(0, 1]", "name='step': what the rate is multiplied by"),
  "schedule.decay_epochs": number(30.0, EPOCHS, "name='step': how often"),
  "schedule.extend": switch(False, "lets a run with the cosine schedule resume with more epochs or steps", FREE),

  "batch_norm.momentum": number(None, "[0, 1)", "of the running averages; None: the architecture's"),
  "batch_norm.group_size": whole(None, BATCH, "examples that share statistics; None: the whole batch"),

  "eval.every_epochs": number(1.0, EPOCHS, "how often the model is evaluated; always at the end"),
  "eval.batch_size": whole(256, BATCH, "examples in an evaluation step; the result does not depend on it", FREE),

  "checkpoint.every_steps": whole(1000, STEPS, "how often the run is saved; always at the end and at a new best", FREE),
  "checkpoint.keep": whole(2, "[1, 1000000]", "how many of the last checkpoints are kept, besides the best", FREE),

  "log_every_steps": whole(10, STEPS, "how often training metrics are written"),
}
# fmt: on


def default_config(model: str = "lenet5") -> ConfigDict:
  """Every setting at its default, with the options of an architecture; locked, so that no field can be added.

  Args:
    model: name of the architecture, one of `cnn_zoo.list_models()`.

  Returns:
    A ConfigDict with the fields of `SETTINGS` and `model.OPTION`, which are None.

  Raises:
    UserError: there is no such architecture.

  >>> config = default_config("resnet18")
  >>> config.optimizer.name, config.steps, config.model.zero_init_residual
  ('adamw', None, None)
  """
  check_name("config.model.name", model, list_models())
  config = ConfigDict()
  for field, setting in (SETTINGS | _option_settings(model)).items():
    *groups, name = field.split(".")
    node = config
    for group in groups:
      if group not in node:
        node[group] = ConfigDict()
      node = node[group]
    node[name] = placeholder(setting.type) if setting.default is None else setting.default
  config.model.name = model
  config.lock()
  return config


def setting_of(config: ConfigDict, field: str) -> Setting:
  """The row of a field.

  Args:
    config: a configuration, whose architecture defines the options.
    field: dotted, as "optimizer.momentum" or "model.width".

  Returns:
    Its row in `SETTINGS`, or that of an option of the architecture.

  Raises:
    UserError: there is no such field; the message names those that are near.
  """
  rows = SETTINGS | _option_settings(config.model.name)
  if field in rows:
    return rows[field]
  path, fields = "config", list(_children(rows, ""))
  for name in field.split("."):
    if name not in fields:
      hint = nearest(name, fields) if fields else f"{path} is a plain value"
      raise UserError(f"{path} has no field {shown(name)}; {hint}")
    path = f"{path}.{name}"
    fields = list(_children(rows, path.removeprefix("config.") + "."))
  raise UserError(f"{path} is a group; set one of its fields: {', '.join(fields)}")


def set_from_text(config: ConfigDict, field: str, text: str) -> None:
  """Sets a field to what a text stands for, as `--config.FIELD=TEXT` does.

  Args:
    config: changed in place.
    field: dotted, as "optimizer.name".
    text: a number, a name, true or false, or numbers as "(0.4,0.5)". "None" resets a field that may be None.

  Raises:
    UserError: there is no such field, or `text` is no valid value of it.

  >>> config = default_config()
  >>> set_from_text(config, "optimizer.name", "sgd")
  >>> set_from_text(config, "steps", "300")
  >>> set_from_text(config, "steps", "None")
  >>> config.optimizer.name, config.steps
  ('sgd', None)
  """
  setting = setting_of(config, field)
  try:
    value = setting.read(text)
  except (ValueError, KeyError, SyntaxError, TypeError, MemoryError, RecursionError):
    raise _wrong(field, setting, text) from None
  if not setting.allows(value):
    raise _wrong(field, setting, value)
  _set(config, field, value)


def check(config: ConfigDict) -> None:
  """Checks that every field is there, of its type and in its range, and that the fields fit one another.

  What depends on devices or on the sizes of the data is checked where they are known, such as in
  `cnn_zoo.training.mesh.check_batch`.

  Args:
    config: a whole configuration.

  Raises:
    UserError: for the first field that is wrong; one line with its name, its value, what is valid and its meaning.

  >>> config = default_config()
  >>> config.ema_decay = 1.0
  >>> check(config)  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  cnn_zoo.errors.UserError: config.ema_decay=1.0 is not valid; valid: a number, at least 0 and below 1 (...)
  """
  if not isinstance(config, ConfigDict) or "model" not in config or "name" not in config.model:
    raise UserError(f"config is {shown(config)}; valid: what configs.base.get_config returns")
  values = _flat(config.to_dict())
  _check_field("model.name", SETTINGS["model.name"], values["model.name"])
  rows = SETTINGS | _option_settings(values["model.name"])
  for field, value in values.items():
    if field in rows:
      _check_field(field, rows[field], value)
    elif not (field.startswith("model.") and value is None):  # an unset option of another architecture
      setting_of(config, field)  # raises
  for field in SETTINGS:
    if field not in values:
      raise UserError(f"config.{field} is missing; valid: {SETTINGS[field].valid()} ({SETTINGS[field].meaning})")
  try:
    parse_convolution(config.model.convolution)
  except UserError as error:
    raise option_error("convolution", config.model.convolution, error) from None
  task = data.KINDS[data.SPECS[config.data.name].kind].TASK
  if config.task != task:
    raise UserError(f"config.task={config.task!r} does not fit config.data.name={config.data.name!r}; valid: {task}")
  _check_read(config)
  warmup, epochs = config.schedule.warmup_epochs, config.epochs
  if config.steps is None and warmup > epochs:
    raise UserError(
      f"config.schedule.warmup_epochs={warmup} is longer than training; valid: at most config.epochs={epochs}"
    )


def from_saved(saved: dict) -> ConfigDict:
  """The configuration that a run saved as JSON.

  Args:
    saved: what `config.to_dict()` was, or a part of it with "model" and its "name". A field that it lacks gets its
      default; a field that there is no longer is left out.

  Returns:
    A whole configuration, locked.

  Raises:
    UserError: its architecture is not known.

  >>> from_saved({"model": {"name": "m5"}, "data": {"mean": [0.0]}}).data.mean
  (0.0,)
  """
  values = _flat(saved)
  config = default_config(values["model.name"])
  rows = SETTINGS | _option_settings(values["model.name"])
  for field, value in values.items():
    if field in rows:
      _set(config, field, tuple(value) if isinstance(value, list) else value)
  return config


def check_same_run(saved: dict, config: ConfigDict, workdir: Path) -> None:
  """Checks that a saved run may be resumed with a configuration.

  Another length is allowed where the schedule does not depend on it (step, constant), or with config.schedule.extend.

  Args:
    saved: the configuration that the run was started with, as JSON.
    config: the one to resume it with.
    workdir: the run's folder, for the message.

  Raises:
    UserError: fields differ that make it another run; the message names three of them.
  """
  changed = _changed(saved, config)
  other = [field for field in changed if _resumed(field) == REFUSED]
  if other:
    more = f" and {len(other) - 3} more" if len(other) > 3 else ""
    what = "; ".join(_change(changed, field) for field in other[:3])
    raise UserError(f"workdir={str(workdir)!r} holds another run ({what}{more}); give another --workdir")
  length = [field for field in changed if _resumed(field) == LENGTH]
  if length and config.schedule.name in DEPEND_ON_LENGTH and not config.schedule.extend:
    was = ", ".join(f"--config.{field}={changed[field][0]}" for field in length)
    raise UserError(
      f"workdir={str(workdir)!r} holds a run of another length ({_change(changed, length[0])}), on which the "
      f"{config.schedule.name} schedule depends; valid: {was}, or --config.schedule.extend=True (from here on the "
      "learning rate is that of the new length), or another --workdir"
    )


def is_free(field: str) -> bool:
  """Whether a run may be resumed with another value of `field`, because its numbers do not depend on it.

  >>> is_free("data.workers"), is_free("batch_size")
  (True, False)
  """
  return _resumed(field) == FREE


def _option_settings(model):
  """Rows of the architecture's own options: of the type of their defaults; None leaves the default."""
  rows = {}
  for option, value in model_options(model).items():
    whole = isinstance(value, tuple) and all(isinstance(x, int) for x in value)
    rows[f"model.{option}"] = Setting(None, f"default: {value!r}", type(value), whole=whole)
  return rows


def _resumed(field):
  return SETTINGS[field].resumed if field in SETTINGS else REFUSED


def _changed(saved, config):
  """{field: (saved value, own value)} of those that differ and are not free; of the model first, as they say most."""
  own = _flat(json.loads(json.dumps(config.to_dict())))
  defaults = json.loads(json.dumps({field: setting.default for field, setting in SETTINGS.items()}))
  old = defaults | _flat(saved)
  new = defaults | own
  fields = sorted(new | old, key=lambda field: not field.startswith("model."))
  return {f: (old.get(f), new.get(f)) for f in fields if old.get(f) != new.get(f) and not is_free(f)}


def _change(changed, field):
  return "{}: {!r} -> {!r}".format(field, *changed[field])


def _check_field(field, setting, value):
  if not setting.allows(value):
    raise _wrong(field, setting, value)


def _check_read(config):
  """Refuses a field of `config.data` that the kind of the dataset does not read, unless it has its default.

  Lengths are allowed: files of configs/ set them for their model, whatever the dataset.
  """
  name = config.data.name
  kind = data.SPECS[name].kind
  lengths = {field for other in data.KINDS.values() for field in other.SIZES}
  read = {field for other in data.KINDS.values() for field in other.SETTINGS}
  for field in sorted(read - lengths - set(data.KINDS[kind].SETTINGS)):
    value, default = config.data[field], SETTINGS[f"data.{field}"].default
    if value != default:
      raise UserError(
        f"config.data.{field}={value!r} does not apply to config.data.name={name!r}, of kind {kind}; valid: {default!r}"
      )


def _wrong(field, setting, value):
  """The error that says that `value` cannot be: of a name, with those that are near."""
  if setting.choices:
    return UserError(f"config.{field}={shown(value)} is not known; {nearest(str(value)[:100], setting.choices)}")
  valid = f"{setting.valid()} ({setting.meaning})"
  return UserError(f"config.{field}={shown(value)} is not valid; valid: {valid}")


def _children(fields, prefix):
  """The names right below `prefix` in dotted `fields`, in order."""
  return dict.fromkeys(f.removeprefix(prefix).split(".")[0] for f in fields if f.startswith(prefix))


def _set(config, field, value):
  *groups, name = field.split(".")
  for group in groups:
    config = config[group]
  with config.ignore_type(), config.unlocked():  # None, whole numbers for others; options of another architecture
    config[name] = value


def _flat(tree, prefix=""):
  flat = {}
  for key, value in tree.items():
    is_group = isinstance(value, dict) and value
    flat |= _flat(value, f"{prefix}{key}.") if is_group else {f"{prefix}{key}": value}
  return flat
