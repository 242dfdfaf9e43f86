import importlib.util
import sys
import threading

import pytest
from tensorflow_datasets.core.utils import lazy_imports_utils

from cnn_zoo.data.tfds_internals import stand_ins

missing = pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")


def stood_in():
  return "_module" in vars(lazy_imports_utils.tensorflow)


@missing
def test_contexts_can_be_nested_and_leave_nothing():
  with stand_ins():
    with stand_ins():
      assert stood_in()
    assert stood_in() and lazy_imports_utils.tensorflow.shape([[1, 2]]) == (1, 2)
  assert not stood_in()


@missing
def test_one_thread_at_a_time_is_in_a_context():
  inside, leave, second = threading.Event(), threading.Event(), []

  def hold():
    with stand_ins():
      inside.set()
      leave.wait()

  def enter():
    with stand_ins():
      second.append(stood_in())

  threads = [threading.Thread(target=hold), threading.Thread(target=enter)]
  threads[0].start()
  inside.wait()
  threads[1].start()
  threads[1].join(timeout=0.2)
  assert threads[1].is_alive() and not second
  leave.set()
  for thread in threads:
    thread.join()
  assert second == [True] and not stood_in()


@pytest.mark.skipif(importlib.util.find_spec("pydub") is not None, reason="pydub is installed")
def test_no_module_is_left_behind():
  with stand_ins():
    assert "pydub" in sys.modules
  assert "pydub" not in sys.modules
