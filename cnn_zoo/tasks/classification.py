"""Classification of images, waveforms and clips: one label an example, cross-entropy, top-1 and top-5 accuracy."""

import jax
import jax.numpy as jnp

from cnn_zoo.errors import UserError

Outputs = jax.Array | tuple[jax.Array, tuple[jax.Array, ...]]
"""What a model returns: logits `[batch, classes]`, in training possibly followed by those of auxiliary classifiers."""

AUXILIARY_WEIGHT = 0.3  # of each auxiliary classifier's loss (Szegedy et al. 2014, section 5)


def losses(outputs: Outputs, batch: dict, label_smoothing: float = 0.0) -> jax.Array:
  """The cross-entropy of each example; auxiliary classifiers add theirs, times `AUXILIARY_WEIGHT`.

  Args:
    outputs: of the model.
    batch: with "label", int32 `[batch]`.
    label_smoothing: how much of the probability is spread evenly over all classes (Szegedy et al. 2016, section 7).

  Returns:
    float32 `[batch]`.

  Raises:
    UserError: if the outputs are not a vector of logits for each example.

  Example:
    >>> losses(jnp.zeros((1, 4)), {"label": jnp.array([2])})  # the logarithm of 4
    Array([1.3862944], dtype=float32)
  """
  logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, ())
  if logits.ndim != 2:
    raise UserError(
      f"config.model.name: the outputs are {logits.shape[1:]} for each example, but config.task='classification' "
      "needs a logit for each class; valid: a model of classification, such as resnet18"
    )
  loss = _cross_entropy(logits, batch, label_smoothing)
  for others in auxiliary:
    loss += AUXILIARY_WEIGHT * _cross_entropy(others, batch, label_smoothing)
  return loss


def _cross_entropy(logits, batch, label_smoothing):
  log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
  picked = jnp.take_along_axis(log_probabilities, batch["label"][:, None], -1)[:, 0]
  return -(1 - label_smoothing) * picked - label_smoothing * log_probabilities.mean(-1)


def sums(outputs: Outputs, batch: dict, loss: jax.Array) -> dict[str, jax.Array]:
  """Sums over the examples of a batch, without padding; auxiliary classifiers do not count.

  Args:
    outputs: of the model.
    batch: with "label" and "mask", bool `[batch]`, False for padding.
    loss: of each example, as `losses` returns it.

  Returns:
    float32 scalars: `count`, `loss`, and how often the label is among the one and the five largest logits, `top1` and
    `top5`. Of equal logits the first class counts as larger; logits that are not finite are wrong.

  Example:
    >>> batch = {"label": jnp.array([1, 0]), "mask": jnp.array([True, False])}
    >>> logits = jnp.array([[0.0, 2.0], [0.0, 2.0]])
    >>> {name: float(x) for name, x in sums(logits, batch, jnp.array([0.5, 0.0])).items()}
    {'count': 1.0, 'loss': 0.5, 'top1': 1.0, 'top5': 1.0}
  """
  logits = outputs[0] if isinstance(outputs, tuple) else outputs
  mask = batch["mask"].astype(jnp.float32)
  picked = jnp.take_along_axis(logits, batch["label"][:, None], -1)
  # How many classes come before the right one; of equal scores the first, as argmax has it.
  tied_before = (logits == picked) & (jnp.arange(logits.shape[-1]) < batch["label"][:, None])
  rank = jnp.sum((logits > picked) | tied_before, -1)
  # A row of NaN compares false everywhere and would count as right.
  rank = jnp.where(jnp.isfinite(logits).all(-1), rank, logits.shape[-1])
  return {
    "count": mask.sum(),
    "loss": (loss * mask).sum(),
    "top1": ((rank < 1) * mask).sum(),
    "top5": ((rank < 5) * mask).sum(),
  }


def zero_sums(num_classes: int) -> dict[str, jax.Array]:
  """What `sums` returns for no example."""
  return {name: jnp.zeros((), jnp.float32) for name in ("count", "loss", "top1", "top5")}


def metrics(totals: dict[str, float]) -> dict[str, float]:
  """The metrics, from `sums` added up over any number of batches.

  Example:
    >>> metrics({"count": 4, "loss": 2, "top1": 3, "top5": 4})
    {'loss': 0.5, 'top1': 0.75, 'top5': 1.0}
  """
  return {name: float(totals[name]) / float(totals["count"]) for name in ("loss", "top1", "top5")}


best = "top1"  # the metric that decides which checkpoint is the best; higher is better
best_label = "top-1"
