"""Trains beside PyTorch: `python scripts/compare_training.py [--model=NAME]`.

Ten steps of SGD from the same weights on the same batch, there with torchvision's model and here, on the CPU in
float32; the losses of each step, and exit code 1 if two of them differ by more than a thousandth. It needs torch and
torchvision beside what this project needs.
"""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"  # GPUs and TPUs round the factors of a product, each in a way of its own

from absl import flags

from cnn_zoo.benchmarks.training_comparison import LEARNING_RATES, TOLERANCE, compare_training, verdict
from cnn_zoo.command_line import run

_MODEL = flags.DEFINE_multi_string(
  "model", list(LEARNING_RATES), f"Which, may be given several times: {', '.join(LEARNING_RATES)}."
)
_STEPS = flags.DEFINE_integer("steps", 10, "How many steps.")


def main() -> None:
  """Runs the command."""
  comparisons = compare_training(_MODEL.value, _STEPS.value, lambda made: print(made.to_text() + "\n", flush=True))
  print(verdict(comparisons), flush=True)
  if not all(comparison.same for comparison in comparisons):
    sys.exit(f"error: losses differ by more than {TOLERANCE:g}")


if __name__ == "__main__":
  run(main)
