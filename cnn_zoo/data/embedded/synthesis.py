"""Parts of the synthesised datasets: random numbers, noise, digits at any place and size, PNG bytes.

A dataset is the same on every machine, except for the last bit of a function on another processor. So random numbers
come from `Generator.random` alone: the bits of PCG64, which NumPy promises to keep, while its other distributions may
change.
"""

import cv2
import numpy as np


def make_rng(dataset: str, split: str) -> np.random.Generator:
  """The random numbers of one split of one dataset."""
  return np.random.default_rng(list(f"{dataset} {split}".encode()))


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
  """One number from `low` up to `high`."""
  return low + (high - low) * rng.random()


def choice(rng: np.random.Generator, number: int) -> int:
  """One of the integers from 0 up to `number`, which is excluded."""
  return int(rng.random() * number)


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
  """Noise of mean 0 and variance 1, [*shape]: sums of four uniform numbers, which are almost normally distributed."""
  return (rng.random((4, *shape)).sum(0) - 2) * 3**0.5


def balanced_labels(rng: np.random.Generator, number: int, num_classes: int) -> np.ndarray:
  """`number` labels in random order; the counts of two classes differ by one at most."""
  return (np.arange(number) % num_classes)[np.argsort(rng.random(number), kind="stable")]


def draw_digit(digit: np.ndarray, size: float, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
  """The intensities of a digit enlarged to `size` x `size` pixels, by cubic convolution.

  Args:
    digit: uint8 [8, 8].
    size: in pixels; any real number.
    rows: [..., height], vertical distance of pixels from the digit's centre, in pixels; any real numbers.
    columns: [..., width], horizontal distances, with the same leading axes.

  Returns:
    [..., height, width] from 0 to 1; 0 outside the digit.
  """
  vertical, horizontal = (_cubic(places[..., None] * (8 / size) - (np.arange(8) - 3.5)) for places in (rows, columns))
  return np.clip(vertical @ (digit / 255) @ horizontal.swapaxes(-1, -2), 0, 1)


def _cubic(distance: np.ndarray) -> np.ndarray:
  """Weight of a sample at a distance. Keys, Cubic Convolution Interpolation for Digital Image Processing, (15)."""
  d = np.abs(distance)
  near, far = (1.5 * d - 2.5) * d * d + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2
  return np.where(d < 1, near, np.where(d < 2, far, 0))


def to_uint8(values: np.ndarray) -> np.ndarray:
  """Values from 0 (black) to 1 (white) as pixels."""
  return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def encode_png(image: np.ndarray) -> bytes:
  """PNG of uint8 [height, width, 1] (grayscale) or [..., 3] (RGB); TFDS itself needs TensorFlow to encode an array."""
  image = image[:, :, ::-1] if image.shape[2] == 3 else image  # OpenCV takes BGR
  return cv2.imencode(".png", image)[1].tobytes()
