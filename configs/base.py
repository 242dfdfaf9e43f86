"""Configurations: a model, the settings of a dataset, and the recipe that the experiment's file has for it.

Every setting, with its default and what it means, is a row of `cnn_zoo/training/settings.py`. A file of this folder
names a model and gives its recipes; a recipe is a function that changes what differs from the defaults:

    def digits(config):
      config.epochs = 10.0

    get_config = base.experiment("resnet50", digits=digits, cifar=cifar, imagenet=imagenet)

`--config=configs/NAME.py` takes the first recipe and the small embedded dataset of its name. `:DATASET` after it takes
another dataset, with the recipe that its `DatasetSpec` names, or with the first if the file has no such recipe.
`:DATASET,recipe=NAME` takes the recipe called NAME.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import ModuleType

from ml_collections import ConfigDict

from cnn_zoo.data import KINDS, SPECS
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.training.settings import default_config


def get_config(model: str = "lenet5", dataset: str = "digits") -> ConfigDict:
  """The defaults for one model on one dataset, before any recipe.

  Raises:
    UserError: there is no such model or dataset.

  >>> get_config("m5", "speech_commands").data.samples
  16000
  """
  check_name("config.data.name", dataset, SPECS)
  kind = KINDS[SPECS[dataset].kind]
  config = default_config(model)
  config.task = kind.TASK
  config.data.name = dataset
  config.data.update(SPECS[dataset].settings)
  if "rank" in config.model:
    config.model.rank = kind.RANK
  return config


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A model and its recipes; called with what follows the colon in --config, it returns the configuration.

  Attributes:
    model: name of the architecture.
    recipes: {name: function that changes a configuration in place}; the first is for the small embedded dataset.
  """

  model: str
  recipes: Mapping[str, Callable[[ConfigDict], None]]

  def __call__(self, argument: str = "") -> ConfigDict:
    """The configuration for "DATASET", "DATASET,recipe=NAME", or "" for the embedded dataset.

    Raises:
      UserError: there is no such dataset or recipe.
    """
    dataset, *options = argument.split(",")
    first = next(iter(self.recipes))
    dataset = dataset or next(name for name, spec in SPECS.items() if first in (name, spec.recipe))
    config = get_config(self.model, dataset)
    recipe = SPECS[dataset].recipe or dataset
    recipe = recipe if recipe in self.recipes else first
    for option in options:
      key, _, recipe = option.partition("=")
      if key != "recipe":
        raise UserError(f"config={argument!r} has no option {key!r}; valid: recipe=NAME")
      check_name("recipe", recipe, self.recipes)
    self.recipes[recipe](config)
    return config


def experiment(model: str, **recipes: Callable[[ConfigDict], None]) -> Experiment:
  """What a file of configs/ calls `get_config`: a model and its recipes, that for the embedded dataset first.

  >>> def digits(config):
  ...   config.epochs = 8.0
  >>> get_config = experiment("lenet5", digits=digits)
  >>> get_config("mnist").data.name, get_config("mnist").epochs
  ('mnist', 8.0)
  """
  return Experiment(model, recipes)


def sibling(model: str, of: ModuleType, **recipes: Callable[[ConfigDict], None]) -> Experiment:
  """Another model with the recipes of a file of configs/.

  Args:
    model: name of the architecture.
    of: the module of that file.
    **recipes: those that differ.

  >>> from configs import resnet50
  >>> sibling("resnet101", of=resnet50)("imagenet").optimizer.name
  'sgd'
  """
  return Experiment(model, {**of.get_config.recipes, **recipes})


def cifar(config: ConfigDict) -> None:
  """A recipe for CIFAR-10 and CIFAR-100 that suits networks with batch normalisation.

  The rate, batch size, weight decay and length of Zagoruyko and Komodakis (2016, section 3), along a cosine.
  """
  config.update(epochs=200.0, batch_size=128, log_every_steps=100)
  config.optimizer.update(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
  config.schedule.warmup_epochs = 5.0
  config.eval.update(every_epochs=5.0, batch_size=1000)


def cifar_adamw(config: ConfigDict) -> None:
  """The same for networks without batch normalisation, in which a rate of 0.1 diverges."""
  cifar(config)
  config.epochs = 100.0
  config.optimizer.update(name="adamw", learning_rate=5e-4, weight_decay=0.05, clip_norm=1.0)
