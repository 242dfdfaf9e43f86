"""The first steps of training compared with PyTorch: the same weights and the same batch must give the same losses.

For that, two implementations of a network have to agree in layers, layouts of weights, batch normalisation, gradients,
loss and optimizer. Dropout and stochastic depth, whose random masks differ between libraries, are off.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict

from cnn_zoo.benchmarks.pytorch import import_torchvision
from cnn_zoo.describe.tables import text_table
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.models import create_model, model_options
from cnn_zoo.pretrained.loading import load_torch_state_dict
from cnn_zoo.tasks import get_task
from cnn_zoo.training.network import Network
from cnn_zoo.training.optimizers import create_optimizer

# The models that are compared, and the learning rate of each. The rates are small because the gradients at
# torchvision's initial weights are large: at rates that overshoot, one rounding difference grows to percents in ten
# steps, also between float32 and float64 in PyTorch itself. At these rates the losses fall steadily.
LEARNING_RATES = {"resnet18": 1e-5, "densenet121": 5e-5, "efficientnet_b0": 1e-5, "convnext_tiny": 1e-3}
MOMENTUM = 0.9
NUM_CLASSES = 10
TOLERANCE = 1e-3  # the largest relative difference of two losses that count as the same

Batch = tuple[np.ndarray, np.ndarray]
"""Inputs [batch, height, width, 3] float32 and labels [batch] int32."""


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The losses of one model before each step.

  Attributes:
    model: its name here and in torchvision.
    theirs: PyTorch's losses.
    ours: the losses here.

  >>> comparison = Comparison("resnet18", theirs=[2.0, 1.0], ours=[2.0, 1.0005])
  >>> comparison.same
  True
  """

  model: str
  theirs: Sequence[float]
  ours: Sequence[float]

  @property
  def differences(self) -> list[float]:
    """|ours - theirs| / |theirs| of each step."""
    return [abs(ours - theirs) / abs(theirs) for ours, theirs in zip(self.ours, self.theirs, strict=True)]

  @property
  def largest(self) -> float:
    """The largest of the differences; NaN if a loss is not finite."""
    return float(np.max(self.differences))

  @property
  def same(self) -> bool:
    """Whether no difference exceeds `TOLERANCE`."""
    return self.largest <= TOLERANCE

  def to_text(self) -> str:
    """A table with a line for each step."""
    steps = zip(self.theirs, self.ours, self.differences, strict=True)
    lines = [[str(number), f"{a:.6f}", f"{b:.6f}", f"{d:.1e}"] for number, (a, b, d) in enumerate(steps, start=1)]
    return text_table([[self.model, "torch", "ours", "difference"], *lines], 1)


def verdict(comparisons: Sequence[Comparison]) -> str:
  """One line: the largest difference of each model."""
  return "largest difference: " + ", ".join(f"{c.model} {c.largest:.1e}" for c in comparisons)


def import_torch():
  """The modules (torch, torchvision).

  Raises:
    UserError: where they are not installed.
  """
  missing = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
  if missing:
    raise UserError(f"{' and '.join(missing)} cannot be found; valid: an environment with both torch and torchvision")
  import torch

  return torch, import_torchvision()


def compare_training(
  names: Sequence[str] = tuple(LEARNING_RATES),
  steps: int = 10,
  report: Callable[[Comparison], None] = lambda comparison: None,
) -> list[Comparison]:
  """Trains with SGD and Nesterov momentum on one batch from torchvision's initial weights, in PyTorch and here.

  Args:
    names: models of `LEARNING_RATES`.
    steps: the number of steps.
    report: called with each comparison as soon as it is made.

  Returns:
    A comparison for each model.

  Raises:
    UserError: without PyTorch and torchvision, for a model that is not compared and for fewer than one step.

  Example:
    >>> (comparison,) = compare_training(["resnet18"], steps=3)  # doctest: +SKIP
    >>> comparison.same  # doctest: +SKIP
    True
  """
  for name in names:
    check_name("model", name, LEARNING_RATES)
  if steps < 1:
    raise UserError(f"steps={steps} must be at least 1")
  torch, torchvision = import_torch()
  batch = photo_batch(examples=16, size=64)
  comparisons = []
  for name in dict.fromkeys(names):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, num_classes=NUM_CLASSES)
    weights = {key: tensor.numpy().copy() for key, tensor in model.state_dict().items()}  # training changes the model
    theirs = _torch_losses(torch, torchvision, model, batch, steps, LEARNING_RATES[name])
    ours = our_losses(name, weights, batch, steps, LEARNING_RATES[name])
    comparisons.append(Comparison(name, theirs, ours))
    report(comparisons[-1])
  return comparisons


def photo_batch(examples: int, size: int) -> Batch:
  """Random square crops of scikit-learn's two photographs, with random labels.

  Noise and digits are too similar across examples and positions: in late layers batch normalisation would divide by
  nearly zero.

  Args:
    examples: the number of crops.
    size: pixels on a side, to which the crops are resized.
  """
  import cv2
  from sklearn.datasets import load_sample_images

  photos, rng, crops = load_sample_images().images, np.random.default_rng(0), []
  for number in range(examples):
    photo = photos[number % len(photos)]
    side = rng.integers(48, 400)
    top, left = (rng.integers(length - side) for length in photo.shape[:2])
    # The table of docs/results.md is of this batch; INTER_AREA is linear interpolation where a crop is below `size`.
    crops.append(cv2.resize(photo[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA))
  labels = rng.integers(0, NUM_CLASSES, examples).astype(np.int32)
  return (np.stack(crops).astype(np.float32) / 255 - 0.5) / 0.25, labels


def _torch_losses(torch, torchvision, model, batch, steps, learning_rate):
  for module in model.modules():
    if isinstance(module, (torch.nn.Dropout, torchvision.ops.StochasticDepth)):
      module.p = 0.0
  optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=MOMENTUM, nesterov=True)
  x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(batch[0], -1, 1)))
  labels = torch.from_numpy(batch[1]).long()
  model.train()
  losses = []
  for _ in range(steps):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    optimizer.step()
    losses.append(float(loss.detach()))
  return losses


def our_losses(
  name: str, weights: Mapping[str, np.ndarray] | None, batch: Batch, steps: int, learning_rate: float, **options
) -> list[float]:
  """The loss before each step of SGD with Nesterov momentum, in training mode without dropout and stochastic depth.

  Args:
    name: of the model.
    weights: a torchvision state dict to start from. None for this project's own initialization.
    batch: the batch of every step.
    steps: the number of steps.
    learning_rate: constant.
    **options: of the architecture.
  """
  off: dict = {option: 0.0 for option in ("dropout_rate", "stochastic_depth_rate") if option in model_options(name)}
  model = create_model(name, num_classes=NUM_CLASSES, rngs=nnx.Rngs(params=0, dropout=0), **off, **options)
  if weights is not None:
    load_torch_state_dict(model, weights, "torchvision")
  network = Network(model)
  settings = ConfigDict({"name": "sgd", "momentum": MOMENTUM, "weight_decay": 0.0, "clip_norm": 0.0})
  optimizer = create_optimizer(settings, learning_rate)
  losses_of = get_task("classification").losses

  @jax.jit
  def step(params, batch_stats, state, x, labels):
    def loss(params):
      module = network.module(params, batch_stats)
      losses = losses_of(module(x), {"label": labels})
      return losses.mean(), nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    updates, state = optimizer.update(gradient, state, params)
    return (optax.apply_updates(params, updates), statistics, state), value

  carried = network.params, network.batch_stats, optimizer.init(network.params)
  losses = []
  x, labels = map(jnp.asarray, batch)
  for _ in range(steps):
    carried, value = step(*carried, x, labels)
    losses.append(float(value))
  return losses
