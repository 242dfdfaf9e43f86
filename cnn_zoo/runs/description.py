"""The layers of the model that a configuration trains."""

import jax
from ml_collections import ConfigDict

from cnn_zoo.data import dataset_info, input_shape
from cnn_zoo.describe.summary import LayerTable, describe
from cnn_zoo.models import abstract_model
from cnn_zoo.training.network import compute_dtype, configured_model


def describe_config(config: ConfigDict) -> LayerTable:
  """The table of the model that a configuration trains, for an example of its dataset.

  Nothing is computed, and the dataset need not be prepared.

  Args:
    config: the configuration, as the files in configs/ return it.

  Returns:
    The table, as from `cnn_zoo.describe`.

  Raises:
    UserError: if the model does not take inputs of that size, does not exist, or an option of it is not valid.

  >>> from configs import base
  >>> table = describe_config(base.get_config("lenet5", "digits"))
  >>> table.input_shape, table.parameters
  ((32, 32, 1), 61706)
  """
  info = dataset_info(config.data, prepared=False)
  dtype = compute_dtype(config, jax.devices()[0].platform)
  model = configured_model(config, info.num_classes, info.channels, dtype, create=abstract_model)
  return describe(model, input_shape(config.data, info))
