"""What a kind of problem means: its batch, its loss and its metrics. A task is a module with these functions."""

from types import ModuleType

from cnn_zoo.errors import check_name
from cnn_zoo.tasks import classification

_TASKS = {"classification": classification}


def get_task(name: str) -> ModuleType:
  """The task called `name`: normalize(), losses(), sums(), metrics() and `best`."""
  check_name("config.task", name, _TASKS)
  return _TASKS[name]


__all__ = ["get_task"]
