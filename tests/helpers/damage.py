"""What a disk can do to a file."""

from pathlib import Path


def flip_bit(path: Path, place: float = 0.5) -> Path:
  """Flips a bit of a file, or of the largest file in a folder, at this share of its length; returns the file."""
  file = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size) if path.is_dir() else path
  data = bytearray(file.read_bytes())
  data[int(place * len(data))] ^= 4
  file.write_bytes(data)
  return file
