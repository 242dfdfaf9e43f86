"""The same convolutions and models in PyTorch, where it is installed. No other module imports PyTorch."""

import functools
import importlib.util
import math

import jax
import numpy as np

from cnn_zoo.benchmarks.shapes import Shape

FORMATS = ("torch", "torch nhwc")  # the default memory format, channels first, and memory_format=channels_last


def find_torch() -> tuple["Torch | None", str | None]:
  """PyTorch and None, or None and a line with the reason."""
  if importlib.util.find_spec("torch") is None:
    return None, "PyTorch is not installed: its columns are left out"
  import torch

  backend = jax.default_backend()
  if backend != "cpu" and not (backend == "gpu" and torch.cuda.is_available()):
    return None, f"PyTorch {torch.__version__} does not see the {backend} that JAX uses: its columns are left out"
  return Torch(torch, "cpu" if backend == "cpu" else "cuda"), None


class Torch:
  """PyTorch on the device that JAX uses.

  Where PyTorch has several memory formats (`FORMATS`), each is a contender: which is faster depends on the layer and
  the machine.

  Args:
    torch: the module.
    device: "cpu" or "cuda".

  Attributes:
    version: of PyTorch.
  """

  def __init__(self, torch, device: str):
    self._torch, self._device = torch, device
    self.version = torch.__version__
    if device == "cuda":  # as XLA does by default
      torch.backends.cudnn.benchmark = True
      torch.set_float32_matmul_precision("high")

  def wait(self, _=None) -> None:
    """Waits until all queued work is done."""
    if self._device == "cuda":
      self._torch.cuda.synchronize()

  def to_numpy(self, tensor) -> np.ndarray:
    """A tensor [batch, channels, *spatial] or a kernel's gradient as a float32 array with the same axes."""
    return tensor.detach().float().cpu().numpy()

  def matrix_product(self, size: int, dtype: str):
    """A function that multiplies two square matrices."""
    a = self._torch.ones((size, size), dtype=getattr(self._torch, dtype), device=self._device)
    out = self._torch.empty_like(a)
    return lambda: self._torch.matmul(a, a, out=out)

  def copy(self, size: int):
    """A function that copies `size` bytes."""
    source = self._torch.ones(size // 4, device=self._device)
    target = self._torch.zeros_like(source)
    return lambda: target.copy_(source)

  def convolutions(self, shape: Shape, x, kernel, g, dtype: str) -> dict[str, tuple]:
    """A convolution in each memory format.

    Args:
      shape: the convolution.
      x: input, [batch, *spatial, channels].
      kernel: [*kernel_size, in / groups, out].
      g: the gradient with respect to the output, of the output's shape.
      dtype: of the computation.

    Returns:
      For each memory format the functions forward () -> y and train () -> (y, gradient by x, gradient by the kernel),
      whose results are [batch, channels, *spatial].
    """
    rank = len(shape.sizes)
    x, g = (np.moveaxis(array, -1, 1) for array in (x, g))
    kernel = kernel_to_torch(kernel, shape)
    names = {1: FORMATS[:1], 2: FORMATS, 3: FORMATS}[rank]  # PyTorch has no channels_last in one dimension
    return {name: self._convolution(shape, [self._tensor(a, dtype, name) for a in (x, kernel, g)]) for name in names}

  def _convolution(self, shape, tensors):
    x, kernel, g = tensors
    torch, rank = self._torch, len(shape.sizes)
    name = f"conv_transpose{rank}d" if shape.transposed else f"conv{rank}d"
    padding = [low for low, _ in shape.padding_pairs]
    options = {"stride": shape.stride, "padding": padding, "dilation": shape.dilation, "groups": shape.groups}
    run = functools.partial(getattr(torch.nn.functional, name), **options)
    x_leaf, kernel_leaf = (tensor.detach().requires_grad_() for tensor in (x, kernel))

    def forward():
      with torch.inference_mode():
        return run(x, kernel)

    def train():
      y = run(x_leaf, kernel_leaf)
      return y.detach(), *torch.autograd.grad(y, (x_leaf, kernel_leaf), g)

    return forward, train

  def _tensor(self, array, dtype, memory_format):
    tensor = self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device, getattr(self._torch, dtype))
    return self._in(tensor, memory_format)

  def _in(self, tensor, memory_format):
    if memory_format == "torch" or tensor.ndim < 4:
      return tensor
    torch = self._torch
    return tensor.contiguous(memory_format=torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d)

  def models(self, name: str, x, labels, num_classes: int, dtype: str) -> dict[str, tuple] | None:
    """A model of torchvision in each memory format.

    A training step is forward, backward and SGD with Nesterov momentum.

    Args:
      name: of the model.
      x: inputs, [batch, *spatial, channels].
      labels: [batch].
      num_classes: width of the logits.
      dtype: of the computation.

    Returns:
      For each memory format the functions inference () -> logits and train () -> loss. None if torchvision has no such
      model.
    """
    torchvision = import_torchvision()
    if torchvision is None or name not in torchvision.models.list_models(module=torchvision.models):
      return None
    x = np.moveaxis(x, -1, 1)
    labels = self._torch.from_numpy(labels).to(self._device)
    return {
      memory_format: self._model(
        torchvision.models.get_model(name, num_classes=num_classes).to(self._device),
        self._tensor(x, "float32", memory_format),
        labels,
        memory_format,
        dtype,
      )
      for memory_format in FORMATS
    }

  def _model(self, model, x, labels, memory_format, dtype):
    torch = self._torch
    if memory_format == "torch nhwc":
      model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    autocast = functools.partial(torch.autocast, self._device, dtype=getattr(torch, dtype), enabled=dtype != "float32")

    def inference():
      model.eval()
      with torch.inference_mode(), autocast():
        return model(x)

    def train():
      model.train()
      optimizer.zero_grad()
      with autocast():
        logits, *auxiliary = (outputs,) if torch.is_tensor(outputs := model(x)) else outputs
        entropy = torch.nn.functional.cross_entropy
        loss = entropy(logits, labels) + 0.3 * sum(entropy(a, labels) for a in auxiliary)
      loss.backward()
      optimizer.step()
      return loss.detach()

    return inference, train


def kernel_to_torch(kernel: np.ndarray, shape: Shape) -> np.ndarray:
  """A kernel in PyTorch's layout.

  Args:
    kernel: [*kernel_size, in / groups, out].
    shape: the convolution.

  Returns:
    [out, in / groups, *kernel_size], or for a transposed convolution [in, out / groups, *kernel_size].

  >>> kernel_to_torch(np.zeros((3, 3, 8, 16)), Shape("", (32, 32), (8, 16), (3, 3))).shape
  (16, 8, 3, 3)
  """
  if not shape.transposed:
    return np.moveaxis(kernel, (-1, -2), (0, 1))
  size, (features, out) = kernel.shape[:-2], kernel.shape[-2:]
  kernel = kernel.reshape(math.prod(size), features, shape.groups, out // shape.groups)
  return np.moveaxis(kernel, 0, -1).swapaxes(0, 1).reshape(-1, out // shape.groups, *size)


@functools.cache
def import_torchvision():
  """The module, or None where it is not installed."""
  if importlib.util.find_spec("torchvision") is None:
    return None
  try:
    import torchvision
  except (
    RuntimeError
  ):  # its operators were built for another PyTorch; no classifier needs them, declaring them is enough
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
      library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    torchvision.cnn_zoo_library = library  # keeps the operators alive
  return torchvision
