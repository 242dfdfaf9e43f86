"""The code and the packages of a run."""

import importlib.metadata
import subprocess
import sys

import jax
import pytest

from cnn_zoo.training.environment import current_environment, environment_changes


def git(folder, *arguments):
  user = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
  return subprocess.run(["git", "-C", folder, *user, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def package(tmp_path):
  """A package under version control."""
  package = tmp_path / "repository" / "package"
  package.mkdir(parents=True)
  (package / "__init__.py").write_text("a = 1\n")
  git(package, "init")
  git(package, "add", ".")
  git(package, "commit", "-m", "first")
  return package


def test_commit_and_changes(package):
  clean = current_environment(package)
  assert (clean["commit"], clean["changes"]) == (git(package, "rev-parse", "HEAD").strip(), None)
  found = []
  for text in ("a = 2\n", "a = 3\n"):
    (package / "__init__.py").write_text(text)
    found.append(current_environment(package))
  first, second = found
  short = clean["commit"][:10]
  assert first["commit"] == clean["commit"] and first["changes"] != second["changes"]
  assert environment_changes(clean, first) == [f"code {short} -> {short} with uncommitted changes"]
  assert environment_changes(first, second) == [f"code {short} with uncommitted changes -> other changes"]
  git(package, "commit", "-a", "-m", "second")
  new = current_environment(package)
  assert environment_changes(clean, new) == [f"code {short} -> {new['commit'][:10]}"]
  assert environment_changes(new, new) == []


def test_new_modules(package):
  """They are imported without being named anywhere, so they are changes before Git knows them; other files are not."""
  clean = current_environment(package)
  (package / "notes.txt").touch()
  assert current_environment(package) == clean
  module, found = package / "models" / "new.py", []
  module.parent.mkdir()
  for text in ("a = 2\n", "a = 3\n"):
    module.write_text(text)
    found.append(current_environment(package))
  first, second = found
  short = clean["commit"][:10]
  assert environment_changes(clean, first) == [f"code {short} -> {short} with uncommitted changes"]
  assert environment_changes(first, second) == [f"code {short} with uncommitted changes -> other changes"]


def test_an_installed_package_has_no_commit(package, tmp_path):
  """Even in an environment that lies in somebody's repository; nor without Git."""
  installed = package / "site-packages" / "cnn_zoo"
  installed.mkdir(parents=True)
  (installed / "__init__.py").touch()
  for folder in (installed, tmp_path):
    environment = current_environment(folder)
    assert (environment["commit"], environment["changes"]) == (None, None)


def test_versions(monkeypatch):
  versions = current_environment()["versions"]
  assert versions["jax"] == jax.__version__ and versions["python"] == sys.version.split()[0]
  assert versions["grain"] == importlib.metadata.version("grain") and "simplejpeg" in versions
  monkeypatch.setenv("PATH", "")  # without the git program
  assert current_environment()["commit"] is None


def test_packages_that_were_not_recorded():
  old, new = ({"commit": None, "changes": None, "versions": versions} for versions in ({"jax": "1"}, {"grain": "2"}))
  assert environment_changes(old, new) == []
  assert environment_changes(old, {**new, "versions": {"jax": "2", "grain": "2"}}) == ["jax 1 -> 2"]
