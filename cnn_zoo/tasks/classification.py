"""Classification of images, waveforms and clips: one label an example, cross-entropy, top-1 and top-5 accuracy."""

import jax
import jax.numpy as jnp

from cnn_zoo.errors import UserError

Outputs = jax.Array | tuple[jax.Array, tuple[jax.Array, ...]]
"""What a model returns: logits [batch, classes], in training perhaps with those of auxiliary classifiers behind."""

AUXILIARY_WEIGHT = 0.3  # of each auxiliary classifier's loss (Szegedy et al. 2014, section 5)


def losses(outputs: Outputs, batch: dict, label_smoothing: float = 0.0) -> jax.Array:
  """Cross-entropy of each example [batch], float32; `label_smoothing` of the probability is spread over all classes.

  Auxiliary classifiers add theirs, weighted. Raises UserError if the model's answer is no vector of logits.
  """
  logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, ())
  if logits.ndim != 2:
    raise UserError(
      f"config.model.name: the model answers with {logits.shape[1:]} numbers an example, which config.task="
      "'classification' has no use for; valid: a model that answers with one logit a class"
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


def zero_sums(num_classes: int) -> dict[str, jax.Array]:
  """What `sums` returns for no example at all."""
  return {name: jnp.zeros((), jnp.float32) for name in ("count", "loss", "top1", "top5")}


def metrics(totals: dict[str, float]) -> dict[str, float]:
  """What is reported, from `sums` added up over any number of batches."""
  return {name: float(totals[name]) / float(totals["count"]) for name in ("loss", "top1", "top5")}


best = "top1"  # the metric that decides which checkpoint is the best; higher is better
best_label = "top-1"
