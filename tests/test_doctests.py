"""The examples in docstrings."""

import doctest
import importlib
import pkgutil

import pytest

import cnn_zoo

MODULES = ["cnn_zoo", *(module.name for module in pkgutil.walk_packages(cnn_zoo.__path__, "cnn_zoo."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)  # an example may write files
  options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
  failed, _ = doctest.testmod(importlib.import_module(name), optionflags=options)
  assert failed == 0  # what differs is in the captured output
