"""Made tests/pretrained/weights/, with PyTorch 2.13 and safetensors 0.8: python -m tests.helpers.make_weights."""

import argparse
import collections
import copy
import os

import torch
from safetensors.torch import save_file

from tests.helpers import ROOT


class Malicious:
  """Unpickling it as Python does runs a command."""

  def __reduce__(self):
    return os.system, ("touch executed",)


def training_checkpoint():
  """What torchvision's and timm's training scripts save, after a step with momentum and averaged weights."""
  torch.manual_seed(0)
  model = torch.nn.Linear(2, 3)
  ema = torch.optim.swa_utils.AveragedModel(model)
  optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
  schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
  model(torch.ones(1, 2)).sum().backward()
  optimizer.step()
  schedule.step()
  return {
    "model": torch.nn.DataParallel(model).state_dict(),
    "model_ema": ema.state_dict(),
    "optimizer": copy.deepcopy(optimizer.state_dict()),
    "lr_scheduler": schedule.state_dict(),
    "epoch": 3,
    "args": argparse.Namespace(lr=0.1, output_dir="out"),
  }


if __name__ == "__main__":
  folder = ROOT / "tests" / "pretrained" / "weights"
  base = torch.arange(24.0).reshape(2, 3, 4)
  state = collections.OrderedDict(
    plain=base,
    transposed=base.permute(2, 0, 1),
    part=base[1, 1:],
    half=base[0].half(),
    bfloat16=base[0].bfloat16(),
    double=base[0].double(),
    tracked=torch.tensor(7),
    parameter=torch.nn.Parameter(torch.ones(2)),
    empty=torch.zeros(0, 3),
    mask=torch.tensor([True, False]),
  )
  state._metadata = collections.OrderedDict(version=1)  # as PyTorch's modules have it
  bad = collections.OrderedDict(weight=base, extra=Malicious())
  save_file(
    {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in state.items()},
    folder / "tensors.safetensors",
    {"format": "pt"},
  )
  torch.save(torch.nn.Linear(1, 1), folder / "module.pth")
  for name, zipped in (("zip", True), ("legacy", False)):
    torch.save(state, folder / f"{name}.pth", _use_new_zipfile_serialization=zipped)
    torch.save(bad, folder / f"malicious_{name}.pth", _use_new_zipfile_serialization=zipped)
    torch.save(training_checkpoint(), folder / f"checkpoint_{name}.pth", _use_new_zipfile_serialization=zipped)
