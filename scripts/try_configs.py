"""Trains every configuration for a few steps: `python scripts/try_configs.py [--steps=30] [--only=NAME,NAME]`.

Trains each of configs/*.py on its embedded data in its own process, one after another, in temporary folders. Prints a
line for each configuration: parameters, the mean loss of the first and of the last three steps, seconds, and whether
all losses are finite and falling. The exit code is 1 if one fails. The largest, convnext_xlarge, has 348 million
parameters: with gradients and AdamW's averages that is 5.6 GB of memory, and a checkpoint of 4.2 GB in the folder for
temporary files ($TMPDIR).
"""

import pathlib
import sys
import tempfile

from absl import flags

from cnn_zoo.benchmarks.config_trials import select_configs, to_text, try_config
from cnn_zoo.command_line import run

_ROOT = pathlib.Path(__file__).resolve().parents[1]

_STEPS = flags.DEFINE_integer("steps", 30, "The number of steps of each.")
_BATCH = flags.DEFINE_integer("batch", None, "Examples in a step (default: the configuration's).")
_ONLY = flags.DEFINE_list("only", [], "Names of configurations, such as lenet5,resnet18 (default: all).")
_MARKDOWN = flags.DEFINE_bool("markdown", False, "Print the table in Markdown.")


def main() -> None:
  """Runs the command."""
  configs = select_configs(_ROOT / "configs", _ONLY.value)
  trials = []
  for config in configs:
    with tempfile.TemporaryDirectory() as folder:
      trials.append(try_config(config, pathlib.Path(folder, config.stem), steps=_STEPS.value, batch=_BATCH.value))
    trial = trials[-1]
    line = f"{trial.name}: {trial.verdict}, {trial.first:.3f} -> {trial.last:.3f}, {trial.seconds:.0f} s"
    print(f"[{len(trials)}/{len(configs)}] {line}", file=sys.stderr, flush=True)
  print(to_text(trials, _MARKDOWN.value), end="")
  failed = [trial.name for trial in trials if trial.verdict != "ok"]
  if failed:
    sys.exit(f"error: {len(failed)} of {len(trials)} failed: {', '.join(failed)}")


if __name__ == "__main__":
  run(main)
