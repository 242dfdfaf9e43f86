"""Errors of the user, reported in one line that names the field, the value and what would be valid."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
  """Something that the user asked for cannot be done. The command line prints it as one line and exits with code 2."""


class DamageError(RuntimeError):
  """What a run saved cannot be read as it was written. The command line prints it as one line and exits with code 1."""


class InputTooSmallError(UserError):
  """An input has fewer elements along an axis than a layer needs, or than pooling (`in_pooling`), which is no layer."""

  in_pooling = False


class BatchTooSmallError(UserError):
  """A training step has a single value per channel where batch normalisation needs statistics."""


def nearest(name: str, valid: Iterable[str]) -> str:
  """A clause for a message: the valid names closest to `name`, or all of them.

  Args:
    name: what the user gave.
    valid: what would be valid.

  Example:
    >>> nearest("resnet", ["resnet18", "vgg11"]), nearest("x", ["resnet18", "vgg11"])
    ('did you mean resnet18?', 'valid: resnet18, vgg11')
  """
  valid = sorted(valid)
  close = difflib.get_close_matches(str(name), valid, n=3, cutoff=0.5)
  return f"did you mean {' or '.join(close)}?" if close else f"valid: {', '.join(valid)}"


def check_name(field: str, name: str, valid: Iterable[str]) -> None:
  """Checks that a name is valid.

  Args:
    field: whose value the name is.
    name: what the user gave.
    valid: the valid names.

  Raises:
    UserError: if `name` is not one of `valid`.

  Example:
    >>> check_name("model", "resnet19", ["resnet18", "vgg11"])
    Traceback (most recent call last):
      ...
    cnn_zoo.errors.UserError: model='resnet19' is not known; did you mean resnet18?
  """
  valid = list(valid)
  if name not in valid:
    raise UserError(f"{field}={name!r} is not known; {nearest(name, valid)}")
