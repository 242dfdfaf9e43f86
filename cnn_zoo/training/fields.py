"""What is said of a field of the configuration: its default, its meaning, what is valid, what a change does."""

import ast
import dataclasses
import math
from collections.abc import Iterable

from cnn_zoo.errors import UserError

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

  >>> rate = number(0.9, "[0, 1)", "of the running average")
  >>> rate.allows(0.5), rate.allows(1.0), rate.allows("0.5"), rate.read("0.5")
  (True, False, False, 0.5)
  >>> rate.valid()
  'a number, at least 0 and below 1'

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


def whole(default: int | None, interval: str, meaning: str, resumed: str = REFUSED) -> Setting:
  """The row of a whole number."""
  return Setting(default, meaning, int, interval, resumed=resumed)


def number(default: float | None, interval: str, meaning: str, resumed: str = REFUSED) -> Setting:
  """The row of a number."""
  return Setting(default, meaning, float, interval, resumed=resumed)


def numbers(default: tuple[float, ...], interval: str, meaning: str) -> Setting:
  """The row of a tuple of numbers."""
  return Setting(default, meaning, tuple, interval)


def switch(default: bool, meaning: str, resumed: str = REFUSED) -> Setting:
  """The row of what is true or false."""
  return Setting(default, meaning, bool, resumed=resumed)


def choice(default: str, choices: Iterable[str], meaning: str, resumed: str = REFUSED) -> Setting:
  """The row of one name of several."""
  return Setting(default, meaning, str, choices=tuple(choices), resumed=resumed)


def text(default: str | None, meaning: str, resumed: str = REFUSED) -> Setting:
  """The row of any text, such as the path of a folder."""
  return Setting(default, meaning, str, resumed=resumed)


def shown(value: object) -> str:
  """A value in a message, cut off if it is long."""
  text = repr(value)
  return text if len(text) <= 80 else f"{text[:77]}..."


def option_error(option: str, value: object, error: UserError) -> UserError:
  """An architecture's error about one of its options, which names the field of the configuration.

  >>> str(option_error("depth", 0, UserError("depth=0 must be at least 1")))
  'config.model.depth=0 must be at least 1'
  >>> str(option_error("dropout_rate", 2.0, UserError("rate=2.0 of Dropout must be below 1")))
  'config.model.dropout_rate=2.0 is not valid: rate=2.0 of Dropout must be below 1'
  """
  says = str(error)
  if says.startswith(f"{option}="):
    return UserError(f"config.model.{says}")
  return UserError(f"config.model.{option}={shown(value)} is not valid: {says}")
