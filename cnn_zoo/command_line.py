"""The command line of train.py, eval.py and the scripts: flags in, one call, exit code out."""

import ast
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from cnn_zoo.errors import UserError, check_name, nearest
from cnn_zoo.memory import configure_runtime


def run(
  commands: Callable[..., None] | Mapping[str, Callable[[], None]],
  argv: list[str] | None = None,
  takes_arguments: bool = False,
) -> None:
  """Parses the flags, calls one function and exits: 0; 1 if the run broke; 2, after one line, for a user's mistake.

  Args:
    commands: that function; or several by name, of which the one argument that is not a flag chooses.
    argv: the command line (default: sys.argv).
    takes_arguments: whether the one function is called with what is not a flag, such as names of files.
  """

  def guarded(function, *arguments):
    try:
      return function(*arguments)
    except UserError as error:
      message = str(error)
    except flags.Error as error:
      message = str(error)
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)

  configure_runtime()
  logging.set_verbosity(logging.ERROR)  # TFDS and Orbax tell of every file they touch

  def chosen(rest):
    words, main = rest[1:], commands
    if isinstance(commands, Mapping):
      if not words:
        raise UserError(f"give a command; valid: {', '.join(commands)}")
      check_name("command", words[0], commands)
      main = commands[words.pop(0)]
    if takes_arguments:
      return main(*words)
    if words:
      raise UserError(f"{words[0]!r} is not a flag; flags begin with --")
    return main()

  app.run(lambda rest: guarded(chosen, rest), argv, flags_parser=lambda args: guarded(_parse, args))


# --config VALUE and --config.field VALUE, which flags allow in place of --config=VALUE.
_IS_CONFIG = re.compile(r"--?config(\.[\w.]+)?$").match


def _parse(argv):
  typed = [f"{a}={b}" if _IS_CONFIG(a) else a for a, b in zip(argv[1:], [*argv[2:], ""], strict=False)]
  overrides = [arg for arg in typed if arg.startswith(("--config.", "-config.", "--noconfig."))]
  given = [arg for arg in typed if arg.startswith(("--config=", "-config="))]
  if given:
    _check_overrides(load_config(given[-1].split("=", 1)[1]), overrides)
  elif overrides:
    raise UserError(f"{overrides[0].split('=')[0]} needs --config=configs/NAME.py")
  return flags.FLAGS(argv)


def load_config(path: str) -> ConfigDict:
  """What get_config of the file `path` returns; in PATH:ARGUMENT the argument, usually a dataset, is passed to it."""
  path, _, argument = path.partition(":")
  file = Path(path)
  if not file.is_file():
    known = [str(p) for p in sorted(file.parent.glob("*.py")) if p.stem not in ("base", "__init__")]
    hint = nearest(path, known) if known else f"{file.parent} holds no configurations"
    raise UserError(f"config={path!r} is not there; {hint}")
  try:
    compile(file.read_text(), path, "exec")
  except SyntaxError as error:
    raise UserError(f"config={path!r} has a syntax error in line {error.lineno}: {error.msg}") from None
  specification = importlib.util.spec_from_file_location("cnn_zoo_config", file)
  module = importlib.util.module_from_spec(specification)
  try:
    specification.loader.exec_module(module)
    return module.get_config(argument) if argument else module.get_config()
  except UserError:
    raise
  except Exception as error:  # whatever the file does; the line says what and where
    line = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    where = f" in line {line[-1]}" if line else ""
    says = re.sub(r"Other fields present:.*?(?=Did you mean|$)", "", str(error), flags=re.DOTALL)  # of a locked config
    raise UserError(f"config={path!r} raises {type(error).__name__}{where}: {says}") from None


def _check_overrides(config, overrides):
  """Raises UserError for a --config.field=value whose field or type does not exist."""
  for override in overrides:
    field, _, value = override.lstrip("-").partition("=")
    *parents, name = field.removeprefix("noconfig.").removeprefix("config.").split(".")
    node, path = config, "config"
    for parent in parents:
      node, path = _child(node, path, parent), f"{path}.{parent}"
    current = _child(node, path, name)
    if isinstance(current, ConfigDict):
      raise UserError(f"{path}.{name} is a group; set one of its fields: {', '.join(current)}")
    if "=" in override:
      _check_type(f"{path}.{name}", value, node.get_type(name))


def _child(node, path, name):
  if not isinstance(node, ConfigDict) or name not in node:
    fields = list(node) if isinstance(node, ConfigDict) else []
    raise UserError(f"{path} has no field {name!r}; {nearest(name, fields) if fields else f'{path} is a plain value'}")
  return node[name]


def _check_type(field, value, kind):
  try:
    if kind is int:
      int(value)
    elif kind is float:
      float(value)
    elif kind is tuple:
      ast.literal_eval(value)
    elif kind is bool and value.lower() not in ("true", "false", "0", "1", "t", "f"):
      raise ValueError
  except (ValueError, SyntaxError):
    names = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a tuple such as (1,2)"}
    raise UserError(f"{field}={value!r} must be {names[kind]}") from None


def default_workdir(config_flag) -> str:
  """runs/NAME-DATASET, then what the command line overrides, so that the same command finds its own run again."""
  from cnn_zoo.training.setup import FREE_FIELDS

  path = config_flags.get_config_filename(config_flag).partition(":")[0]
  changed = {k: v for k, v in config_flags.get_override_values(config_flag).items() if k not in FREE_FIELDS}
  parts = [f"{Path(path).stem}-{config_flag.value.data.name}", *(f"{k}={v}" for k, v in sorted(changed.items()))]
  return "runs/" + ",".join(parts).replace("/", "_").replace(" ", "")


def print_config(config: ConfigDict) -> None:
  """Prints the effective configuration, one field a line, from the first process only."""
  import jax

  if jax.process_index() == 0:
    print(str(config).strip(), flush=True)
