"""Where a run resumes: what its folder holds, and whether the configuration can continue it."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cnn_zoo.errors import UserError
from cnn_zoo.training import settings
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.environment import environment_changes
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.plan import Plan
from cnn_zoo.training.schedules import DEPEND_ON_LENGTH


class Start(NamedTuple):
  """Where a run starts.

  Attributes:
    step: the steps that are done; 0 for a new run.
    total: the steps of the whole run; None for a new run, whose dataset is not open yet.
    iterator: the state of the data iterator; None for a new run.
    best: the highest metric of an evaluation so far.
    written: what metrics.jsonl held (`RunLog.written`); None for a new run.
    notes: lines for the log.
  """

  step: int = 0
  total: int | None = None
  iterator: dict | None = None
  best: float = -1.0
  written: dict | None = None
  notes: tuple[str, ...] = ()

  @property
  def finished(self) -> bool:
    """Whether nothing is left to train."""
    return self.step == self.total


def make_details(
  config: ConfigDict, iterator: dict, total: int, num_train: int, best: float, environment: dict, written: dict
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
    written: what metrics.jsonl holds (`RunLog.written`).
  """
  return {
    "config": config.to_dict(),
    "imported": None,
    "iterator": iterator,
    "total_steps": total,
    "num_train": num_train,
    "best": best,
    "environment": environment,
    "written": written,
  }


def find_start(
  checkpoints: Checkpoints, config: ConfigDict, folder: RunFolder, environment: dict, shapes: Any
) -> tuple[Start, Any]:
  """Where the run in `folder` resumes: the newest checkpoint that is whole. Damaged ones are moved to `folder.damaged`.

  Args:
    checkpoints: of the folder.
    config: what is to be run.
    folder: the run's folder.
    environment: of this process (`cnn_zoo.training.environment.current_environment`).
    shapes: of the state (`Programs.shapes`).

  Returns:
    Where, and the state; `Start()` and None for a new run.

  Raises:
    UserError: if the folder holds imported weights or another run, or a run that is longer than `config` asks for.
    DamageError: if there are checkpoints, of which none is whole.
  """
  if not checkpoints.steps():
    return Start(), None

  def load(step):
    start = _start(step, checkpoints.details(step), config, folder, environment)
    return start, checkpoints.restore(step, shapes)

  step, (start, state), damage = checkpoints.newest_whole(load)
  if damage:
    checkpoints.set_aside(step, folder.damaged)
    moved = f"warning: {'; '.join(damage)}; moved to {folder.damaged}; step {step} is the newest that is whole"
    start = start._replace(notes=(moved, *start.notes))
  return start, state


def _start(step, details, config, folder, environment):
  """Where the run of the checkpoint of `step` resumes."""
  if details["imported"]:
    raise UserError(
      f"workdir={str(folder)!r} holds imported weights, not a run; give another --workdir and --config.init={folder}"
    )
  settings.check_same_run(details["config"], config, folder.path)
  plan = Plan(config, details["num_train"])
  if step == plan.total:
    note = (
      f"this run is finished: step {step} of {plan.total} is in {folder.checkpoints}; evaluating it. To train longer, "
      f"set --config.epochs or --config.steps, with --workdir={folder}; to start over, --restart"
    )
  else:
    note = f"resuming from step {step} of {plan.total}, found in {folder.checkpoints}"
  changes = environment_changes(details["environment"], environment)
  warning = f"warning: since step {step} was saved there are changes: {'; '.join(changes)}"
  notes = (note, *_change_of_length(step, plan, details, config, folder), *([warning] if changes else []))
  return Start(step, plan.total, details["iterator"], details["best"], details["written"], notes)


def _change_of_length(step, plan, details, config, folder):
  """Lines about another length than the run of `details` had; raises UserError if the run is past the new end."""
  total, old = plan.total, details["total_steps"]
  if total == old:
    return []
  if total <= step:
    given = f"config.steps={config.steps}" if config.steps is not None else f"config.epochs={config.epochs}"
    raise UserError(
      f"{given} ends at step {total}, but workdir={str(folder)!r} holds a run that has done {step}; "
      f"valid: more than {step} steps, or another --workdir"
    )
  line = f"the run is {'extended' if total > old else 'shortened'} from {old} to {total} steps"
  before = Plan(settings.from_saved(details["config"]), details["num_train"]).rate(step)
  if config.schedule.name in DEPEND_ON_LENGTH:
    line += (
      f"; its {config.schedule.name} schedule is that of {total} steps from here on: the learning rate of step {step} "
      f"was {before:.3g}, that of step {step + 1} is {plan.rate(step + 1):.3g}"
    )
  return [line]
