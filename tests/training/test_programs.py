"""The compiled programs of training."""

import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs
from tests.helpers import runner


def test_an_input_that_is_too_small_names_the_layer_and_the_least_size():
  config = runner.load("vgg11", **{"data.image_size": 20})
  programs = Programs(config, create_mesh())
  with pytest.raises(UserError) as error:
    programs.compile_train_step()
  assert str(error.value) == (
    "config.data.image_size=20 is too small for config.model.name='vgg11': nothing would be left for pooling in layer "
    "stages.4; valid: config.data.image_size of at least 32"
  )
