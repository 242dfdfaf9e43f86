"""Evaluation of a checkpoint by itself."""

import contextlib
import json
from pathlib import Path

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cnn_zoo import data
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.runs.saved import open_run
from cnn_zoo.training.logging import SPLITS


def evaluate(
  config: ConfigDict | None,
  workdir: str | Path,
  step: str | None = None,
  weights: str = "ema",
  *,
  split: str = "test",
) -> dict:
  """Evaluates a checkpoint on a whole split and prints a table and one JSON line.

  Args:
    config: None for the configuration that the run was started with; otherwise it must describe the same model.
    workdir: the run's folder.
    step: a step number, "last" or "best"; None as for `cnn_zoo.runs.saved.open_run`.
    weights: "ema" for the averaged weights if the run has them, "raw" for the others.
    split: "test", or "val" for the part of the training set that the run holds out.

  Returns:
    What the JSON line says.

  Raises:
    UserError: if there is no such checkpoint or split, or the checkpoint is of another model.

  Example:
    >>> evaluate(None, "runs/lenet5", step="best", split="val")["examples"]  # doctest: +SKIP
    144
  """
  check_name("split", split, ("val", "test"))
  run = open_run(config, workdir, step, weights)
  dataset = data.open_dataset(run.config.data)
  if split == "val":
    _check_validation(dataset, run)
  with contextlib.closing(run.programs) as programs:
    metrics = programs.evaluate(run.weights, dataset, SPLITS[split])
  examples = dataset.num_validation if split == "val" else dataset.num_test
  result = {"model": run.config.model.name, "dataset": run.config.data.name, "split": split, "step": run.step}
  result |= {"weights": run.kind, "examples": examples, **metrics}
  if jax.process_index() == 0:
    table = Table(*result, title=escape(str(workdir)))
    table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in result.values()))
    print_table(table)
    print(json.dumps(result), flush=True)
  return result


def _check_validation(dataset, run):
  ours, theirs = (config.data for config in (run.config, run.saved_config))
  if not dataset.num_validation:
    raise UserError(f"split='val' is empty: config.data.validation={ours.validation}; valid: split='test'")
  if run.imported and ours.name == theirs.name:
    raise UserError("split='val' holds examples that imported weights were trained on; valid: split='test'")
  if ours.name == theirs.name and ours.validation != theirs.validation:
    raise UserError(
      f"config.data.validation={ours.validation}: split='val' would hold examples that the run was trained on; "
      f"valid: {theirs.validation}"
    )


def print_table(table: Table) -> None:
  """Prints a table at least 100 columns wide: a file has no width of its own."""
  console = Console(emoji=False)  # ":cat:" may be a part of a path
  console.width = max(console.width, 100)
  console.print(table)
