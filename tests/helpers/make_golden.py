"""Makes a golden file: python make_golden.py FILE.json.gz MODEL SIZE [MODEL SIZE ...], where PyTorch is installed too.

MODEL is torchvision/NAME or timm/NAME, SIZE the pixels a side of its input. The files here are of PyTorch 2.13,
torchvision 0.28 and timm 1.0.31; golden.py says what is in them.
"""

import gzip
import importlib
import json
import sys

import numpy as np
import torch

from tests.helpers import golden


def reference(source, name, size):
  """What the model of that name answers."""
  library = importlib.import_module({"torchvision": "torchvision.models", "timm": "timm.models"}[source])
  options = {"init_weights": False, "aux_logits": False} if (source, name) == ("torchvision", "googlenet") else {}
  model = getattr(library, name)(**options).double().eval()
  shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
  model.load_state_dict({key: torch.from_numpy(np.asarray(golden.tensor(key, s))) for key, s in shapes.items()})
  shape = (1 if size > 100 else 2, 3, size, size)
  with torch.no_grad():
    logits = model(torch.from_numpy(golden.image(shape))).numpy()
  return {
    "source": source,
    "input": shape,
    "state_dict": shapes,
    "logits": [[float(f"{x:.10g}") for x in row[:16]] for row in logits],
    "mean": float(logits.mean()),
    "std": float(logits.std()),
  }


if __name__ == "__main__":
  path, *models = sys.argv[1:]
  answers = {}
  for model, size in zip(models[::2], models[1::2], strict=True):
    source, name = model.split("/")
    answers[name if source == "torchvision" else model] = reference(source, name, int(size))
  with gzip.GzipFile(path, "wb", mtime=0) as file:
    file.write(json.dumps(answers, separators=(",", ":")).encode())
