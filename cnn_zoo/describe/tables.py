"""Tables of cells, the first line of which is the header, as text for people and for programs."""

import csv
import io
from collections.abc import Sequence

Cells = Sequence[Sequence[str]]


def aligned(lines: Cells, words: int, rules: Sequence[int] = (1,)) -> str:
  """Columns two spaces apart: the first `words` of them begin at the left, the others, numbers, end at the right.

  Args:
    rules: before which lines a ruled one comes.
  """
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  text = []
  for number, line in enumerate(lines):
    if number in rules:
      text.append("  ".join("-" * width for width in widths))
    cells = zip(line, widths, strict=True)
    text.append("  ".join(c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(cells)).rstrip())
  return "\n".join(text)


def markdown(lines: Cells, words: int) -> str:
  """A Markdown table, aligned as in `aligned`."""
  head, *body = lines
  rule = ["---"] * words + ["---:"] * (len(head) - words)
  return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body)) + "\n"


def comma_separated(lines: Cells) -> str:
  """Comma-separated values."""
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows(lines)
  return text.getvalue()
