"""Rows of the configuration: what they read and what they allow."""

import math

import pytest

from cnn_zoo.training import fields


@pytest.mark.parametrize(
  ("row", "allowed", "refused", "valid"),
  [
    (
      fields.whole(8, "[1, 16]", "x"),
      (1, 16),
      (0, 17, 1.0, True, "8", None),
      "a whole number, at least 1 and at most 16",
    ),
    (fields.whole(None, "[1, inf)", "x"), (1, 10**9, None), (0,), "a whole number, at least 1, or None"),
    (fields.number(0.5, "(0, 1)", "x"), (0.1, 0.9), (0, 1, math.nan, True), "a number, above 0 and below 1"),
    (fields.number(0.5, "(-inf, inf)", "x"), (-1e30, 3), (math.inf,), "a number"),
    (
      fields.numbers((0.5,), "(0, 2]", "x"),
      ((2,), [0.1, 1]),
      ((), (0,), 1.0),
      "numbers such as (1,2), each above 0 and",
    ),
    (fields.switch(False, "x"), (True, False), (0, "true", None), "true or false"),
    (fields.choice("a", ["a", "b"], "x"), ("a", "b"), ("c", None), "a, b"),
    (fields.text(None, "x"), ("gs://a", None), ("a\nb", 1), "text, or None"),
  ],
)
def test_what_is_allowed(row, allowed, refused, valid):
  assert all(map(row.allows, allowed)) and not any(map(row.allows, refused))
  assert row.valid().startswith(valid)


@pytest.mark.parametrize(
  ("row", "text", "value"),
  [
    (fields.whole(None, "[1, 9]", "x"), "None", None),
    (fields.whole(1, "[1, 9]", "x"), "7", 7),
    (fields.number(1.0, "[0, 9]", "x"), "1e-3", 0.001),
    (fields.switch(False, "x"), "True", True),
    (fields.numbers((1.0,), "[0, 9]", "x"), "0.5", (0.5,)),
    (fields.numbers((1.0,), "[0, 9]", "x"), "[1, 2]", (1, 2)),
    (fields.text("a", "x"), "None", "None"),
  ],
)
def test_reading(row, text, value):
  read = row.read(text)
  assert read == value and type(read) is type(value)
