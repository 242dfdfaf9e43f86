"""Classification of images: one label an example, cross-entropy, top-1 and top-5 accuracy."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_zoo.errors import UserError

Outputs = jax.Array | tuple[jax.Array, tuple[jax.Array, ...]]
"""What a model returns: logits [batch, classes], in training perhaps with those of auxiliary classifiers behind."""

AUXILIARY_WEIGHT = 0.3  # of each auxiliary classifier's loss (Szegedy et al. 2014, section 5)


def normalize(image: jax.Array, mean: Sequence[float], std: Sequence[float], dtype) -> jax.Array:
  """uint8 pixels x [batch, height, width, channels] -> (x / 255 - mean) / std in `dtype`.

  `mean` and `std` hold one number for all channels, or one a channel; UserError if they do not.
  """
  for field, numbers in (("mean", mean), ("std", std)):
    if len(numbers) not in (1, image.shape[-1]) or (field == "std" and min(numbers) <= 0):
      raise UserError(
        f"config.data.{field}={tuple(numbers)} must be one number{' above 0' * (field == 'std')}, "
        f"or one for each of {image.shape[-1]} channels"
      )
  mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
  return ((image.astype(jnp.float32) / 255 - mean) / std).astype(dtype)


def losses(outputs: Outputs, batch: dict, label_smoothing: float = 0.0) -> jax.Array:
  """Cross-entropy of each example [batch], float32; `label_smoothing` of the probability is spread over all classes.

  Auxiliary classifiers add theirs, weighted.
  """
  logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, ())
  loss = _cross_entropy(logits, batch, label_smoothing)
  for others in auxiliary:
    loss += AUXILIARY_WEIGHT * _cross_entropy(others, batch, label_smoothing)
  return loss


def _cross_entropy(logits, batch, label_smoothing):
  log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
  picked = jnp.take_along_axis(log_probabilities, batch["label"][:, None], -1)[:, 0]
  return -(1 - label_smoothing) * picked - label_smoothing * log_probabilities.mean(-1)


def sums(outputs: Outputs, batch: dict, loss: jax.Array) -> dict[str, jax.Array]:
  """Sums over the examples of a batch, padding left out: `count`, `loss`, `top1` and `top5`; float32 scalars.

  What counts as right is the model's own answer; auxiliary classifiers have no say.
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


def metrics(totals: dict[str, float]) -> dict[str, float]:
  """What is reported, from `sums` added up over any number of batches."""
  return {name: float(totals[name]) / float(totals["count"]) for name in ("loss", "top1", "top5")}


best = "top1"  # the metric that decides which checkpoint is the best; higher is better
