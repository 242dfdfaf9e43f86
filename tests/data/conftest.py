"""The embedded digits, prepared once per session, and a folder for archives."""

import pytest

from cnn_zoo.data import Dataset, open_dataset
from tests.helpers.tiny_datasets import make_settings


@pytest.fixture(scope="session")
def directory(tmp_path_factory) -> str:
  return str(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="session")
def digits(directory) -> Dataset:
  return open_dataset(make_settings(directory=directory))


@pytest.fixture
def manual(tmp_path):
  """The folder for archives downloaded by hand."""
  path = tmp_path / "archives"
  path.mkdir()
  return path
