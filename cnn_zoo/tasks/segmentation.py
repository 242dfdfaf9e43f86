"""Semantic segmentation: a class for each pixel, cross-entropy, mean intersection over union and pixel accuracy."""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_zoo.errors import UserError

Outputs = jax.Array | tuple[jax.Array, tuple[jax.Array, ...]]
"""What a model returns: logits `[batch, *spatial, classes]`, in training perhaps with those of auxiliary heads."""

IGNORE = 255  # the label of pixels that belong to no class and are left out (as in Pascal VOC)
AUXILIARY_WEIGHT = 0.5  # of each auxiliary head's loss, as torchvision's reference training


def losses(outputs: Outputs, batch: dict, label_smoothing: float = 0.0) -> jax.Array:
  """The mean cross-entropy over the labelled pixels of each example.

  Auxiliary heads add theirs, times `AUXILIARY_WEIGHT`.
  It is a mean within each example, not over all pixels of the batch. So every example has the same weight, and a device
  does not need to know how many labelled pixels the others have.

  Args:
    outputs: of the model.
    batch: with "label", `[batch, *spatial]`, classes or `IGNORE`.
    label_smoothing: how much of the probability is spread evenly over all classes.

  Returns:
    float32 `[batch]`; 0 for an example without labelled pixels.

  Raises:
    UserError: if the outputs are not of the labels' size.

  Example:
    >>> losses(jnp.zeros((1, 2, 2, 4)), {"label": jnp.array([[[0, 1], [3, IGNORE]]], jnp.uint8)})
    Array([1.3862944], dtype=float32)
  """
  logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, ())
  labels = batch["label"].astype(jnp.int32)
  if logits.shape[:-1] != labels.shape:
    raise UserError(
      f"config.model.name: the outputs are {logits.shape[1:]} for each example, but config.task='segmentation' "
      f"needs a logit of each class for each of {'x'.join(map(str, labels.shape[1:]))} pixels; "
      "valid: a model of dense prediction, such as unet"
    )
  loss = _cross_entropy(logits, labels, label_smoothing)
  for others in auxiliary:
    loss += AUXILIARY_WEIGHT * _cross_entropy(others, labels, label_smoothing)
  return loss


def _cross_entropy(logits, labels, label_smoothing):
  labelled = labels != IGNORE
  log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
  picked = jnp.take_along_axis(log_probabilities, jnp.where(labelled, labels, 0)[..., None], -1)[..., 0]
  loss = -(1 - label_smoothing) * picked - label_smoothing * log_probabilities.mean(-1)
  axes = tuple(range(1, labels.ndim))
  return jnp.sum(loss * labelled, axes) / jnp.maximum(jnp.sum(labelled, axes), 1)


def sums(outputs: Outputs, batch: dict, loss: jax.Array) -> dict[str, jax.Array]:
  """Sums over the examples of a batch, without padding.

  Args:
    outputs: of the model.
    batch: with "label" and "mask", bool `[batch]`, False for padding.
    loss: of each example, as `losses` returns it.

  Returns:
    `count` and `loss`, float32 scalars, and `confusion`, int32 `[classes, classes]`, which counts the labelled pixels
    by their class (row) and by the predicted class (column). Where logits are not finite, a pixel counts as wrong.
  """
  logits = outputs[0] if isinstance(outputs, tuple) else outputs
  classes = logits.shape[-1]
  mask = batch["mask"].astype(jnp.float32)
  labels = batch["label"].astype(jnp.int32)
  given = jnp.where(jnp.isfinite(logits).all(-1), logits.argmax(-1), (labels + 1) % classes)
  labels = jnp.where(batch["mask"].reshape(-1, *[1] * (labels.ndim - 1)), labels, IGNORE)
  # As a product of one-hot rows: unlike a scatter it stays on each device's own rows.
  rows, columns = (jax.nn.one_hot(x, classes, dtype=jnp.int8).reshape(-1, classes) for x in (labels, given))
  confusion = jax.lax.dot_general(rows, columns, (((0,), (0,)), ((), ())), preferred_element_type=jnp.int32)
  return {"count": mask.sum(), "loss": (loss * mask).sum(), "confusion": confusion}


def zero_sums(num_classes: int) -> dict[str, jax.Array]:
  """What `sums` returns for no example."""
  zero = jnp.zeros((), jnp.float32)
  return {"count": zero, "loss": zero, "confusion": jnp.zeros((num_classes, num_classes), jnp.int32)}


def metrics(totals: dict) -> dict[str, float]:
  """The metrics, from `sums` added up over any number of batches.

  Returns:
    `loss`; `mean_iou`, the mean of intersection over union over the classes that are labelled or predicted somewhere
    (the measure of Pascal VOC, Everingham et al. 2015); `pixel_accuracy`, the share of labelled pixels that are right.

  Example:
    >>> metrics({"count": 1, "loss": 0.5, "confusion": [[3, 1], [0, 4]]})
    {'loss': 0.5, 'mean_iou': 0.775, 'pixel_accuracy': 0.875}
  """
  confusion = np.asarray(totals["confusion"], np.float64)
  hits = np.diag(confusion)
  union = confusion.sum(0) + confusion.sum(1) - hits
  appears = union > 0
  return {
    "loss": float(totals["loss"]) / float(totals["count"]),
    "mean_iou": float(np.mean(hits[appears] / union[appears])) if appears.any() else 0.0,
    "pixel_accuracy": float(hits.sum() / max(confusion.sum(), 1)),
  }


best = "mean_iou"  # the metric that decides which checkpoint is the best; higher is better
best_label = "mean IoU"
