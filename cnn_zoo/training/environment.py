"""The code and the packages that a run is made by, so that a resumed run can say what has changed."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

# What the numbers of a run depend on: computing, the order of the examples, decoding them, and the datasets themselves.
_PACKAGES = ("flax", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint")
_PACKAGES += ("grain", "opencv-python-headless", "scikit-learn", "scipy", "simplejpeg", "tensorflow-datasets")


def current_environment(package: Path | None = None) -> dict:
  """The environment of this process.

  Args:
    package: the folder whose Git repository is asked; None for that of the `cnn_zoo` package.

  Returns:
    JSON: "commit" (None without Git, or where the package is not part of a repository, as after `pip install`),
    "changes" (a digest of what is not committed, new modules of the package included; None if nothing is) and
    "versions", by package and of Python.

  Example:
    >>> sorted(current_environment()["versions"])[:5]
    ['flax', 'grain', 'jax', 'jaxlib', 'numpy']
  """
  versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
  commit, changes = _commit(package or Path(__file__).parents[1])
  return {"commit": commit, "changes": changes, "versions": versions | {"python": platform.python_version()}}


def environment_changes(saved: dict, now: dict) -> list[str]:
  """What differs between two environments, a phrase for each difference; packages that one does not name are left out.

  Example:
    >>> old = {"commit": "0123456789abcdef", "changes": None, "versions": {"jax": "0.10.2"}}
    >>> environment_changes(old, old | {"changes": "fe", "versions": {"jax": "0.11.0"}})
    ['code 0123456789 -> 0123456789 with uncommitted changes', 'jax 0.10.2 -> 0.11.0']
  """
  code = [_code(environment) for environment in (saved, now)]
  found = []
  if any(saved[field] != now[field] for field in ("commit", "changes")):
    found.append(f"code {code[0]} -> {code[1]}" if code[0] != code[1] else f"code {code[0]} -> other changes")
  old, new = saved["versions"], now["versions"]
  return found + [f"{name} {old[name]} -> {new[name]}" for name in old if old[name] != new.get(name, old[name])]


def _code(environment):
  if environment["commit"] is None:
    return "without a commit"
  return environment["commit"][:10] + (" with uncommitted changes" if environment["changes"] else "")


def _commit(package):
  """(commit, digest of uncommitted changes) of the repository that has `package` under version control."""
  try:
    _git(package, "ls-files", "--error-unmatch", "__init__.py")
    commit = _git(package, "rev-parse", "HEAD").decode().strip()
    status = _git(package, "status", "--porcelain", "--untracked-files=no")
    changes = _git(package, "diff", "HEAD") if status else b""
    for name in _git(package, "ls-files", "--others", "--exclude-standard", "-z", "*.py").split(b"\0")[:-1]:
      changes += name + b"\0" + (package / os.fsdecode(name)).read_bytes()
  except (OSError, subprocess.SubprocessError):  # no Git, or no repository
    return None, None
  return commit, hashlib.sha256(changes).hexdigest()[:12] if changes else None


def _git(folder, *arguments):
  command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
  return subprocess.run(command, capture_output=True, check=True, timeout=10).stdout
