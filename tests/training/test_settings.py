"""Every row of the table of settings: what it accepts, what it refuses, and what a change does to a resumed run."""

import json
import math
import re
from pathlib import Path

import pytest

from cnn_zoo import data
from cnn_zoo.errors import UserError
from cnn_zoo.models import list_models, model_options
from cnn_zoo.training.settings import (
  FREE,
  LENGTH,
  REFUSED,
  SETTINGS,
  check,
  check_same_run,
  default_config,
  from_saved,
  set_from_text,
)
from configs import base

NUMERIC = [field for field, setting in SETTINGS.items() if setting.type in (int, float, tuple)]
INFINITE = [math.nan, math.inf, -math.inf]


def limits(setting):
  """(low, whether included, high, whether included)."""
  low, high = map(float, setting.interval[1:-1].split(","))
  return low, setting.interval[0] == "[", high, setting.interval[-1] == "]"


def just_inside(setting):
  """The extreme values that a number may have."""
  low, includes_low, high, includes_high = limits(setting)
  if setting.type is int:
    return [int(low), int(high)]
  return [low if includes_low else math.nextafter(low, high), high if includes_high else math.nextafter(high, low)]


def just_outside(setting):
  low, includes_low, high, includes_high = limits(setting)
  if setting.type is int:
    return [int(low) - 1, int(high) + 1]
  return [
    math.nextafter(low, -math.inf) if includes_low else low,
    math.nextafter(high, math.inf) if includes_high else high,
  ]


def wrong_types(setting):
  wrong = {
    int: [1.5, "1", True, (1,), [1]],
    float: ["1", True, (1.0,), {}],
    bool: [1, 0.0, "true"],
    tuple: [1.0, "1", (), ("a",), (None,), (True,), ((1.0,),)],
    str: [1, True, ("a",)],
  }[setting.type]
  return wrong if setting.default is None else [*wrong, None]


def assign(field, value):
  """The default configuration with this field set, whatever its type, as a config file can do."""
  config = default_config()
  node = config
  *groups, name = field.split(".")
  for group in groups:
    node = node[group]
  with node.unlocked():
    del node[name]  # ConfigDict makes 1.0 of True in a field that was 0.5
    node[name] = value
  return config


def value_of(config, field):
  for name in field.split("."):
    config = config[name]
  return config


def refused(field, value):
  with pytest.raises(UserError) as caught:
    check(assign(field, value))
  message = str(caught.value)
  assert message.startswith(f"config.{field}=") and "\n" not in message and len(message) < 1500
  return message


def elements(setting, values):
  """Of a tuple, tuples in which one element has the value."""
  return [(0.5, value) for value in values] if setting.type is tuple else values


def test_defaults():
  check(default_config())


@pytest.mark.parametrize("field", SETTINGS)
def test_row(field):
  setting = SETTINGS[field]
  assert setting.meaning and setting.resumed in (REFUSED, FREE, LENGTH)
  assert setting.allows(setting.default)
  assert setting.default is None or type(setting.default) is setting.type
  for value in wrong_types(setting):
    assert not setting.allows(value), value
    message = refused(field, value)
    assert "; valid: " in message or "; did you mean " in message


@pytest.mark.parametrize("field", NUMERIC)
def test_numbers(field):
  setting = SETTINGS[field]
  low, _, high, _ = limits(setting)
  assert math.isfinite(low) and math.isfinite(high)
  for value in elements(setting, just_inside(setting)):
    assert setting.allows(value), value
  for value in elements(setting, [*just_outside(setting), *INFINITE]):
    assert f"; valid: {setting.valid()} (" in refused(field, value)


@pytest.mark.parametrize("field", [field for field in NUMERIC if SETTINGS[field].type is not tuple])
def test_text_of_numbers(field):
  """From the command line: limits are read back exactly; what is no number and what is not finite is refused."""
  setting, config = SETTINGS[field], default_config()
  for value in just_inside(setting):
    set_from_text(config, field, repr(value))
    assert value_of(config, field) == value
  for text in ("nan", "inf", "-inf", "1e999", "many", "", "9" * 5000, *map(repr, just_outside(setting))):
    with pytest.raises(UserError, match=rf"^config\.{field}=.*; valid: ") as caught:
      set_from_text(config, field, text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("field", [field for field, setting in SETTINGS.items() if setting.choices])
def test_choices(field):
  setting = SETTINGS[field]
  assert all(setting.allows(choice) for choice in setting.choices)
  message = refused(field, setting.choices[0] + "x")
  assert f"config.{field}='{setting.choices[0]}x' is not known; did you mean " in message
  assert setting.choices[0] in message


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("data.mean", ("a",)),
    ("data.mean", (None,)),
    ("data.mean", (math.inf,)),
    ("data.std", (0.0,)),
    ("data.std", (0.2, -0.2, 0.2)),
    ("data.std", (math.nan,)),
    ("optimizer.momentum", 1.0),
    ("optimizer.decay", 1.0),
    ("ema_decay", 1.0),
    ("steps", 2**31),
    ("seed", 2**32),
    ("init", "a\nb"),
    ("data.validation", 1.0),
    ("model.convolution", "nonsense"),
    ("model.convolution", "dilated:dilatoin=2"),
  ],
)
def test_refused(field, value):
  refused(field, value)


@pytest.mark.parametrize("text", ["((((" * 500, "(", "1,,", "x", "{}", "'a'", "(1, 'a')", "()"])
def test_tuples_as_text(text):
  with pytest.raises(UserError, match=r"^config\.data\.mean=.* is not valid; valid: numbers such as \(1,2\), each at"):
    set_from_text(default_config(), "data.mean", text)


def test_options_of_every_architecture():
  """Each is of the type of its default; None leaves the architecture's value."""
  seen = set()
  for model in list_models():
    for option, value in model_options(model).items():
      if (option, type(value)) in seen:
        continue
      seen.add((option, type(value)))
      config = default_config(model)
      assert config.model[option] is None
      config.model[option] = value
      check(config)
      config.model.unlock()
      for wrong in [{}, b"1", math.nan, math.inf, ("a",), (None,)]:
        del config.model[option]
        config.model[option] = wrong
        with pytest.raises(UserError, match=rf"^config\.model\.{option}=.* is not valid"):
          check(config)
  assert len(seen) > 15


@pytest.mark.parametrize(
  ("field", "text", "says"),
  [
    ("model.width", "wide", r"config\.model\.width='wide' is not valid; valid: a number, or None \(default: 1\.0\)"),
    ("model.widht", "1", r"config\.model has no field 'widht'; did you mean width"),
    ("optimiser.name", "sgd", r"config has no field 'optimiser'; did you mean optimizer"),
    ("optimizer", "sgd", r"config\.optimizer is a group; set one of its fields: name, learning_rate, momentum"),
    ("seed.x", "3", r"config\.seed has no field 'x'; config\.seed is a plain value"),
  ],
)
def test_fields(field, text, says):
  with pytest.raises(UserError, match=says):
    set_from_text(default_config("mobilenet_v2"), field, text)


def test_a_field_too_many_or_too_few():
  config = default_config()
  with config.unlocked():
    config.optimizer.nesterov = True
  with pytest.raises(UserError, match=r"^config\.optimizer has no field 'nesterov'"):
    check(config)
  config = default_config()
  with config.unlocked():
    del config.ema_decay
  with pytest.raises(UserError, match=r"^config\.ema_decay is missing; valid: a number, at least 0 and below 1"):
    check(config)


def test_warmup_is_not_longer_than_training():
  config = default_config()
  config.epochs = config.schedule.warmup_epochs = 2.0
  check(config)
  config.schedule.warmup_epochs = 2.5
  with pytest.raises(
    UserError, match=r"warmup_epochs=2\.5 is longer than training; valid: at most config\.epochs=2\.0"
  ):
    check(config)
  config.steps = 10  # a short trial of a long recipe
  check(config)


@pytest.mark.parametrize(
  ("dataset", "field", "value", "valid"),
  [
    ("digits", "noise", 0.1, "0.0"),
    ("waveforms", "flip", True, "False"),
    ("waveforms", "crop", "random", "'resize'"),
    ("moving_digits", "time_shift", 0.1, "0.0"),
    ("digit_scenes", "gain", 6.0, "0.0"),
  ],
)
def test_augmentations_of_another_kind(dataset, field, value, valid):
  config = base.get_config("resnet18", dataset)
  check(config)
  config.data[field] = value
  says = f"config.data.{field}={value!r} does not apply to config.data.name={dataset!r}, of kind "
  with pytest.raises(UserError, match=rf"^{re.escape(says)}\w+; valid: {re.escape(valid)}$"):
    check(config)


@pytest.mark.parametrize("kind", data.KINDS)
def test_fields_that_a_kind_reads(kind):
  """Each has a row. Those of its own may have any value, and lengths may for every kind."""
  config = base.get_config("resnet18", next(name for name, spec in data.SPECS.items() if spec.kind == kind))
  config.data.update(frames=3, samples=3, image_size=3)
  for field in data.KINDS[kind].SETTINGS:
    setting = SETTINGS[f"data.{field}"]
    config.data[field] = {bool: True, int: 3, float: 0.5, str: "random"}[setting.type]
  check(config)


def saved(config, *without):
  tree = json.loads(json.dumps(config.to_dict()))
  for field in without:
    *groups, name = field.split(".")
    node = tree
    for group in groups:
      node = node[group]
    del node[name]
  return tree


@pytest.mark.parametrize("field", SETTINGS)
def test_resumed_run(field):
  """A change is refused, unless the row says that it is free; a length depends on the schedule."""
  setting, was = SETTINGS[field], default_config()
  other = next((choice for choice in setting.choices if choice != setting.default), None)
  values = {bool: True, str: other or "other", int: 3, float: 0.5, tuple: (0.4,)}
  config = assign(field, values[setting.type])
  if field == "model.name":
    config = default_config(other)
  if setting.resumed == FREE:
    check_same_run(saved(was), config, Path("run"))
  else:
    says = "another run" if setting.resumed == REFUSED else "a run of another length"
    with pytest.raises(UserError, match=rf"^workdir='run' holds {says} \({re.escape(field)}: [^;]*\)"):
      check_same_run(saved(was), config, Path("run"))


@pytest.mark.parametrize("field", SETTINGS)
def test_a_field_that_a_saved_run_lacks_counts_as_its_default(field):
  if field == "model.name":
    return
  config = default_config()
  check_same_run(saved(config, field), config, Path("run"))
  assert from_saved(saved(config, field)) == config


@pytest.mark.parametrize(
  ("name", "extend", "allowed"),
  [
    ("cosine", False, False),
    ("cosine", True, True),
    ("step", False, True),
    ("constant", False, True),
  ],
)
def test_another_length(name, extend, allowed):
  config = default_config()
  config.schedule.name = name
  was = saved(config)
  config.update(epochs=40.0, steps=10)
  config.schedule.extend = extend
  if allowed:
    check_same_run(was, config, Path("run"))
    return
  says = (
    r"epochs: 20.0 -> 40.0.*; valid: --config\.epochs=20\.0, --config\.steps=None, or --config\.schedule\.extend=True"
  )
  with pytest.raises(UserError, match=says):
    check_same_run(was, config, Path("run"))


def test_many_differences():
  """The architecture is named first."""
  config = default_config()
  was = saved(config)
  config.update(batch_size=1, seed=1, label_smoothing=0.1)
  config.model.convolution = "depthwise_separable"
  with pytest.raises(UserError, match=r"another run \(model\.convolution: 'standard' -> .* and 1 more\); give another"):
    check_same_run(was, config, Path("run"))
