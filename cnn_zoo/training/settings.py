"""Every setting of a run: its default, what it means, what is valid, and what changing it does to a resumed run.

`SETTINGS` has one row a field. `default_config` makes a configuration of it, `check` says whether one can be run, and
`check_same_run` whether it may resume a given run. The options of an architecture, `config.model.*`, follow from its
constructor (`cnn_zoo.models.model_options`).
"""

import ast
import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from cnn_zoo import data
from cnn_zoo.data.kinds.image import CROPS
from cnn_zoo.errors import UserError, check_name, nearest
from cnn_zoo.models import list_models, model_options
from cnn_zoo.tasks import TASKS
from cnn_zoo.training.optimizers import OPTIMIZERS
from cnn_zoo.training.schedules import DEPEND_ON_LENGTH, SCHEDULES

# What it does to a resumed run if a field differs from the saved one.
REFUSED = "refused"  # other numbers: it is another run
FREE = "free"  # the same numbers, elsewhere or at another speed
LENGTH = "length"  # the run is extended; if its schedule depends on the length, only with schedule.extend

_KINDS: dict[type, str] = {
  int: "a whole number",
  float: "a number",
  bool: "true or false",
  tuple: "numbers such as (1,2)",
  str: "text",
}


@dataclasses.dataclass(frozen=True)
class Setting:
  """One row: a field of the configuration.

  Attributes:
    default: its value unless an experiment file or the command line changes it. A field whose default is None may be
      set to None.
    meaning: what it is, in a few words.
    type: int, float, bool, str or tuple (of numbers).
    interval: of a number, or of each element of a tuple: "[low, high]"; a round bracket excludes that limit.
    choices: of a name, all that are valid.
    resumed: what it does to a resumed run if it differs: `REFUSED`, `FREE` or `LENGTH`.
    whole: whether the elements of a tuple are whole numbers.
  """

  default: object
  meaning: str
  type: type
  interval: str = "(-inf, inf)"
  choices: tuple[str, ...] = ()
  resumed: str = REFUSED
  whole: bool = False

  def read(self, text: str) -> object:
    """The value that `text`, from a command line, stands for.

    Raises:
      ValueError: it is no value of this type.
    """
    if text == "None" and self.default is None:
      return None
    if self.type is bool:
      return {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}[text.lower()]
    if self.type is tuple:
      value = ast.literal_eval(text)
      return tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return self.type(text)

  def allows(self, value: object) -> bool:
    """Whether `value` is of the type and in the range."""
    if value is None:
      return self.default is None
    if self.choices:
      return value in self.choices
    if self.type is tuple:
      numbers = isinstance(value, (tuple, list)) and len(value) > 0
      return numbers and all(self._allows_number(x, int if self.whole else float) for x in value)
    if self.type in (int, float):
      return self._allows_number(value, self.type)
    return isinstance(value, self.type) and (not isinstance(value, str) or value.isprintable())

  def valid(self) -> str:
    """What is valid, in words."""
    if self.choices:
      return ", ".join(self.choices)
    words = _KINDS[self.type]
    low, high = self._limits()
    bounds = []
    if math.isfinite(low):
      bounds.append(f"{'at least' if self.interval[0] == '[' else 'above'} {low:.10g}")
    if math.isfinite(high):
      bounds.append(f"{'at most' if self.interval[-1] == ']' else 'below'} {high:.10g}")
    if bounds and self.type in (int, float, tuple):
      words += f"{', each' if self.type is tuple else ','} {' and '.join(bounds)}"
    return words + (", or None" if self.default is None else "")

  def _limits(self):
    return [float(limit) for limit in self.interval[1:-1].split(",")]

  def _allows_number(self, value, kind):
    wanted = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or not (kind is int or math.isfinite(value)):
      return False
    low, high = self._limits()
    above = value >= low if self.interval[0] == "[" else value > low
    return above and (value <= high if self.interval[-1] == "]" else value < high)


def _whole(default, interval, meaning, resumed=REFUSED):
  return Setting(default, meaning, int, interval, resumed=resumed)


def _number(default, interval, meaning, resumed=REFUSED):
  return Setting(default, meaning, float, interval, resumed=resumed)


def _numbers(default, interval, meaning):
  return Setting(default, meaning, tuple, interval)


def _flag(default, meaning, resumed=REFUSED):
  return Setting(default, meaning, bool, resumed=resumed)


def _name(default, choices: Iterable[str], meaning, resumed=REFUSED):
  return Setting(default, meaning, str, choices=tuple(choices), resumed=resumed)


def _text(default, meaning, resumed=REFUSED):
  return Setting(default, meaning, str, resumed=resumed)


STEPS = "[1, 2147483647]"  # counted in int32
BATCH = "[1, 1048576]"
EPOCHS = "(0, 1000000]"

# fmt: off
SETTINGS: dict[str, Setting] = {
  "seed": _whole(0, "[0, 4294967295]", "of initial weights, order of the data, augmentation and training noise"),
  "init": _text(None, "folder of a run, or of scripts/import_weights.py, whose weights this run starts from"),
  "task": _name("classification", TASKS, "what the labels mean, which decides on loss and metrics"),
  "dtype": _name("auto", ("float32", "bfloat16", "auto"),
                 "what the model computes in; auto: bfloat16 on GPU and TPU, else float32"),
  "convolution_lowering": _name("auto", ("auto", "lax"),
                                "auto: the measured best for the backend; lax: XLA's own everywhere", FREE),
  "compilation_cache": _text("~/.cache/cnn_zoo", "where compiled programs are kept between runs; '' for nowhere", FREE),

  # config.model.* also has the architecture's own options; None leaves the architecture's value.
  "model.name": _name("lenet5", list_models(), "the architecture"),
  "model.convolution": _text("standard", "what replaces its k x k convolutions: NAME or NAME:option=value,keep=LAYER"),

  "data.name": _name("digits", data.list_datasets(), "the dataset"),
  "data.directory": _text(None, "of prepared TFDS data; None: $TFDS_DATA_DIR or ~/tensorflow_datasets", FREE),
  "data.validation": _number(0.1, "[0, 1)",
                             "share of the training examples held out to choose the best checkpoint; "
                             "0: it is chosen on the test set"),
  "data.image_size": _whole(32, "[1, 16384]", "pixels a side that the model sees, of images, clips and scenes"),
  "data.frames": _whole(16, "[1, 16384]", "of a clip"),
  "data.samples": _whole(8000, "[1, 16777216]", "of a waveform"),
  "data.workers": _whole(0, "[0, 1024]", "processes that load and augment; 0: threads of this process", FREE),
  "data.crop": _name("resize", CROPS,
                     "training crops: resize (the whole image) or random (Inception's random resized crop)"),
  "data.min_area": _number(0.08, "(0, 1]", "crop='random': the smallest share of the image's area"),
  "data.test_crop": _number(0.875, "[0.01, 1]", "crop='random': the share of the shorter side that is evaluated"),
  "data.flip": _flag(False, "mirror half of the training images (whole clips) left to right"),
  "data.shift": _number(0.0, "[0, 1]", "largest shift in training, as a share of the side"),
  "data.rotate": _number(0.0, "[0, 180]", "largest rotation in training, degrees"),
  "data.zoom": _number(0.0, "[0, 10]", "largest relative zoom in training, in or out"),
  "data.time_shift": _number(0.0, "[0, 1]", "waveforms: largest shift in training, as a share of the length"),
  "data.gain": _number(0.0, "[0, 100]", "waveforms: largest change of level in training, dB"),
  "data.noise": _number(0.0, "[0, 1]", "waveforms: largest level of noise added in training, as a share of full scale"),
  "data.mean": _numbers((0.5,), "[-1000, 1000]",
                        "subtracted from pixels in [0, 1], samples in [-1, 1]: one number, or one per channel"),
  "data.std": _numbers((0.25,), "(0, 1000]", "what they are then divided by"),

  "batch_size": _whole(64, BATCH, "examples in a step, over all devices and processes"),
  "accumulate": _whole(1, BATCH, "parts in which a batch is computed, one after another, to save memory"),
  "epochs": _number(20.0, EPOCHS, "length of training; may be a fraction", LENGTH),
  "steps": _whole(None, STEPS, "length of training in steps, instead of epochs", LENGTH),
  "label_smoothing": _number(0.0, "[0, 1)", "probability spread evenly over all classes"),
  "ema_decay": _number(0.0, "[0, 1)", "of the averaged copy of the weights that is evaluated; 0: none"),
  "on_nan": _name("stop", ("stop", "continue"),
                  "when the loss is not finite: stop (keeping the last good checkpoint) or continue", FREE),

  "optimizer.name": _name("adamw", OPTIMIZERS, "the rule, a function of cnn_zoo/training/optimizers.py"),
  "optimizer.learning_rate": _number(1e-3, "[0, 1000]", "the largest, for this batch size"),
  "optimizer.momentum": _number(0.9, "[0, 1)", "of the gradient's average; beta 1 of Adam and its kind"),
  "optimizer.decay": _number(0.999, "[0, 1)", "of the average of squared gradients; beta 2 of Adam and its kind"),
  "optimizer.epsilon": _number(1e-8, "(0, 1000]", "added to the denominator (rmsprop: under the root)"),
  "optimizer.weight_decay": _number(0.0, "[0, 1000]",
                                    "of kernels only; decoupled in Adam's kind, else added to the gradient"),
  "optimizer.clip_norm": _number(0.0, "[0, 1e9]", "largest norm of the whole gradient; 0: not clipped"),

  "schedule.name": _name("cosine", SCHEDULES,
                         "cosine (to zero), step (times decay_rate every decay_epochs) or constant"),
  "schedule.warmup_epochs": _number(0.0, "[0, 1000000]", "of linear growth from zero"),
  "schedule.decay_rate": _number(0.1, "(0, 1]", "name='step': what the rate is multiplied by"),
  "schedule.decay_epochs": _number(30.0, EPOCHS, "name='step': how often"),
  "schedule.extend": _flag(False, "lets a run with the cosine schedule resume with more epochs or steps", FREE),

  "batch_norm.momentum": _number(None, "[0, 1)", "of the running averages; None: the architecture's"),
  "batch_norm.group_size": _whole(None, BATCH, "examples that share statistics; None: the whole batch"),

  "eval.every_epochs": _number(1.0, EPOCHS, "how often the model is evaluated; always at the end"),
  "eval.batch_size": _whole(256, BATCH, "examples in an evaluation step; the result does not depend on it", FREE),

  "checkpoint.every_steps": _whole(1000, STEPS, "how often the run is saved; always at the end and at a new best",
                                   FREE),
  "checkpoint.keep": _whole(2, "[1, 1000000]", "how many of the last checkpoints are kept, besides the best", FREE),

  "log_every_steps": _whole(10, STEPS, "how often training metrics are written"),
}
# fmt: on


def default_config(model: str = "lenet5") -> ConfigDict:
  """Every setting at its default, with the options of architecture `model`; locked, so that no field can be added.

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
  """The row of a field, "optimizer.momentum" or an option of the architecture such as "model.width".

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
      raise UserError(f"{path} has no field {_shown(name)}; {hint}")
    path = f"{path}.{name}"
    fields = list(_children(rows, path.removeprefix("config.") + "."))
  raise UserError(f"{path} is a group; set one of its fields: {', '.join(fields)}")


def set_from_text(config: ConfigDict, field: str, text: str) -> None:
  """Sets a field to what `text` stands for, as `--config.FIELD=TEXT` does; "None" resets a field that may be None.

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
  """Raises UserError unless every field is there, of its type and in its range, and the fields fit one another.

  What depends on devices or on the data's sizes is checked where they are known, such as in
  `cnn_zoo.training.mesh.check_batch`.

  >>> config = default_config()
  >>> config.ema_decay = 1.0
  >>> check(config)  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  cnn_zoo.errors.UserError: config.ema_decay=1.0 is not valid; valid: a number, at least 0 and below 1 (...)
  """
  if not isinstance(config, ConfigDict) or "model" not in config or "name" not in config.model:
    raise UserError(f"config is {_shown(config)}; valid: what configs.base.get_config returns")
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
  warmup, epochs = config.schedule.warmup_epochs, config.epochs
  if config.steps is None and warmup > epochs:
    raise UserError(
      f"config.schedule.warmup_epochs={warmup} is longer than training; valid: at most config.epochs={epochs}"
    )


def from_saved(saved: dict) -> ConfigDict:
  """The configuration that a run saved as JSON; a field that it lacks has its default.

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
  """Raises UserError if the run in `workdir`, configured as `saved`, may not be resumed with `config`.

  Another length is allowed where the schedule does not depend on it (step, constant), or with config.schedule.extend.
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


def differences(saved: dict, config: ConfigDict) -> list[str]:
  """Where `config` differs from a saved one so that the run would not be the same: "field: old -> new".

  A field that the saved one lacks counts as its default.

  >>> differences({"model": {"name": "lenet5"}, "epochs": 8.0}, default_config())
  ['epochs: 8.0 -> 20.0']
  """
  changed = _changed(saved, config)
  return [_change(changed, field) for field in changed]


def is_free(field: str) -> bool:
  """Whether a run may be resumed with another value of `field`, because its numbers do not depend on it."""
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


def _wrong(field, setting, value):
  """The error that says that `value` cannot be: of a name, with those that are near."""
  if setting.choices:
    return UserError(f"config.{field}={_shown(value)} is not known; {nearest(str(value)[:100], setting.choices)}")
  valid = f"{setting.valid()} ({setting.meaning})"
  return UserError(f"config.{field}={_shown(value)} is not valid; valid: {valid}")


def _shown(value):
  text = repr(value)
  return text if len(text) <= 80 else f"{text[:77]}..."


def _children(fields, prefix):
  """The names right below `prefix` in dotted `fields`, in order."""
  return dict.fromkeys(f.removeprefix(prefix).split(".")[0] for f in fields if f.startswith(prefix))


def _set(config, field, value):
  *groups, name = field.split(".")
  for group in groups:
    config = config[group]
  with config.ignore_type():  # None, and whole numbers for others
    config[name] = value


def _flat(tree, prefix=""):
  flat = {}
  for key, value in tree.items():
    is_group = isinstance(value, dict) and value
    flat |= _flat(value, f"{prefix}{key}.") if is_group else {f"{prefix}{key}": value}
  return flat
