"""What a disk can do to a file."""

from pathlib import Path


def largest_file(path: Path) -> Path:
  """The largest file in a folder; a file itself."""
  return max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size) if path.is_dir() else path


def flip_bit(path: Path, place: float = 0.5) -> Path:
  """Flips a bit of a file, or of the largest file in a folder, at this share of its length; returns the file."""
  file = largest_file(path)
  data = bytearray(file.read_bytes())
  data[int(place * len(data))] ^= 4
  file.write_bytes(data)
  return file


def cut(path: Path, left: int = -1) -> None:
  """Leaves so many bytes of a file, or of the largest file in a folder; of -1 all but one."""
  file = largest_file(path)
  file.write_bytes(file.read_bytes()[:left])
