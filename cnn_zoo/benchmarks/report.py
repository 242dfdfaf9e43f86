"""Measurements as trees of plain values, for JSON, and as tables."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cnn_zoo.benchmarks.shapes import Shape
from cnn_zoo.benchmarks.timing import geometric_mean
from cnn_zoo.describe.tables import text_table

OTHERS = ("lax", "torch", "torch nhwc")
"""The other contenders: XLA's own convolutions, and PyTorch in its memory formats NCHW and channels_last."""

_PASSES = {"forward": "fwd", "forward_backward": "fwd+bwd"}


def convolution_report(
  rows: Sequence[tuple[str, Shape, Mapping[str, Mapping[str, float]]]],
  settings: Mapping[str, object],
  peak: Mapping[str, Mapping[str, float]],
) -> dict[str, object]:
  """Measurements of convolutions as a tree of plain values, for JSON.

  Args:
    rows: (group, shape, seconds by pass and contender) of each convolution.
    settings: dtype, repeat and machine; they become part of the report.
    peak: "gflops" and "copy_gigabytes_per_second" of each library.

  Returns:
    `settings` with `peak`, `shapes` and the `geometric_means` of the ratios by group, and over "all" if there are
    several. A row of `shapes` has, for "forward" and "forward_backward", the ratios ours_over_CONTENDER and for each
    contender milliseconds, gflops and share_of_peak.
  """
  fastest = max(peak["gflops"].values())
  shapes = []
  for group, shape, seconds in rows:
    row: dict = {
      "group": group,
      "name": shape.name,
      "input_shape": shape.input_shape,
      "kernel_shape": shape.kernel_shape,
    }
    row |= {"output_shape": shape.output_shape, "multiply_adds": shape.multiply_adds}
    for name, times in seconds.items():
      work = 2e-9 * shape.multiply_adds * (3 if name == "forward_backward" else 1)
      row[name] = compared(times, lambda t, work=work: _rate(t, work, fastest))
    shapes.append(row)
  groups = {group: [row for row in shapes if row["group"] == group] for group in dict.fromkeys(g for g, *_ in rows)}
  if len(groups) > 1:
    groups["all"] = shapes
  means = {group: mean_ratios(members, ("forward", "forward_backward")) for group, members in groups.items()}
  return {**settings, "peak": peak, "shapes": shapes, "geometric_means": means}


def _rate(seconds, work, fastest):
  gflops = work / seconds
  return {"milliseconds": 1e3 * seconds, "gflops": gflops, "share_of_peak": gflops / fastest}


def compared(seconds: Mapping[str, float], values: Callable[[float], dict]) -> dict[str, object]:
  """An entry of a report: `values(seconds)` of each contender, and the ratios of speeds.

  >>> compared({"lax": 4.0, "ours": 2.0}, lambda t: {"seconds": t})
  {'lax': {'seconds': 4.0}, 'ours': {'seconds': 2.0}, 'ours_over_lax': 2.0}
  """
  entry = {who: values(t) for who, t in seconds.items()}
  return entry | {_key(who): seconds[who] / seconds["ours"] for who in OTHERS if who in seconds}


def _key(who):
  return "ours_over_" + who.replace(" ", "_")


def mean_ratios(rows: Sequence[Mapping], passes: Sequence[str]) -> dict[str, dict[str, float]]:
  """Geometric means of each ratio over the rows that have it, by pass."""
  means = {}
  for name in passes:
    means[name] = {}
    for ratio in map(_key, OTHERS):
      values = [row[name][ratio] for row in rows if ratio in row[name]]
      if values:
        means[name][ratio] = geometric_mean(values)
  return means


def convolution_table(report: Mapping[str, Any]) -> str:
  """The report of `benchmark_convolutions` as text: a table for each group and one of the geometric means."""
  who = [w for w in ("ours", *OTHERS) if any(w in row["forward"] for row in report["shapes"])]
  head = ["convolution", "pass", *(f"{w} ms" for w in who), "GFLOP/s", "of peak"]
  ratios = who[1:]
  parts = [_heading(report) + "\n" + _peak_line(report["peak"])]
  for group in dict.fromkeys(row["group"] for row in report["shapes"]):
    lines = [[*head, *(f"ours/{w}" for w in ratios)]]
    for row in report["shapes"]:
      for kind, label in _PASSES.items() if row["group"] == group else ():
        entry = row[kind]
        cells = [format_number(entry[w]["milliseconds"]) if w in entry else "-" for w in who]
        cells += [format_number(entry["ours"]["gflops"]), f"{entry['ours']['share_of_peak']:.0%}"]
        lines.append([row["name"], label, *cells, *_ratio_cells(entry, ratios)])
    batches = sorted({row["input_shape"][0] for row in report["shapes"] if row["group"] == group})
    parts.append(f"{group}, batch {' and '.join(map(str, batches))}\n" + text_table(lines, words=2))
  lines = [["geometric mean", "pass", *(f"ours/{w}" for w in ratios)]]
  for group, means in report["geometric_means"].items():
    lines += [[group, label, *_ratio_cells(means[kind], ratios)] for kind, label in _PASSES.items()]
  return "\n\n".join([*parts, text_table(lines, words=2)])


def model_table(report: Mapping[str, Any]) -> str:
  """The report of `benchmark_models` as text."""
  kinds = ("training", "inference")
  who = [w for w in ("ours", *OTHERS) if any(w in row["training"] for row in report["models"])]
  ratios = who[1:]
  titles = [f"ours/{w}" for w in ratios]
  lines = [["model", "input", "step", *(f"{w} images/s" for w in who), *titles, "compile s", "memory GiB"]]
  for row in report["models"]:
    for kind in kinds:
      entry, ours = row[kind], row[kind]["ours"]
      cells = [format_number(entry[w]["images_per_second"]) if w in entry else "-" for w in who]
      costs = [f"{ours['compile_seconds']:.1f}", f"{ours['memory_bytes'] / 2**30:.2f}"]
      shape = "x".join(map(str, row["input_shape"][1:]))
      lines.append([row["model"], shape, kind, *cells, *_ratio_cells(entry, ratios), *costs])
  parts = [f"{_heading(report)}\nbatch {report['batch']}; compile time and memory of ours", text_table(lines, words=3)]
  if ratios and len(report["models"]) > 1:
    means = [[kind, *_ratio_cells(report["geometric_means"][kind], ratios)] for kind in kinds]
    parts.append(text_table([["geometric mean", *titles], *means], words=1))
  return "\n\n".join(parts)


def _heading(report):
  machine = report["machine"]
  versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
  device = f"{machine['processor']}, {machine['cores']} cores"
  device += "" if machine["device"] == "cpu" else f", {machine['device']}"
  return (
    f"{device}; {versions}; {report['dtype']}; medians of {report['repeat']}\n"
    "ratios are of speeds: above 1, ours is faster; torch nhwc is PyTorch with memory_format=channels_last"
  )


def _peak_line(peak):
  def best(values, unit):
    return (
      f"{format_number(max(values.values()))} {unit} ("
      + ", ".join(f"{w} {format_number(v)}" for w, v in values.items())
      + ")"
    )

  rate, copy = best(peak["gflops"], "GFLOP/s"), best(peak["copy_gigabytes_per_second"], "GB/s")
  return f"peak: matrix product {rate}; copy, read and written, {copy}"


def _ratio_cells(entry, others):
  return [f"{entry[_key(who)]:.2f}" if _key(who) in entry else "-" for who in others]


def format_number(value: float) -> str:
  """A number with three significant digits, or with all digits before the point.

  >>> format_number(12345.6), format_number(0.01234)
  ('12,346', '0.0123')
  """
  return f"{value:,.{max(0, min(4, 2 - math.floor(math.log10(value))))}f}"
