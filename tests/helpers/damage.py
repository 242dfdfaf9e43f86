"""What a disk can do to a file."""

from pathlib import Path


def largest_file(path: Path) -> Path:
  """A file itself; of a folder the largest file that is not Orbax's mark of success."""
  if path.is_file():
    return path
  files = (p for p in path.rglob("*") if p.is_file() and p.name != "commit_success.txt")
  return max(files, key=lambda p: p.stat().st_size)


def flip_bit(path: Path, place: float = 0.5) -> Path:
  """Flips a bit of a file, or of the largest file in a folder, at this share of its length; returns the file."""
  file = largest_file(path)
  data = bytearray(file.read_bytes())
  data[int(place * len(data))] ^= 4
  file.write_bytes(data)
  return file


def flip_bits(path: Path, every: int = 1000) -> None:
  """Flips one bit in so many bytes of a file, or of the largest file in a folder."""
  file = largest_file(path)
  data = bytearray(file.read_bytes())
  for place in range(every // 2, len(data), every):
    data[place] ^= 4
  file.write_bytes(data)


def cut(path: Path, share: float = 0.5) -> None:
  """Leaves the first part of a file, or of the largest file in a folder."""
  file = largest_file(path)
  data = file.read_bytes()
  file.write_bytes(data[: int(share * len(data))])
