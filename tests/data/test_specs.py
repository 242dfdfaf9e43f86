import re

import pytest

from cnn_zoo.data import KINDS, SPECS
from cnn_zoo.data.specs import read_class_names
from configs import base
from tests.helpers import tiny_datasets


def test_english_names_of_imagenet():
  names = read_class_names("imagenet_classes.txt")
  assert len(names) == len(set(names.values())) == 1000
  assert list(names) == sorted(names) and all(re.fullmatch(r"n\d{8}", synset) for synset in names)
  # https://github.com/pytorch/vision/blob/main/torchvision/models/_meta.py, numbers 0, 207, 281 and 999
  assert [list(names.values())[index] for index in (0, 207, 281, 999)] == [
    "tench",
    "golden retriever",
    "tabby",
    "toilet tissue",
  ]


@pytest.mark.parametrize("name", SPECS)
def test_every_entry_is_complete(name):
  spec = SPECS[name]
  kind = KINDS[spec.kind]
  config = base.get_config("resnet18", name)
  assert config.task == kind.TASK and all(config.data[field] == value for field, value in spec.settings.items())
  assert set(spec.settings) <= {*kind.SETTINGS, "mean", "std", "validation"}
  assert (spec.sample_rate is not None) == (spec.kind == "waveform")
  assert not spec.embedded or SPECS[spec.published].kind == spec.kind


def test_kinds():
  """All have the same interface, and the helpers of the tests cover all of them."""
  assert sorted(KINDS) == sorted(tiny_datasets.KINDS)
  names = ("TASK", "RANK", "FEATURE", "LABEL", "NO_LABEL", "SETTINGS", "SIZES", "FILE")
  functions = ("channels", "shapes", "make_example", "read_file")
  for kind in KINDS.values():
    assert all(hasattr(kind, name) for name in names) and all(callable(getattr(kind, name)) for name in functions)
    assert len(kind.SIZES) == kind.RANK and set(kind.SIZES) <= set(kind.SETTINGS)
