"""The command line of train.py, eval.py and the scripts: flags in, one call, exit code out."""

import contextlib
import os
import re
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict

from cnn_zoo.errors import DamageError, UserError, check_name, nearest
from cnn_zoo.memory import configure_runtime
from cnn_zoo.training import settings

flags.disclaim_key_flags()  # what `define_config` defines belongs to the script that calls it

END_WITHIN = 5.0
"""Seconds that a process has to end, after its command, before the threads that keep it alive are dropped."""


def run(
  commands: Callable[..., None] | Mapping[str, Callable[[], None]],
  argv: list[str] | None = None,
  takes_arguments: bool = False,
) -> None:
  """Parses the flags, calls one function and exits: 0; 1 if the run broke; 2, after one line, for a user's mistake.

  Without `argv` the process ends within `END_WITHIN` seconds of the function's end, although threads may still run.

  Args:
    commands: that function; or several by name, of which the one argument that is not a flag chooses.
    argv: the command line (default: sys.argv).
    takes_arguments: whether the one function is called with what is not a flag, such as names of files.
  """

  def guarded(function, *arguments):
    try:
      return function(*arguments)
    except (UserError, DamageError, flags.Error) as error:
      print("error: " + " ".join(str(error).split()), file=sys.stderr)
      sys.exit(1 if isinstance(error, DamageError) else 2)

  configure_runtime()
  logging.set_verbosity(
    logging.FATAL
  )  # TFDS and Orbax report every file, and tracebacks of errors that they also raise

  def chosen(rest):
    words = rest[1:]
    if isinstance(commands, Mapping):
      if not words:
        raise UserError(f"give a command; valid: {', '.join(commands)}")
      check_name("command", words[0], commands)
      main: Callable[..., None] = commands[words.pop(0)]
    else:
      main = commands
    if takes_arguments:
      return main(*words)
    if words:
      raise UserError(f"{words[0]!r} is not a flag; flags begin with --")
    return main()

  code = 1
  try:
    app.run(lambda rest: guarded(chosen, rest), argv, flags_parser=lambda args: guarded(_parse, args))
  except SystemExit as end:
    code = end.code if isinstance(end.code, int) else int(end.code is not None)
    raise
  except KeyboardInterrupt:
    code = 130
    raise
  finally:
    if argv is None:
      _end_soon(code)


def _end_soon(code):
  """Ends the process in `END_WITHIN` seconds with this exit code, whatever its threads do.

  All that is to be kept is written by now; the threads of a checkpoint that failed could keep the process alive for
  ever. A job of several processes that was successful is left alone: it ends when its slowest process does.
  """
  jax = sys.modules.get("jax")
  if code == 0 and jax is not None and jax.distributed.is_initialized():
    return

  def end():
    time.sleep(END_WITHIN)
    os._exit(code)

  threading.Thread(target=end, daemon=True).start()
  with contextlib.suppress(OSError, ValueError):  # a pipe whose reader has gone
    sys.stdout.flush()


class ConfigFlag:
  """What `--config=PATH[:ARGUMENT] --config.FIELD=VALUE ...` describes.

  Attributes:
    value: the configuration with its overrides, checked; None without --config.
    path: of the file.
    options: what follows the dataset in ARGUMENT, such as "recipe=NAME".
    overrides: {field: text as typed}.
  """

  def __init__(self):
    """No configuration, until the command line is parsed."""
    self.value: ConfigDict | None = None
    self.path = ""
    self.options: list[str] = []
    self.overrides: dict[str, str] = {}

  def parse(self, text: str, overrides: list[tuple[str, str]]) -> None:
    """Loads PATH[:ARGUMENT], applies [(field, text)] and checks the result.

    Raises:
      UserError: there is no such file or field, or a value is not valid.
    """
    self.path, _, argument = text.partition(":")
    self.options, self.overrides = argument.split(",")[1:], dict(overrides)
    self.value = load_config(text)
    # The architecture first, whose options are fields too.
    for field, value in sorted(self.overrides.items(), key=lambda item: item[0] != "model.name"):
      settings.set_from_text(self.value, field, value)
    settings.check(self.value)

  def default_workdir(self) -> str:
    """runs/NAME-DATASET and what makes another run, options and overrides: the same command finds its own run again."""
    changed = {field: text for field, text in self.overrides.items() if not settings.is_free(field)}
    config: Any = self.value
    overridden = [f"{field}={text}" for field, text in sorted(changed.items())]
    parts = [f"{Path(self.path).stem}-{config.data.name}", *self.options, *overridden]
    return "runs/" + ",".join(parts).translate(_IN_FOLDER_NAMES)


# What a folder's name has instead of characters with a meaning of their own, for a file system or for Orbax.
_IN_FOLDER_NAMES = str.maketrans({" ": "", "/": "_", "[": "(", "]": ")", "*": "_", "?": "_", "\\": "_"})

_CONFIG = ConfigFlag()


def define_config(meaning: str) -> ConfigFlag:
  """Defines --config and --config.FIELD; the returned object holds the configuration once `run` has parsed the flags.

  Args:
    meaning: for --help.
  """
  flags.DEFINE_string("config", None, meaning)
  return _CONFIG


def _parse(argv):
  _CONFIG.value = None
  try:
    arguments = flags.FLAGS.read_flags_from_files(argv[1:], force_gnu=False)
  except (flags.Error, UnicodeDecodeError) as error:
    raise UserError(f"--flagfile cannot be read: {str(error).removeprefix('ERROR:: ')}") from None
  if "config" not in flags.FLAGS:
    return flags.FLAGS([argv[0], *arguments])
  overrides, arguments = _split(arguments)
  rest = flags.FLAGS([argv[0], *arguments])
  if flags.FLAGS["config"].value is not None:
    _CONFIG.parse(flags.FLAGS["config"].value, overrides)
  elif overrides:
    raise UserError(f"--config.{overrides[0][0]} needs --config=configs/NAME.py")
  return rest


# --config.FIELD=VALUE, --config.FIELD VALUE, and of what is true or false --config.FIELD and --noconfig.FIELD.
_is_override = re.compile(r"--?(no)?config\.([^=]*)(?:=(.*))?", re.DOTALL).fullmatch


def _split(arguments):
  """[(field, text)] of the configuration's overrides, and all other arguments."""
  overrides, rest = [], []
  arguments = list(arguments)
  while arguments:
    argument = arguments.pop(0)
    if argument == "--":
      return overrides, [*rest, argument, *arguments]
    match = _is_override(argument)
    if match is None:
      rest.append(argument)
      continue
    negated, field, text = match.groups()
    if text is None:
      is_flag = field in settings.SETTINGS and settings.SETTINGS[field].type is bool
      followed = bool(arguments) and not arguments[0].startswith("--")
      text = str(not negated) if negated or is_flag or not followed else arguments.pop(0)
    overrides.append((field, text))
  return overrides, rest


def load_config(path: str) -> ConfigDict:
  """The configuration that a file of configs/ describes.

  Args:
    path: PATH, or PATH:ARGUMENT, whose argument (usually a dataset) is passed to the file's `get_config`.

  Returns:
    What `get_config` returns, not yet checked.

  Raises:
    UserError: there is no such file, or it cannot be run; the message names the line.
  """
  path, colon, argument = path.partition(":")
  shown = path if len(path) <= 200 else f"{path[:200]}..."
  if not os.path.isfile(path):
    raise UserError(f"config={shown!r} is not there; {_near(path)}")
  if colon and not argument:
    raise UserError(f"config='{shown}:' has nothing after the colon; valid: {shown}, or {shown}:DATASET")
  try:
    compile(Path(path).read_bytes(), path, "exec")
  except SyntaxError as error:
    where = f" in line {error.lineno}" if error.lineno else ""
    raise UserError(f"config={shown!r} has a syntax error{where}: {error.msg}") from None
  except (OSError, ValueError) as error:
    raise UserError(f"config={shown!r} cannot be read: {error}") from None
  loader = SourceFileLoader("cnn_zoo_config", path)
  module = types.ModuleType("cnn_zoo_config")
  module.__file__ = path
  try:
    loader.exec_module(module)
    config = module.get_config(argument) if argument else module.get_config()
  except UserError:
    raise
  except Exception as error:  # whatever the file does; the line says what and where
    line = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    where = f" in line {line[-1]}" if line else ""
    says = re.sub(r"Other fields present:.*?(?=Did you mean|$)", "", str(error), flags=re.DOTALL)  # of a locked config
    raise UserError(f"config={shown!r} raises {type(error).__name__}{where}: {says}") from None
  if not isinstance(config, ConfigDict):
    raise UserError(f"config={shown!r}: get_config returns a {type(config).__name__}; valid: a ConfigDict")
  return config


def _near(path):
  """What to say of a file that is not there: the configurations that are near, of its folder or of configs/."""
  folder, stem = (Path(path).parent, Path(path).stem[:100]) if "/" in path else (Path("configs"), Path(path).stem[:100])
  files = sorted(folder.glob("*.py")) if os.path.isdir(folder) else []
  known = [str(file) for file in files if file.stem not in ("base", "__init__")]
  return nearest(str(folder / f"{stem}.py"), known) if known else f"{str(folder)[:200]} holds no configurations"


def print_config(config: ConfigDict) -> None:
  """Prints the effective configuration, one field a line, from the first process only."""
  import jax  # a script that computes nothing need not start it

  if jax.process_index() == 0:
    print(str(config).strip(), flush=True)
