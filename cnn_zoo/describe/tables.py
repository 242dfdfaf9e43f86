"""Tables as text, Markdown and comma-separated values. Every table that a command prints or writes is made here."""

import csv
import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

Cells = Sequence[Sequence[str]]
"""The lines of a table, each a sequence of texts. The first line is the header."""

# No edges; a rule below the header and between sections. ASCII, so that any terminal and any file can hold it.
_PLAIN = box.Box("    \n    \n -- \n    \n -- \n -- \n    \n    \n", ascii=True)


def text_table(lines: Cells, words: int, total: bool = False) -> str:
  """A table for a terminal.

  Args:
    lines: the cells, header first.
    words: how many columns, from the left, hold words and are aligned left. The others hold numbers, aligned right.
    total: whether the last line is a total, which a rule separates from the others.

  Returns:
    The text, without a line break at the end.

  >>> print(text_table([["layer", "parameters"], ["c1", "156"], ["total", "61,706"]], words=1, total=True))
  layer  parameters
  -----------------
  c1            156
  -----------------
  total      61,706
  """
  table = Table(box=_PLAIN, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
  return "\n".join(line.rstrip() for line in _render(table, lines, words, total))


def markdown_table(lines: Cells, words: int) -> str:
  """A Markdown table, with the arguments of `text_table`; ends with a line break.

  >>> print(markdown_table([["layer", "parameters"], ["c1", "156"]], words=1), end="")
  | layer | parameters |
  |-------|-----------:|
  | c1    |        156 |
  """
  escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
  head, rule, *body = filter(str.strip, _render(Table(box=box.MARKDOWN), escaped, words))
  # The library aligns the text itself but does not write the colons by which Markdown aligns columns of numbers.
  _, *dashes, _ = rule.split("|")
  dashes[words:] = [cell[:-1] + ":" for cell in dashes[words:]]
  return "\n".join([head, f"|{'|'.join(dashes)}|", *body]) + "\n"


def csv_table(lines: Cells) -> str:
  r"""Comma-separated values, a line for each line of cells.

  >>> csv_table([["layer", "parameters"], ["c1", "156"]])
  'layer,parameters\nc1,156\n'
  """
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows(lines)
  return text.getvalue()


def _render(table, lines, words, total=False):
  """The lines of `table` with these cells in it."""
  head, *body = lines
  for number, cell in enumerate(head):
    table.add_column(cell, justify="left" if number < words else "right", no_wrap=True)
  for number, cells in enumerate(body):
    table.add_row(*cells, end_section=total and number == len(body) - 2)
  text = io.StringIO()
  # Cells are plain text: no markup, no colours, and as wide as they need to be.
  Console(file=text, width=1_000_000, color_system=None, markup=False, emoji=False, highlight=False).print(table)
  return text.getvalue().splitlines()
