"""One file per family. Every file of this package is imported, and importing a family registers its names."""

import importlib
import pkgutil

from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import abstract_model, create_model, list_models, model_options, published_setting

for _file in pkgutil.iter_modules(__path__):
  importlib.import_module(f"{__name__}.{_file.name}")

__all__ = ["Network", "abstract_model", "create_model", "list_models", "model_options", "published_setting"]
