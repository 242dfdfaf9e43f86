"""Every public name of a package has a docstring with its arguments, its result and an example."""

import doctest
import importlib
import inspect
import pkgutil
import re
from types import ModuleType

import pytest

import cnn_zoo

PACKAGES = ("cnn_zoo", *(f"cnn_zoo.{info.name}" for info in pkgutil.iter_modules(cnn_zoo.__path__) if info.ispkg))


def public_names(package: ModuleType) -> list[str]:
  """`__all__`, or "module.name" as the docstring lists them of a package whose modules are imported one by one."""
  return getattr(package, "__all__", None) or re.findall(r"`(\w+\.\w+)`", package.__doc__ or "")


def exported() -> list[tuple[str, str, object]]:
  """(package, name, object) of the public classes and functions of the packages, each once."""
  found = {}
  for package in PACKAGES:
    module = importlib.import_module(package)
    for name in public_names(module):
      inner, _, last = name.rpartition(".")
      value = getattr(importlib.import_module(f"{package}.{inner}") if inner else module, last)
      if inspect.isclass(value) or inspect.isroutine(value):
        found.setdefault(id(value), (package, name, value))
  return list(found.values())


def faults(value: object) -> list[str]:
  """What the docstring of a class or function lacks."""
  text = inspect.getdoc(value) if value.__doc__ else None
  if not text:
    return ["a docstring"]
  if inspect.isclass(value) and issubclass(value, Exception):
    return []  # the docstring says when it is raised
  missing = []
  if not doctest.DocTestParser().get_examples(text):
    missing.append("an example (>>>)")
  if _has_parameters(value):  # otherwise the first line says what is returned
    if not re.search(r"^(Args|Attributes):$", text, re.MULTILINE):
      missing.append("Args:")
    if _returns(value) and not re.search(r"^(Returns|Yields):$", text, re.MULTILINE):
      missing.append("Returns:")
  return missing


def _has_parameters(value):
  parameters = inspect.signature(value).parameters.values()
  return any(p.name != "rngs" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)


def _returns(value):
  if inspect.isclass(value) or inspect.isgeneratorfunction(inspect.unwrap(value)):  # a context manager
    return False
  return inspect.signature(value).return_annotation not in (
    None,
    "None",
    inspect.Signature.empty,
  )


def documented(x: int) -> int:
  """Doubles.

  Args:
    x: any number.

  Returns:
    Twice that.

  >>> 2 * 2
  4
  """


class Bare:
  """A class."""

  def __init__(self, size):
    self.size = size


def test_faults_are_found():
  assert faults(documented) == []
  assert faults(Bare) == ["an example (>>>)", "Args:"]
  assert faults(lambda x: x) == ["a docstring"]


@pytest.mark.parametrize("package", PACKAGES)
def test_exported_names(package):
  assert public_names(importlib.import_module(package))
  missing = {name: faults(value) for module, name, value in exported() if module == package}
  lines = [f"{package}.{name} lacks {', '.join(what)}" for name, what in missing.items() if what]
  assert not lines, "\n".join(lines)
