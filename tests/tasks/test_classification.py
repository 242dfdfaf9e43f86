"""Cross-entropy and accuracy against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.tasks import classification, get_task


def batch(labels, mask=None):
  labels = jnp.asarray(labels, jnp.int32)
  return {"label": labels, "mask": jnp.ones(len(labels), bool) if mask is None else jnp.asarray(mask)}


def count(logits, labels, mask=None):
  logits, b = jnp.asarray(logits, jnp.float32), batch(labels, mask)
  return {k: float(v) for k, v in classification.sums(logits, b, classification.losses(logits, b)).items()}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss(smoothing):
  """Label smoothing is cross-entropy with the target (1 - s) one-hot + s / classes."""
  rng = np.random.default_rng(0)
  logits, labels = rng.normal(size=(8, 7)) * 3, rng.integers(0, 7, 8)
  probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  target = (1 - smoothing) * np.eye(7)[labels] + smoothing / 7
  loss = classification.losses(jnp.asarray(logits), batch(labels), smoothing)
  np.testing.assert_allclose(loss, -(target * np.log(probabilities)).sum(-1), rtol=1e-5)


def test_loss_is_float32_and_of_large_scores_finite():
  loss = classification.losses(jnp.asarray([[1e4, -1e4, 0]], jnp.bfloat16), batch([1]))
  assert loss.dtype == jnp.float32 and float(loss[0]) == pytest.approx(2e4, rel=0.01)


def test_accuracy():
  rng = np.random.default_rng(0)
  logits, labels = rng.normal(size=(200, 12)), rng.integers(0, 12, 200)
  order = np.argsort(-logits, -1)
  sums = count(logits, labels)
  assert sums["count"] == 200
  assert sums["top1"] == (order[:, 0] == labels).sum()
  assert sums["top5"] == (order[:, :5] == labels[:, None]).any(-1).sum()


def test_ties_go_to_the_first_class():
  """As argmax has it: constant scores are right for class 0 alone, and among the first five for classes 0 to 4."""
  sums = [count(np.zeros((1, 8)), [label]) for label in range(8)]
  assert [s["top1"] for s in sums] == [1] + [0] * 7
  assert [s["top5"] for s in sums] == [1] * 5 + [0] * 3


def test_scores_that_are_not_finite_are_wrong():
  rows = [[np.nan] * 6, [np.inf, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, np.nan], [1, 0, 0, 0, 0, 0]]
  sums = count(rows, [0, 0, 0, 0])
  assert (sums["count"], sums["top1"], sums["top5"]) == (4, 1, 1)


def test_padding_does_not_count():
  rng = np.random.default_rng(0)
  logits, labels = rng.normal(size=(6, 7)), rng.integers(0, 7, 6)
  padded = count(np.concatenate([logits, np.zeros((3, 7))]), [*labels, 0, 0, 0], [True] * 6 + [False] * 3)
  assert padded == pytest.approx(count(logits, labels))


def test_three_classes_are_all_among_the_first_five():
  assert count(np.eye(3), [2, 2, 2])["top5"] == 3


def test_metrics_are_means():
  values = classification.metrics({"count": 8.0, "loss": 4.0, "top1": 2.0, "top5": 6.0})
  assert values == {"loss": 0.5, "top1": 0.25, "top5": 0.75}
  assert classification.best in values


def test_outputs_that_are_not_logits_are_refused():
  labels = batch([0, 1])
  with pytest.raises(UserError, match=r"the outputs are \(4, 4, 3\) for each example, but config.task='classificat"):
    classification.losses(jnp.zeros((2, 4, 4, 3)), labels)


def test_zero_sums_are_those_of_nothing():
  logits, labels = jnp.zeros((2, 7)), batch([0, 1], [False, False])
  sums = classification.sums(logits, labels, classification.losses(logits, labels))
  assert jax.tree.map(float, sums) == jax.tree.map(float, classification.zero_sums(7))


def test_gradient_is_probabilities_minus_target():
  logits = jnp.asarray([[1.0, 2.0, 3.0]])
  gradient = jax.grad(lambda x: classification.losses(x, batch([0])).sum())(logits)
  np.testing.assert_allclose(gradient, jax.nn.softmax(logits) - jnp.eye(3)[:1], atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_auxiliary_classifiers_add_three_tenths_of_their_losses(smoothing):
  rng = np.random.default_rng(1)
  main, *others = (jnp.asarray(rng.normal(size=(8, 7)), jnp.float32) for _ in range(3))
  labels = batch(rng.integers(0, 7, 8))
  alone, first, second = (classification.losses(logits, labels, smoothing) for logits in (main, *others))
  loss = classification.losses((main, tuple(others)), labels, smoothing)
  np.testing.assert_allclose(loss, alone + 0.3 * first + 0.3 * second, rtol=1e-6)
  np.testing.assert_array_equal(classification.losses((main, ()), labels, smoothing), alone)


def test_auxiliary_classifiers_have_no_say_in_what_is_right():
  labels = batch([0, 1, 2, 3])
  right, wrong = jnp.eye(8)[:4], jnp.roll(jnp.eye(8), 4, 1)[:4] - 2 * jnp.eye(8)[:4]
  loss = classification.losses((right, (wrong, wrong)), labels)
  sums = classification.sums((right, (wrong, wrong)), labels, loss)
  assert (sums["count"], sums["top1"], sums["top5"]) == (4, 4, 4)
  assert sums["loss"] == pytest.approx(float(loss.sum()))
  sums = classification.sums((wrong, (right, right)), labels, loss)
  assert (sums["top1"], sums["top5"]) == (0, 0)


def test_unknown_task():
  with pytest.raises(UserError, match=r"config\.task='clasification' is not known; did you mean classification\?"):
    get_task("clasification")
