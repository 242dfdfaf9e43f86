"""README.md and docs: short sentences, usual words, existing files and links, correct numbers; usual words in code."""

import csv
import math
import re

import jax
import pytest
from flax import nnx

import cnn_zoo
from cnn_zoo import list_models
from cnn_zoo.models import abstract_model, model_options, published_setting
from cnn_zoo.training.settings import SETTINGS
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = "configs|cnn_zoo|docs|scripts|tests"
COMMAND_LINE = (ROOT / "cnn_zoo" / "command_line.py").read_text()  # defines --config
MODELS = re.findall(r"`(\w+)` (\d+\.\d\d)\b", README)

# Wording that technical English has a usual word for.
LITERARY = r"anew|afresh|in (?:the )?place of|beside|told by|goes on|go on|half a circle|shall|turned round"


def without_code(text):
  return re.sub(r"(?ms)^```.*?^```\n|^    .*?$", "", text)


def prose(text):
  """The sentences of a Markdown text, without code, tables and headings; a link counts as its text."""
  text = re.sub(r"(?m)^(\|.*|#.*|!\[.*)$", "", without_code(text))
  text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
  for paragraph in re.split(r"\n\s*\n|\n(?=- )", text):
    yield from re.split(r"(?<=[.?!:])\s+", " ".join(paragraph.split()))


def anchors(text):
  return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"(?m)^#+ (.*)$", text)}


def count_parameters(name):
  shape, num_classes = published_setting(name)
  model = abstract_model(name, in_channels=shape[-1], num_classes=num_classes)
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def test_sentences_are_short():
  assert not [sentence for sentence in prose(README) if len(sentence.split()) > 30]


def test_sentences_are_found():
  text = "# A title\n\nOne two. Three\nfour (a).\n- [five](six) seven: eight\n\n    code. code\n\n| cell. | cell |\n"
  assert list(filter(None, prose(text))) == ["One two.", "Three four (a).", "- five seven:", "eight"]


def literary(text):
  """What the text has of `LITERARY`, with the words around it; also where a line of text or of a comment ends in it."""
  return re.findall(rf"(?i).{{0,40}}\b(?:{LITERARY})\b.{{0,40}}", re.sub(r"\s+(?:# )?", " ", text))


def test_literary_wording_is_found():
  text = "x = 1  # it goes\n# on\n'''Next to it.'''"
  assert len(literary(text)) == 1 and literary("going on, besides, marshall") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_wording(page):
  assert not literary(without_code(page.read_text()))


def test_wording_of_code():
  files = [path for folder in ("cnn_zoo", "configs", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
  found = {str(path): hits for path in [*files, *ROOT.glob("*.py")] if (hits := literary(path.read_text()))}
  assert not found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_exist(page):
  """Files that a guide asks to create are marked as new; NAME, DIR, FILE and * stand for any name."""
  text = page.read_text()
  created = set(re.findall(r"`([\w./]+)` \(new\)", text))
  paths = set(re.findall(rf"(?<![\w./])(?:{TOP})/[\w./*-]*\w|(?<![\w./])(?:train|eval)\.py", text)) - created
  missing = [path for path in paths if not re.search("NAME|DIR|FILE", path) and not list(ROOT.glob(path))]
  assert not missing
  for target in re.findall(r"\]\((?!https:)([^)\s]+)\)", text):
    file, _, anchor = target.partition("#")
    linked = (page.parent / file) if file else page
    assert linked.exists(), target
    assert not anchor or anchor in anchors(linked.read_text()), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands(page):
  """Flags exist in the script, fields in the settings or a model's options, and names in the package."""
  text = page.read_text().replace("\\\n", " ")
  fields = {*SETTINGS, *(f"model.{option}" for name in list_models() for option in model_options(name))}
  fields |= {"field", *re.findall(r'(?m)^\+  "([\w.]+)": \w+\(', text)}  # those that a guide asks to add
  unknown = set(re.findall(r"--config\.([\w.]+)=", text)) - fields
  for script, arguments in re.findall(r"python ((?:scripts/)?\w+\.py)([^\n`#]*)", text):
    source = (ROOT / script).read_text() + COMMAND_LINE
    unknown |= {flag for flag in re.findall(r"--(\w+)(?![\w.])", arguments) if f'"{flag}"' not in source}
  unknown |= {name for name in re.findall(r"\bcnn_zoo\.(\w+)\(", text) if name not in cnn_zoo.__all__}
  assert not unknown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names(page):
  """The functions, classes and tables that a link to a source file is followed by are in that file."""
  for file, names in re.findall(r"\]\((\.\./[\w/.]+\.py)\)((?:, `\w+`)+)", page.read_text()):
    source = (page.parent / file).read_text()
    assert all(re.search(rf"\b{name}\b", source) for name in re.findall(r"\w+", names)), (file, names)


def test_map():
  """Every folder of the map exists and contains the files that its row names."""
  tree = re.search(r"(?s)## Map.*?\n\n(.*?)\n\n", README).group(1).splitlines()
  parents = {}
  for row in tree:
    name, text = re.match(r" +(\S+?),?(?: |$)(.*)", row).groups()
    depth = len(row) - len(row.lstrip())
    folder = parents[depth] = parents.get(depth - 2, ROOT) / name
    assert folder.exists(), row
    assert all(
      (folder.parent if folder.is_file() else folder).joinpath(file).exists() for file in re.findall(r"\w+\.py", text)
    ), row


def test_models():
  """The table names every model once, with its parameters in millions, and each has a config of its name.

  Where published.csv has the parameters, tests/models/test_published.py counts them.
  """
  with open(ROOT / "tests" / "models" / "published.csv") as file:
    published = {row["model"]: int(row["parameters"]) for row in csv.DictReader(file)}
  assert sorted(name for name, _ in MODELS) == list_models()
  for name, millions in MODELS:
    assert millions == f"{(published.get(name) or count_parameters(name)) / 1e6:.2f}", name
    assert (ROOT / "configs" / f"{name}.py").exists()
