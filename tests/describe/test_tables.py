"""Tables in each format."""

import csv
import io

from cnn_zoo.describe.tables import csv_table, markdown_table, text_table

LINES = [["layer", "type", "parameters"], ["a[0].b", "a|b", "1,234"], ["", ":smile:", "5"], ["total", "", "1,239"]]


def test_text():
  """Words are aligned left, numbers right; brackets and colons are not markup."""
  assert text_table(LINES, words=2).splitlines() == [
    "layer   type     parameters",
    "---------------------------",
    "a[0].b  a|b           1,234",
    "        :smile:           5",
    "total                 1,239",
  ]
  with_total = text_table(LINES, words=2, total=True).splitlines()
  assert with_total[4] == with_total[1] and len(with_total) == 6


def test_long_lines_are_not_broken():
  cell = "x" * 1000
  assert text_table([["head", "n"], [cell, "1"]], words=1).splitlines()[-1] == f"{cell}  1"


def test_markdown():
  assert markdown_table(LINES, words=2) == (
    "| layer  | type    | parameters |\n"
    "|--------|---------|-----------:|\n"
    "| a[0].b | a\\|b    |      1,234 |\n"
    "|        | :smile: |          5 |\n"
    "| total  |         |      1,239 |\n"
  )


def test_csv():
  assert list(csv.reader(io.StringIO(csv_table(LINES)))) == LINES


def test_only_a_header():
  assert text_table([["a", "b"]], words=1).splitlines()[0] == "a  b"
  assert markdown_table([["a", "b"]], words=1) == "| a | b |\n|---|--:|\n"
