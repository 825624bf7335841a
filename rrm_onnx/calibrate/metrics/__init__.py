"""How well a converted model answers, read as its task reads the outputs. The original's answer is the truth.

| kind | reads | gives for one frame |
|---|---|---|
| `l2` | all floating-point outputs | relative L2 error of the worst one: an error, 0 = the same |
| `probabilities` | class probabilities | 1 - total variation distance |
| `yolox`, `yolov5`, `yolov8`, `ssd`, `nanodet`, `fastestdet` | a detector's raw outputs | F1 of the boxes after NMS |
| `boxes` | boxes, scores and labels of a model with NMS inside | F1 of the boxes |
| `keypoints` | heat maps, one a key point | share of the points seen that are where they were |
| `peaks` | heat maps with several peaks each | F1 of the local maxima |
| `landmarks` | rows of x, y, ... | share of the points that are where they were |
| `mask` | class scores or labels of every pixel | mean IoU of the classes present |
| `probability_map` | one probability a pixel | IoU of what is above a threshold |
| `MODULE:FUNCTION`, `FILE.py:FUNCTION`, a callable | what it likes | what it says |

All but `l2` are agreements: 1 = the same answer, 0 = nothing in common. A batch counts as the mean of its rows.
Parameters follow the kind: `yolox:threshold=0.3,nms=0.6`; the docstring of each kind's class lists them.
"""

from rrm_onnx.calibrate.metrics.base import Metric
from rrm_onnx.calibrate.metrics.spec import KINDS, make
from rrm_onnx.distance import Array

__all__ = ["KINDS", "Array", "Metric", "make"]
