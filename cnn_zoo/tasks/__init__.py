"""What a kind of problem means: its batch, its loss and its metrics. A task is a module with these functions."""

from types import ModuleType

from cnn_zoo.errors import check_name
from cnn_zoo.tasks import classification, segmentation
from cnn_zoo.tasks.inputs import normalize

TASKS = {"classification": classification, "segmentation": segmentation}


def get_task(name: str) -> ModuleType:
  """The task called `name`.

  It has losses(outputs, batch, label_smoothing) of each example, sums(outputs, batch, losses) over a batch,
  zero_sums(num_classes) of none, metrics(totals) of the sums of any number of batches, and two names: `best`, the
  metric that decides which checkpoint is the best, and `best_label`, what people call it.
  """
  check_name("config.task", name, TASKS)
  return TASKS[name]


__all__ = ["TASKS", "get_task", "normalize"]
