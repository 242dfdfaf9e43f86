"""The tables, computed from the models, against what the papers print."""

import csv
import io
import json
import re

import pytest

from cnn_zoo.describe.paper_tables import paper_table
from cnn_zoo.errors import UserError

# Going Deeper with Convolutions, Table 1; cells are separated by bars.
GOOGLENET = """
type|patch size/stride|output size|depth|#1x1|#3x3 reduce|#3x3|#5x5 reduce|#5x5|pool proj|params|ops
convolution|7x7/2|112x112x64|1|||||||2.7K|34M
max pool|3x3/2|56x56x64|0||||||||
convolution|3x3/1|56x56x192|2||64|192||||112K|360M
max pool|3x3/2|28x28x192|0||||||||
inception (3a)||28x28x256|2|64|96|128|16|32|32|159K|128M
inception (3b)||28x28x480|2|128|128|192|32|96|64|380K|304M
max pool|3x3/2|14x14x480|0||||||||
inception (4a)||14x14x512|2|192|96|208|16|48|64|364K|73M
inception (4b)||14x14x512|2|160|112|224|24|64|64|437K|88M
inception (4c)||14x14x512|2|128|128|256|24|64|64|463K|100M
inception (4d)||14x14x528|2|112|144|288|32|64|64|580K|119M
inception (4e)||14x14x832|2|256|160|320|32|128|128|840K|170M
max pool|3x3/2|7x7x832|0||||||||
inception (5a)||7x7x832|2|256|160|320|32|128|128|1072K|54M
inception (5b)||7x7x1024|2|384|192|384|48|128|128|1388K|71M
avg pool|7x7/1|1x1x1024|0||||||||
dropout (40%)||1x1x1024|0||||||||
linear||1x1x1000|1|||||||1000K|1M
softmax||1x1x1000|0||||||||
"""

# Deep Residual Learning for Image Recognition, Table 1; the last line is of 10^9.
RESNET = """
layer name|output size|18-layer|34-layer|50-layer|101-layer|152-layer
conv1|112x112|7x7, 64, stride 2||||
conv2_x|56x56|3x3 max pool, stride 2||||
||[3x3, 64; 3x3, 64] x 2|[3x3, 64; 3x3, 64] x 3|[1x1, 64; 3x3, 64; 1x1, 256] x 3|[1x1, 64; 3x3, 64; 1x1, 256] x 3|[1x1, 64; 3x3, 64; 1x1, 256] x 3
conv3_x|28x28|[3x3, 128; 3x3, 128] x 2|[3x3, 128; 3x3, 128] x 4|[1x1, 128; 3x3, 128; 1x1, 512] x 4|[1x1, 128; 3x3, 128; 1x1, 512] x 4|[1x1, 128; 3x3, 128; 1x1, 512] x 8
conv4_x|14x14|[3x3, 256; 3x3, 256] x 2|[3x3, 256; 3x3, 256] x 6|[1x1, 256; 3x3, 256; 1x1, 1024] x 6|[1x1, 256; 3x3, 256; 1x1, 1024] x 23|[1x1, 256; 3x3, 256; 1x1, 1024] x 36
conv5_x|7x7|[3x3, 512; 3x3, 512] x 2|[3x3, 512; 3x3, 512] x 3|[1x1, 512; 3x3, 512; 1x1, 2048] x 3|[1x1, 512; 3x3, 512; 1x1, 2048] x 3|[1x1, 512; 3x3, 512; 1x1, 2048] x 3
|1x1|average pool, 1000-d fc, softmax||||
FLOPs||1.8|3.6|3.8|7.6|11.3
"""  # noqa: E501

# Densely Connected Convolutional Networks, Table 1.
DENSENET = """
Layers|Output Size|DenseNet-121 (k = 32)|DenseNet-169 (k = 32)|DenseNet-201 (k = 32)|DenseNet-161 (k = 48)
Convolution|112x112|7x7 conv, stride 2|||
Pooling|56x56|3x3 max pool, stride 2|||
Dense Block (1)|56x56|[1x1 conv; 3x3 conv] x 6|[1x1 conv; 3x3 conv] x 6|[1x1 conv; 3x3 conv] x 6|[1x1 conv; 3x3 conv] x 6
Transition Layer (1)|56x56|1x1 conv|||
|28x28|2x2 average pool, stride 2|||
Dense Block (2)|28x28|[1x1 conv; 3x3 conv] x 12|[1x1 conv; 3x3 conv] x 12|[1x1 conv; 3x3 conv] x 12|[1x1 conv; 3x3 conv] x 12
Transition Layer (2)|28x28|1x1 conv|||
|14x14|2x2 average pool, stride 2|||
Dense Block (3)|14x14|[1x1 conv; 3x3 conv] x 24|[1x1 conv; 3x3 conv] x 32|[1x1 conv; 3x3 conv] x 48|[1x1 conv; 3x3 conv] x 36
Transition Layer (3)|14x14|1x1 conv|||
|7x7|2x2 average pool, stride 2|||
Dense Block (4)|7x7|[1x1 conv; 3x3 conv] x 16|[1x1 conv; 3x3 conv] x 32|[1x1 conv; 3x3 conv] x 32|[1x1 conv; 3x3 conv] x 24
Classification Layer|1x1|7x7 global average pool|||
||1000D fully-connected, softmax|||
"""  # noqa: E501

# EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, Table 1.
EFFICIENTNET = """
Stage|Operator|Resolution|#Channels|#Layers
1|Conv3x3|224x224|32|1
2|MBConv1, k3x3|112x112|16|1
3|MBConv6, k3x3|112x112|24|2
4|MBConv6, k5x5|56x56|40|2
5|MBConv6, k3x3|28x28|80|3
6|MBConv6, k5x5|14x14|112|3
7|MBConv6, k5x5|14x14|192|4
8|MBConv6, k3x3|7x7|320|1
9|Conv1x1 & Pooling & FC|7x7|1280|1
"""

# MobileNetV2: Inverted Residuals and Linear Bottlenecks, Table 1.
MOBILENET = """
Input|Operator|Output
h x w x k|1x1 conv2d, ReLU6|h x w x tk
h x w x tk|3x3 dwconv s=s, ReLU6|h/s x w/s x tk
h/s x w/s x tk|linear 1x1 conv2d|h/s x w/s x k'
"""


def cells(text):
  return [line.split("|") for line in text.strip().splitlines()]


@pytest.mark.parametrize(
  ("name", "printed"),
  [("densenet169", DENSENET), ("efficientnet_b0", EFFICIENTNET), ("mobilenet_v2", MOBILENET)],
)
def test_equal(name, printed):
  assert [list(line) for line in paper_table(name).lines] == cells(printed)


def number(cell):
  return float(re.match(r"[\d.]*", cell).group())


def test_googlenet():
  """Costs are as near as the paper's own numbers are to its own channels."""
  computed, printed = paper_table("googlenet_paper").lines, cells(GOOGLENET)
  assert [list(line[:-2]) for line in computed] == [line[:-2] for line in printed]
  far = []
  for ours, theirs in zip(computed[1:], printed[1:], strict=True):
    assert [cell[-1:] for cell in ours[-2:]] == [cell[-1:] for cell in theirs[-2:]]
    if theirs[-1]:
      assert number(ours[-2]) == pytest.approx(number(theirs[-2]), rel=0.08)
      far += [(ours[-1], theirs[-1])] if abs(number(ours[-1]) - number(theirs[-1])) > 1 else []
  assert far == [("51M", "54M")]  # of (5a)


def test_resnet():
  computed, printed = paper_table("resnet101").lines, cells(RESNET)
  assert [list(line) for line in computed[:-1]] == printed[:-1]
  pairs = zip(computed[-1][2:], printed[-1][2:], strict=True)
  assert [pair for pair in pairs if pair[0] != f"{pair[1]}x10^9"] == [("3.9x10^9", "3.8")]  # it is 3.86


def test_formats():
  table = paper_table("efficientnet_b0")
  lines = cells(EFFICIENTNET)
  assert list(csv.reader(io.StringIO(table.to_csv()))) == lines
  loaded = json.loads(table.to_json())
  assert loaded["columns"] == lines[0] and loaded["rows"] == lines[1:] and "2019" in loaded["title"]
  assert table.to_markdown().splitlines()[3] == "| 2     | MBConv1, k3x3          | 112x112    | 16        | 1       |"
  assert str(table).startswith(loaded["title"]) and "MBConv6, k5x5" in str(table)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("vgg16", "model='vgg16' has no table of its paper; valid: googlenet_paper, resnet18, .*, efficientnet_b0$"),
    ("resnet51", "model='resnet51' is not known; did you mean resnet50"),
  ],
)
def test_mistakes(name, message):
  with pytest.raises(UserError, match=message):
    paper_table(name)
