"""Classification of images: one label an example, cross-entropy, top-1 and top-5 accuracy."""

import jax
import jax.numpy as jnp

# Of pixels in [0, 1]: one value for every dataset, so that a model's input means the same everywhere.
MEAN, STD = 0.5, 0.25


def normalize(image: jax.Array, dtype) -> jax.Array:
  """uint8 pixels [batch, height, width, channels] -> roughly zero mean and unit variance, in `dtype`."""
  return ((image.astype(jnp.float32) / 255 - MEAN) / STD).astype(dtype)


def losses(logits: jax.Array, batch: dict, label_smoothing: float = 0.0) -> jax.Array:
  """Cross-entropy of each example [batch], float32; `label_smoothing` of the probability is spread over all classes."""
  log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
  picked = jnp.take_along_axis(log_probabilities, batch["label"][:, None], -1)[:, 0]
  return -(1 - label_smoothing) * picked - label_smoothing * log_probabilities.mean(-1)


def sums(logits: jax.Array, batch: dict, loss: jax.Array) -> dict[str, jax.Array]:
  """Sums over the examples of a batch, padding left out: `count`, `loss`, `top1` and `top5`; float32 scalars."""
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
