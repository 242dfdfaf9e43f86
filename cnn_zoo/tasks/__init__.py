"""What a kind of problem means: its batch, its loss and its metrics. A task is a module with these functions."""

from types import ModuleType

from cnn_zoo.errors import check_name
from cnn_zoo.tasks import classification, segmentation
from cnn_zoo.tasks.inputs import normalize

TASKS = {"classification": classification, "segmentation": segmentation}


def get_task(name: str) -> ModuleType:
  """The task called `name`: a module with the names below.

  - `losses(outputs, batch, label_smoothing)`: the loss of each example.
  - `sums(outputs, batch, losses)`: sums over the examples of a batch.
  - `zero_sums(num_classes)`: the sums over no example.
  - `metrics(totals)`: the metrics, from the sums of any number of batches.
  - `best`: the metric that decides which checkpoint is the best; higher is better.
  - `best_label`: the name of this metric in sentences.

  Args:
    name: `config.task`, one of `TASKS`.

  Returns:
    The module.

  Raises:
    UserError: if there is no such task.

  Example:
    >>> get_task("segmentation").best_label
    'mean IoU'
  """
  check_name("config.task", name, TASKS)
  return TASKS[name]


__all__ = ["TASKS", "get_task", "normalize"]
