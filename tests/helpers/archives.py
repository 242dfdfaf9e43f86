"""Archives for TFDS to prepare datasets from, and what it leaves."""

import io
import pathlib
import re
import tarfile


def tar(path: pathlib.Path, files: dict[str, bytes]) -> None:
  """Writes an archive, compressed if its name ends with gz."""
  mode = "w:gz" if path.name.endswith("gz") else "w"
  with tarfile.open(path, mode) as archive:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      archive.addfile(member, io.BytesIO(data))


def tar_bytes(path: pathlib.Path, files: dict[str, bytes]) -> bytes:
  """The bytes of such an archive; nothing is left at `path`."""
  tar(path, files)
  data = path.read_bytes()
  path.unlink()
  return data


def assert_nothing_is_left(directory: pathlib.Path) -> None:
  """Of an attempt to prepare a dataset, besides complete downloads."""
  left = [
    path for path in directory.rglob("*") if re.search(r"^\.|incomplete|\.tmp\.|dataset_info|\d\.\d\.\d", path.name)
  ]
  assert not left
