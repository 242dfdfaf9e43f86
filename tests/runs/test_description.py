"""The layers of the model that a configuration trains."""

from cnn_zoo import command_line
from cnn_zoo.runs.description import describe_config
from tests.helpers import ROOT


def test_a_dataset_that_is_not_there(tmp_path):
  """The model that would be trained, with its dtype and its convolutions replaced by a variant."""
  config = command_line.load_config(f"{ROOT}/configs/vgg11.py:imagenet")
  config.model.update({"convolution": "grouped:groups=4,keep=stages.0", "hidden_features": 16})
  config.dtype, config.data.directory = "bfloat16", str(tmp_path)
  table = describe_config(config)
  assert table.input_shape == (224, 224, 3) and table.layers[-1].output_shape == (1000,)
  first, second, *_ = [row for row in table.layers if row.type == "Convolution"]
  assert first.parameters == 9 * 3 * 64 + 64 and second.parameters == 9 * 64 * 128 // 4 + 128
  assert first.activation_bytes == 224 * 224 * 64 * 2
  assert not list(tmp_path.iterdir())
