"""The structure of the code: the direction of imports, the length of files, and repeated code."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.helpers import ROOT

# From the top. A module imports its own package and lower levels only. Packages on one level do not import each other.
LEVELS = (
  ("train", "eval", "scripts"),
  ("cnn_zoo", "cnn_zoo.command_line", "configs"),  # cnn_zoo itself only names what users import
  ("cnn_zoo.benchmarks",),
  ("cnn_zoo.runs",),
  ("cnn_zoo.training",),
  ("cnn_zoo.plots",),
  ("cnn_zoo.describe", "cnn_zoo.pretrained"),
  ("cnn_zoo.models",),
  ("cnn_zoo.layers", "cnn_zoo.tasks", "cnn_zoo.data"),
  ("cnn_zoo.convolutions",),
  ("cnn_zoo.errors", "cnn_zoo.memory"),
)
LEVEL = {package: level for level, packages in enumerate(LEVELS) for package in packages}
FOLDERS = ("cnn_zoo", "configs", "scripts")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))] + sorted(ROOT.glob("*.py"))
SOURCES = [path.relative_to(ROOT) for path in SOURCES]
MODULES = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in SOURCES}

LONGEST_FILE = 400
LONGEST_REPETITION = 12  # lines that two places may share


def package_of(module: str) -> str:
  """The longest name in `LEVEL` that `module` is or lies in."""
  parts = module.split(".")
  names = (".".join(parts[:length]) for length in range(min(len(parts), 2), 0, -1))
  return next(name for name in names if name in LEVEL)


def imported_modules(tree: ast.AST, module: str, modules: set[str]) -> set[str]:
  """The modules of the project that a module imports, anywhere in its code, whether or not it names them in full."""
  found = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      package = module.split(".")[: -node.level] if node.level else []
      base = ".".join([*package, *filter(None, [node.module])])
      names = {f"{base}.{alias.name}" for alias in node.names}
      found |= {name if name in modules else base for name in names}
  return {name for name in found if name.split(".")[0] in LEVEL}


def is_allowed(package: str, imported: str) -> bool:
  """Whether a module of `package` may import from the package `imported`."""
  return imported == package or LEVEL[imported] > LEVEL[package]


@pytest.mark.parametrize(
  ("code", "module", "imported"),
  [
    ("import cnn_zoo.runs.open", "cnn_zoo.data.batches", {"cnn_zoo.runs.open"}),
    ("def f():\n  from cnn_zoo import data, create_model", "cnn_zoo.models.x", {"cnn_zoo.data", "cnn_zoo"}),
    ("from cnn_zoo.data.kinds import image", "cnn_zoo.models.x", {"cnn_zoo.data.kinds.image"}),
    ("from . import image\nfrom ..kinds import image", "cnn_zoo.data.kinds.clip", {"cnn_zoo.data.kinds.image"}),
    ("import numpy, os.path", "cnn_zoo.errors", set()),
  ],
)
def test_imports_are_found(code, module, imported):
  modules = {"cnn_zoo", "cnn_zoo.data", "cnn_zoo.data.kinds", "cnn_zoo.data.kinds.image", "cnn_zoo.runs.open"}
  assert imported_modules(ast.parse(code), module, modules) == imported


def test_directions():
  assert is_allowed("cnn_zoo.data", "cnn_zoo.data") and is_allowed("cnn_zoo.runs", "cnn_zoo.errors")
  assert not is_allowed("cnn_zoo.data", "cnn_zoo.models") and not is_allowed("cnn_zoo.data", "cnn_zoo.layers")


def test_imports_go_down():
  wrong = []
  for path in SOURCES:
    module = ".".join(path.with_suffix("").parts)  # with __init__, so that a relative import resolves
    package = package_of(module)
    for imported in imported_modules(ast.parse((ROOT / path).read_text()), module, MODULES):
      if not is_allowed(package, package_of(imported)):
        wrong.append(f"{path} imports {imported}")
  assert not wrong, "\n".join(wrong)


def python_files() -> list[Path]:
  """Every Python file of the project, tests included."""
  return [*SOURCES, *sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))]


def test_no_file_is_long():
  lengths = {path: len((ROOT / path).read_text().splitlines()) for path in python_files()}
  assert not {str(path): length for path, length in lengths.items() if length > LONGEST_FILE}


def code_lines(text: str) -> list[tuple[int, str]]:
  """(number, line) of the lines that count as code: no blank ones, comments, imports or lone punctuation."""
  imports = {
    number
    for node in ast.walk(ast.parse(text))
    if isinstance(node, (ast.Import, ast.ImportFrom))
    for number in range(node.lineno, node.end_lineno + 1)
  }
  lines = ((number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), start=1))
  return [
    (number, line)
    for number, line in lines
    if number not in imports and any(map(str.isalnum, line)) and not line.startswith("#")
  ]


def repetitions(texts: dict[str, str], longest: int) -> list[str]:
  """The pairs of places that share more than `longest` lines of code, as `a.py:3-20 ~ b.py:7-24`."""
  size = longest + 1
  places = defaultdict(list)
  files = {name: code_lines(text) for name, text in texts.items()}
  for name, lines in files.items():
    for start in range(len(lines) - longest):
      places[tuple(line for _, line in lines[start : start + size])].append((name, start))
  found, ends = [], {}
  for (one, start), (other, begin) in (
    pair for group in places.values() for i, first in enumerate(group) for pair in ((first, b) for b in group[i + 1 :])
  ):
    key = one, other, begin - start
    if one == other and begin < start + size:
      continue  # it overlaps itself, as equal lines of a table do
    if ends.get(key) != start:  # otherwise it goes on from a place that is reported
      lines = [files[one][start][0], files[one][start + longest][0]]
      more = [files[other][begin][0], files[other][begin + longest][0]]
      found.append(f"{one}:{lines[0]}-{lines[1]} ~ {other}:{more[0]}-{more[1]}")
    ends[key] = start + 1
  return found


def test_repetitions_are_found():
  block = "\n".join(f"x{number} = {number}" for number in range(13))
  apart = (
    block.replace("x5 = 5", "x5 = 5\n\n  # a comment\nimport os\n)").replace("\n  #", "\n#").replace("\n)", "\n\n")
  )
  assert repetitions({"a.py": f"y = 1\n{block}", "b.py": apart}, 12) == ["a.py:2-14 ~ b.py:1-18"]
  assert repetitions({"a.py": f"{block}\n{block}"}, 12) == ["a.py:1-13 ~ a.py:14-26"]
  assert not repetitions({"a.py": block, "b.py": block.replace("x6 = 6", "x6 = 7")}, 12)
  assert len(repetitions({"a.py": f"{block}\nz = 1", "b.py": f"{block}\nz = 1"}, 12)) == 1


def test_no_code_is_repeated():
  texts = {str(path): (ROOT / path).read_text() for path in python_files()}
  found = repetitions(texts, LONGEST_REPETITION)
  assert not found, "\n".join(found)
