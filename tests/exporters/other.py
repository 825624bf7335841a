"""paddle2onnx and ultralytics."""

from __future__ import annotations

import numpy as np
import onnx
from families.detect import c3, sppf
from families.layers import Family, Layers
from onnx import TensorProto

from exporters.torch_script import OPEN, stem


def hard_gates() -> onnx.ModelProto:
    """PP-LCNet: hard swish as Add, Clip, Mul, Div; squeeze and excitation with HardSigmoid; slopes as written there."""
    b = Layers(11)
    x = b.act(b.layer(b.picture(shape=("n", 3, "h", "w")), 16, 5, 2, ""), "hard-swish")
    v = b.add("Relu", b.cv(b.add("GlobalAveragePool", x), 8, 1))
    x = b.add("Mul", x, b.add("HardSigmoid", b.cv(v, 16, 1), alpha=0.2, beta=0.5))
    b.output(b.cv(b.act(b.layer(x, 32, 5, 1, ""), "hard-swish"), 8, 3))
    return b.model()


def identities_and_casts() -> onnx.ModelProto:
    """Identity between blocks, Casts from float to float, a Cast of the sizes for Resize."""
    b = Layers(11)
    x = b.add("Identity", stem(b, "n", 3, "h", "w"))
    y = b.add("Identity", b.add("Cast", b.cv(x, 32, 3, 2), to=TensorProto.FLOAT))
    front = b.add("Slice", b.add("Shape", y), b.i64(0), b.i64(2), b.i64(0))
    size = b.add("Slice", b.add("Shape", x), b.i64(2), b.i64(4), b.i64(0))
    size = b.add("Cast", b.add("Cast", size, to=TensorProto.INT32), to=TensorProto.INT64)
    modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    y = b.sized(y, b.add("Concat", front, size, axis=0), **modes)
    b.channels[y] = 32
    b.output(b.add("Identity", b.cv(b.add("Add", x, y), 8, 5)))
    return b.model()


def text_detector() -> onnx.ModelProto:
    """PP-OCR's head: two transposed convolutions with BatchNormalization and a bias added for itself, a Sigmoid."""
    b = Layers(11)
    x = b.layer(stem(b), 16)
    y = b.add("Add", b.up(x, 16), b.const(b.rng.normal(0, 0.1, (1, 16, 1, 1))))
    b.channels[y] = 16
    y = b.add("Relu", b.norm(y))
    b.output(b.add("Sigmoid", b.add("Add", b.up(y, 1), b.const(b.rng.normal(0, 0.1, (1, 1, 1, 1))))))
    return b.model()


def segmentation_head() -> onnx.ModelProto:
    """YOLO with masks: SiLU as Sigmoid and Mul, prototypes by a transposed convolution, coefficients beside boxes."""
    b = Layers(17)
    low = c3(b, b.layer(b.picture(shape=(1, 3, 64, 64)), 16, 6, 4, "Silu", pads=[1] * 4), 16)
    high = sppf(b, b.layer(low, 32, 3, 2, "Silu"), 32)
    low = c3(b, b.joined(b.grow(high), low), 16)
    proto = b.layer(b.up(b.layer(low, 16, act="Silu"), 16), 8, 1, act="Silu")
    rows = []
    for t, n in ((low, 16), (high, 8)):
        head = b.joined(
            b.cv(b.layer(t, 16, act="Silu"), 4, 1), b.add("Sigmoid", b.cv(b.layer(t, 16, act="Silu"), 2, 1))
        )
        mask = b.cv(b.layer(t, 8, act="Silu"), 8, 1)
        rows.append(b.add("Reshape", b.joined(head, mask), b.i64(1, 14, n * n)))
    strides = b.const(np.repeat([4.0, 8.0], [256, 64]))
    b.output(b.add("Mul", b.add("Concat", *rows, axis=2), strides))
    b.output(proto)
    return b.model()


def without_suppression() -> onnx.ModelProto:
    """YOLOv10: the best boxes by TopK, GatherElements and Mod in the graph."""
    b = Layers(17)
    x = sppf(b, b.layer(b.layer(b.picture(shape=(1, 3, 64, 64)), 16, 6, 4, "Silu", pads=[1] * 4), 32, act="Silu"), 32)
    y = b.add(
        "Transpose",
        b.add("Reshape", b.joined(b.cv(x, 4, 1), b.add("Sigmoid", b.cv(x, 3, 1))), b.i64(1, 7, 256)),
        perm=[0, 2, 1],
    )
    boxes, scores = f"{y}/boxes", f"{y}/scores"
    b.add("Split", y, b.i64(4, 3), outputs=[boxes, scores], axis=-1)
    best = b.add("ReduceMax", scores, axes=[-1], keepdims=0)
    values, indices = f"{y}/values", f"{y}/indices"
    b.add("TopK", best, b.i64(10), outputs=[values, indices], axis=-1)
    at = b.add("Tile", b.add("Unsqueeze", indices, b.i64(-1)), b.i64(1, 1, 4))
    b.output(b.add("GatherElements", boxes, at, axis=1))
    b.output(values)
    return b.model()


OTHER = [
    Family("paddle2onnx, gates", hard_gates, "HardSigmoid and Mul, hard swish spelled out", sizes=OPEN),
    Family("paddle2onnx, Identity", identities_and_casts, "Identity and Cast chains, Slice of shapes", sizes=OPEN),
    Family("paddle2onnx, text", text_detector, "biases of transposed convolutions as Add"),
    Family("ultralytics, masks", segmentation_head, "prototypes and coefficients beside boxes"),
    Family("ultralytics, TopK", without_suppression, "the best boxes chosen in the graph"),
]
