import pytest

from cnn_zoo.errors import UserError, check_name, nearest


def test_nearest_names_what_is_close_or_else_everything():
  assert nearest("resnet", ["resnet18", "vgg"]) == "did you mean resnet18?"
  assert nearest("standrad", ["standard", "depthwise"]) == "did you mean standard?"
  assert nearest("zzz", ["b", "a"]) == "valid: a, b"
  assert nearest(3, ["a"]) == "valid: a"


def test_check_name():
  check_name("model", "a", iter(["a", "b"]))
  with pytest.raises(UserError, match=r"^model='c' is not known; valid: a, b$"):
    check_name("model", "c", iter(["a", "b"]))


def test_a_user_error_is_a_value_error():
  assert issubclass(UserError, ValueError)
