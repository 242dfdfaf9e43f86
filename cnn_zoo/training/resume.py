"""Where a run goes on: what its folder holds, and whether the configuration can continue it."""

from typing import NamedTuple

from ml_collections import ConfigDict

from cnn_zoo.errors import UserError
from cnn_zoo.training import setup
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.environment import environment_changes
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.plan import learning_rates
from cnn_zoo.training.schedules import training_steps


class Start(NamedTuple):
  """Where a run starts.

  Attributes:
    step: the steps that are done; 0 for a new run.
    total: the steps of the whole run; None for a new run, whose dataset is not open yet.
    iterator: the state of the data iterator; None for a new run.
    best: the highest metric of an evaluation so far.
    notes: lines for the log.
  """

  step: int = 0
  total: int | None = None
  iterator: dict | None = None
  best: float = -1.0
  notes: tuple[str, ...] = ()

  @property
  def finished(self) -> bool:
    """Whether nothing is left to train."""
    return self.step == self.total


def make_details(
  config: ConfigDict, iterator: dict, total: int, num_train: int, best: float, environment: dict
) -> dict:
  """What a run's checkpoint holds besides the state, as JSON; `find_start` reads it.

  Its "imported" is None; that of imported weights says where they are from (`cnn_zoo.runs.importing`).

  Args:
    config: the run's configuration.
    iterator: the state of the data iterator.
    total: the number of steps of the run.
    num_train: examples in an epoch.
    best: the highest metric of an evaluation so far.
    environment: of the process (`cnn_zoo.training.environment.current_environment`).
  """
  return {
    "config": config.to_dict(),
    "imported": None,
    "iterator": iterator,
    "total_steps": total,
    "num_train": num_train,
    "best": best,
    "environment": environment,
  }


def find_start(checkpoints: Checkpoints, config: ConfigDict, folder: RunFolder, environment: dict) -> Start:
  """Where the run in `folder` goes on.

  Args:
    checkpoints: of the folder.
    config: what is to be run.
    folder: the run's folder.
    environment: of this process (`cnn_zoo.training.environment.current_environment`).

  Raises:
    UserError: if the folder holds imported weights or another run, or a run whose length cannot become `config`'s.
  """
  step = max(checkpoints.steps(), default=None)
  if step is None:
    return Start()
  details = checkpoints.details(step)
  if details["imported"]:
    raise UserError(
      f"workdir={str(folder)!r} holds imported weights, not a run; give another --workdir and --config.init={folder}"
    )
  setup.check_same_run(details["config"], config, folder.path)
  total = training_steps(config, details["num_train"])
  extended = _check_length(step, total, details, config, folder)
  if step == total:
    note = (
      f"this run is finished: step {step} of {total} is in {folder.checkpoints}; evaluating it. To train longer, set "
      f"--config.epochs or --config.steps (with --workdir={folder}); to start over, --restart"
    )
  else:
    note = f"resuming from step {step} of {total}, found in {folder.checkpoints}"
  changes = environment_changes(details["environment"], environment)
  warning = f"warning: since step {step} was saved there are changes: {'; '.join(changes)}"
  notes = (note, *([extended] if extended else []), *([warning] if changes else []))
  return Start(step, total, details["iterator"], details["best"], notes)


def _check_length(step, total, details, config, folder):
  """Raises UserError unless a run of `details` can become one of `total` steps; returns a line about a change."""
  old = details["total_steps"]
  if total == old:
    return ""
  field = "epochs" if config.steps is None else "steps"
  given = f"config.{field}={config[field]}"
  if total < old:
    raise UserError(
      f"{given} makes {total} steps, but workdir={str(folder)!r} holds a run of {old}; "
      f"valid: at least {old} steps, or another --workdir"
    )
  before, after = (learning_rates(config, n, details["num_train"]) for n in (old, total))
  changed = config.schedule.name == "cosine"
  if changed and not config.schedule.extend:
    raise UserError(
      f"{given} extends the run in workdir={str(folder)!r} from {old} to {total} steps, but its "
      f"config.schedule.name='cosine' depends on the length; valid: --config.schedule.extend=True, with which the "
      f"learning rate of step {step + 1} is {after[step]:.3g} (the last was {before[step - 1]:.3g}), or another --workdir"
    )
  line = f"extending the run from {old} to {total} steps"
  if changed:
    line += f"; the learning rate goes from {before[step - 1]:.3g} to {after[step]:.3g}, the cosine of {total} steps"
  return line
