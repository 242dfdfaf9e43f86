"""Mistakes of the person at the keyboard, told in one line that names the field, the value and what would be valid."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
  """Something that the user asked for cannot be done. The command line prints it as one line and exits with code 2."""


class InputTooSmallError(UserError):
  """An input has fewer elements along an axis than a layer needs, or than pooling (`in_pooling`), which is no layer."""

  in_pooling = False


def nearest(name: str, valid: Iterable[str]) -> str:
  """A clause that says what `name` was probably meant to be: 'did you mean ...?', or all of `valid`."""
  valid = sorted(valid)
  close = difflib.get_close_matches(str(name), valid, n=3, cutoff=0.5)
  return f"did you mean {' or '.join(close)}?" if close else f"valid: {', '.join(valid)}"


def check_name(field: str, name: str, valid: Iterable[str]) -> None:
  """Raises UserError unless `name`, the value of `field`, is one of `valid`."""
  valid = list(valid)
  if name not in valid:
    raise UserError(f"{field}={name!r} is not known; {nearest(name, valid)}")
