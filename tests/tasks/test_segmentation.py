"""The loss and the counts of segmentation against NumPy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from cnn_zoo.data.kinds import scene
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import segmentation


def batch(labels, mask=None):
  labels = jnp.asarray(labels, jnp.uint8)
  return {"label": labels, "mask": jnp.ones(len(labels), bool) if mask is None else jnp.asarray(mask)}


def drawn(examples=5, size=6, classes=4, ignored=0.2, seed=0):
  """Logits and labels, some of which are to be ignored."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes, (examples, size, size + 1)).astype(np.uint8)
  logits = rng.normal(size=(*labels.shape, classes)) + 1.5 * np.eye(classes)[labels]
  labels[rng.random(labels.shape) < ignored] = segmentation.IGNORE
  return jnp.asarray(logits, jnp.float32), labels


def count(logits, labels, mask=None):
  b = batch(labels, mask)
  return jax.device_get(segmentation.sums(logits, b, segmentation.losses(logits, b)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_mean_over_the_labelled_pixels_of_each_example(smoothing):
  logits, labels = drawn()
  log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
  expected = []
  for scores, answer in zip(log_p, labels, strict=True):
    labelled = answer != segmentation.IGNORE
    target = (1 - smoothing) * np.eye(4)[answer[labelled]] + smoothing / 4
    expected.append(-(target * scores[labelled]).sum(-1).mean())
  np.testing.assert_allclose(segmentation.losses(logits, batch(labels), smoothing), expected, rtol=1e-5)


def test_labels_of_no_class_are_those_of_the_data():
  assert segmentation.IGNORE == scene.IGNORE == scene.NO_LABEL


def test_ignored_pixels_have_neither_loss_nor_gradient():
  logits, labels = drawn()
  labels[2] = segmentation.IGNORE
  loss, gradient = jax.value_and_grad(lambda x: segmentation.losses(x, batch(labels)).sum())(logits)
  assert np.isfinite(loss) and segmentation.losses(logits, batch(labels))[2] == 0
  assert not np.asarray(gradient)[labels == segmentation.IGNORE].any()
  assert np.asarray(gradient)[labels != segmentation.IGNORE].all()


def test_auxiliary_heads_add_half_of_their_losses_and_have_no_say():
  logits, labels = drawn()
  other, _ = drawn(seed=1)
  alone, aside = (segmentation.losses(x, batch(labels)) for x in (logits, other))
  both = segmentation.losses((logits, (other,)), batch(labels))
  np.testing.assert_allclose(both, alone + 0.5 * aside, rtol=1e-6)
  sums = segmentation.sums((logits, (other,)), batch(labels), both)
  np.testing.assert_array_equal(sums["confusion"], count(logits, labels)["confusion"])


def test_counts_and_metrics_are_scikit_learns():
  logits, labels = drawn()
  seen, given = labels != segmentation.IGNORE, np.asarray(logits.argmax(-1))
  sums = count(logits, labels)
  np.testing.assert_array_equal(sums["confusion"], confusion_matrix(labels[seen], given[seen]))
  values = segmentation.metrics(sums)
  assert values["mean_iou"] == pytest.approx(jaccard_score(labels[seen], given[seen], average="macro"), abs=1e-12)
  assert values["pixel_accuracy"] == pytest.approx((labels == given)[seen].mean(), abs=1e-12)
  assert segmentation.best in values


def test_batches_and_filling_add_up():
  logits, labels = drawn(examples=7)
  whole = count(logits, labels)
  filled = jnp.concatenate([logits[4:], jnp.full((1, *logits.shape[1:]), 3.0)])
  blank = np.concatenate([labels[4:], np.zeros_like(labels[:1])])  # a filling whose labels would count
  parts = count(logits[:4], labels[:4]), count(filled, blank, [True] * 3 + [False])
  added = jax.tree.map(np.add, *parts)
  assert added["count"] == whole["count"] == 7
  np.testing.assert_array_equal(added["confusion"], whole["confusion"])
  assert added["loss"] == pytest.approx(float(whole["loss"]), rel=1e-5)


def test_classes_that_appear_nowhere_do_not_count():
  labels = np.zeros((1, 2, 2), np.uint8)
  logits = jnp.eye(5)[jnp.asarray([[[0, 0], [0, 1]]])]
  assert segmentation.metrics(count(logits, labels))["mean_iou"] == pytest.approx((3 / 4 + 0) / 2)
  assert segmentation.metrics(count(logits, np.full_like(labels, segmentation.IGNORE)))["mean_iou"] == 0


def test_scores_that_are_not_finite_are_wrong():
  logits = jnp.asarray([[[1.0, 0.0], [jnp.nan, 0.0], [0.0, jnp.inf]]])
  assert segmentation.metrics(count(logits, [[0, 0, 1]]))["pixel_accuracy"] == pytest.approx(1 / 3)


def test_large_counts_stay_exact():
  """Beyond 2^24, where float32 skips whole numbers."""
  size = 2**12 + 1
  labels = np.zeros((1, size, size), np.uint8)
  answers = np.zeros((*labels.shape, 2), np.float32)
  answers[0, 0, 0, 1] = 1  # the one wrong pixel
  counted = jax.jit(segmentation.sums)(answers, batch(labels), jnp.zeros(1))
  assert counted["confusion"].tolist() == [[size**2 - 1, 1], [0, 0]]


def test_zero_sums_are_those_of_nothing():
  logits, labels = drawn(examples=2)
  sums, zero = count(logits, labels, [False, False]), segmentation.zero_sums(4)
  assert jax.tree.map(lambda a, b: (a == b).all() and a.dtype == b.dtype, sums, zero) == jax.tree.map(
    lambda _: True, zero
  )


@pytest.mark.parametrize("shape", [(5, 4), (5, 3, 7, 4)])
def test_answers_of_another_size_are_refused(shape):
  _, labels = drawn()
  with pytest.raises(UserError, match=r"needs a logit of each class for each of 6x7 pixels; valid: a model of dense"):
    segmentation.losses(jnp.zeros(shape), batch(labels))
