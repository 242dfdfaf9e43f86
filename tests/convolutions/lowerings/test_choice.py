import jax
import jax.numpy as jnp
import pytest

from cnn_zoo.convolutions import lowering
from cnn_zoo.convolutions.lowerings.choice import Rule, choose, current_platform
from cnn_zoo.errors import UserError


def test_the_first_rule_that_fits_is_taken():
  rules = [Rule("cpu", lambda n: n > 2, max), Rule("cpu", lambda n: n > 1, min), Rule("tpu", lambda n: True, sum)]
  for platform, choices in {"cpu": [len, min, max], "tpu": [sum] * 3, "gpu": [len] * 3}.items():
    with lowering("auto", platform):
      assert [choose(rules, len, n) for n in (1, 2, 3)] == choices
    with lowering("lax", platform):
      assert [choose(rules, len, n) for n in (1, 2, 3)] == [len] * 3


def test_contexts_nest():
  assert current_platform() == jax.default_backend()
  with lowering("auto", platform="tpu"):
    with lowering("lax"):
      assert current_platform() is None
      with lowering("auto"):
        assert current_platform() == "tpu"
      with lowering("auto", platform="gpu"):
        assert current_platform() == "gpu"
    assert current_platform() == "tpu"
  assert current_platform() == jax.default_backend()


def test_the_setting_ends_with_an_exception_and_refuses_other_names():
  with pytest.raises(KeyError), lowering("lax"):
    raise KeyError
  assert current_platform() == jax.default_backend()
  with pytest.raises(UserError, match=r"convolution_lowering='cudnn' is not known; valid: auto, lax"):
    lowering("cudnn").__enter__()


def test_the_setting_is_part_of_the_key_of_jit():
  """One jitted function is traced again in every setting, and only once in each."""
  traced = []

  @jax.jit
  def platform_of(x):
    traced.append(current_platform())
    return x + len(traced)

  def result(*setting):
    with lowering(*setting):
      return platform_of(jnp.zeros(())).item()

  settings = [("auto", "cpu"), ("lax",), ("auto", "tpu"), ("lax", "tpu")]
  first = [result(*setting) for setting in settings]
  assert first == [1, 2, 3, 4] and traced == ["cpu", None, "tpu", None]
  assert [result(*setting) for setting in settings] == first
