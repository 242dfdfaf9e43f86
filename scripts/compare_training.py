"""Compares training with PyTorch: `python scripts/compare_training.py [--model=NAME]`.

Takes ten steps of SGD from the same weights on the same batch with torchvision's model and with this project's, on the
CPU in float32. Prints the losses of each step. The exit code is 1 if two of them differ by more than a thousandth. It
needs torch and torchvision in addition to the project's requirements.
"""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"  # GPUs and TPUs round the factors of a product, each in its own way

from absl import flags

from cnn_zoo.benchmarks.training_comparison import LEARNING_RATES, TOLERANCE, compare_training, verdict
from cnn_zoo.command_line import run

_MODEL = flags.DEFINE_multi_string(
  "model", list(LEARNING_RATES), f"Which models; may be repeated: {', '.join(LEARNING_RATES)}."
)
_STEPS = flags.DEFINE_integer("steps", 10, "The number of steps.")


def main() -> None:
  """Runs the command."""
  comparisons = compare_training(
    _MODEL.value, _STEPS.value, lambda comparison: print(comparison.to_text() + "\n", flush=True)
  )
  print(verdict(comparisons), flush=True)
  if not all(comparison.same for comparison in comparisons):
    sys.exit(f"error: losses differ by more than {TOLERANCE:g}")


if __name__ == "__main__":
  run(main)
