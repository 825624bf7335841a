"""torch.onnx.export by tracing: shapes as arithmetic, small constants as nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from families.layers import Family, Layers
from onnx import TensorProto, numpy_helper

OPEN = ({"x": (1, 3, 32, 48)}, {"x": (2, 3, 48, 32)})


class Traced(Layers):
    """Constants are nodes."""

    def node(self, value: Any, dtype: Any = np.float32) -> str:
        return super(Layers, self).add("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))


def stem(b: Layers, *shape: int | str) -> str:
    return b.add("Relu", b.cv(b.add("Relu", b.cv(b.picture(shape=shape or (1, 3, 32, 32)), 16, 5)), 32, 5, 2))


def flatten_by_shape() -> onnx.ModelProto:
    """x.view(x.size(0), -1)"""
    b = Traced(11)
    x = b.max_pool(stem(b, "n", 3, 32, 32))
    size = b.add("Gather", b.add("Shape", x), b.node(0, np.int64), axis=0)
    to = b.add("Concat", b.add("Unsqueeze", size, axes=[0]), b.add("Unsqueeze", b.node(-1, np.int64), axes=[0]), axis=0)
    b.output(b.linear(b.add("Reshape", x, to), 32 * 64, 5))
    return b.model()


def constants_as_nodes() -> onnx.ModelProto:
    b = Traced(13)
    x = b.add("Clip", stem(b), b.node(0.0), b.node(6.0))
    x = b.add("Mul", x, b.node(np.linspace(0.5, 2, 32).reshape(1, 32, 1, 1)))
    x = b.add("Pow", b.add("Sigmoid", b.cv(x, 16)), b.node(2, np.int64))
    x = b.add("Slice", x, *(b.node([v], np.int64) for v in (2, 10, 1, 1)))
    b.channels[x] = 8
    b.output(b.cv(x, 8, 5))
    return b.model()


def interpolate_by_scale() -> onnx.ModelProto:
    """F.interpolate(scale_factor=2) with recompute_scale_factor: sizes by way of floats."""
    b = Traced(12)
    x = stem(b, "n", 3, "h", "w")
    sizes = []
    for axis in (2, 3):
        size = b.add("Gather", b.add("Shape", x), b.node(axis, np.int64), axis=0)
        wide = b.add("Floor", b.add("Mul", b.add("Cast", size, to=TensorProto.FLOAT), b.node(2.0)))
        sizes.append(b.add("Unsqueeze", b.add("Cast", wide, to=TensorProto.INT64), axes=[0]))
    front = b.add("Slice", b.add("Shape", x), *(b.node([v], np.int64) for v in (0, 2, 0)))
    modes = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel", "cubic_coeff_a": -0.75}
    y = b.add("Resize", x, b.const([]), b.const([]), b.add("Concat", front, *sizes, axis=0), **modes)
    b.output(b.cv(y, 8, 5))
    return b.model()


def upsample_of_opset_9() -> onnx.ModelProto:
    """nn.Upsample(scale_factor=2): the scales are a node."""
    b = Traced(9)
    b.output(b.cv(b.add("Upsample", stem(b), b.node([1, 1, 2, 2]), mode="nearest"), 8, 5))
    return b.model()


def pad_by_constant_of_shape() -> onnx.ModelProto:
    """F.pad: pads from the last axis to the first, turned around by ConstantOfShape, Slice with step -1, Transpose."""
    b = Traced(11)
    x = stem(b)
    given = b.node([0, 1, 0, 1], np.int64)
    missing = b.add("Sub", b.node([8], np.int64), b.add("Gather", b.add("Shape", given), b.node([0], np.int64), axis=0))
    zeros = b.add("ConstantOfShape", missing, value=numpy_helper.from_array(np.zeros(1, np.int64)))
    pairs = b.add("Reshape", b.add("Concat", given, zeros, axis=0), b.node([-1, 2], np.int64))
    turned = b.add("Slice", pairs, *(b.node([v], np.int64) for v in (-1, -(2**63) + 1, 0, -1)))
    pads = b.add("Cast", b.add("Reshape", b.add("Transpose", turned, perm=[1, 0]), b.node([-1], np.int64)), to=7)
    b.output(b.cv(b.add("Pad", x, pads, b.node(0.0), mode="constant"), 8, 5, 2, pads=[0] * 4))
    return b.model()


def chunks_of_computed_size() -> onnx.ModelProto:
    """x.chunk(2, dim=1) where sizes are open: starts and ends are arithmetic on the channels."""
    b = Traced(11)
    x = stem(b, "n", 3, "h", "w")
    channels = b.add("Gather", b.add("Shape", x), b.node([1], np.int64), axis=0)
    half = b.add("Div", b.add("Add", channels, b.node([1], np.int64)), b.node([2], np.int64))
    parts = []
    for k in (0, 1):
        start, end = (b.add("Mul", half, b.node([v], np.int64)) for v in (k, k + 1))
        parts.append(b.add("Slice", x, start, end, b.node([1], np.int64)))
        b.channels[parts[-1]] = 16
    b.output(b.cv(b.add("Mul", parts[0], b.add("Sigmoid", parts[1])), 8, 5))
    return b.model()


def assignment_by_scatter() -> onnx.ModelProto:
    """y[:, 0] = y[:, 0].sigmoid() behind the network: ScatterND with indices that are a constant."""
    b = Traced(13)
    y = b.cv(stem(b), 4, 5)
    first = b.add("Sigmoid", b.add("Gather", y, b.node(0, np.int64), axis=1))
    updates = b.add("Unsqueeze", first, b.node([1], np.int64))
    grid = np.stack(np.meshgrid(np.arange(1), np.arange(1), np.arange(16), np.arange(16), indexing="ij"), -1)
    b.output(b.add("ScatterND", y, b.node(grid, np.int64), updates))
    return b.model()


def global_pool_by_shape() -> onnx.ModelProto:
    """adaptive_avg_pool2d(1), then view and expand_as in place of a broadcast (squeeze and excitation of timm)."""
    b = Traced(12)
    x = stem(b)
    v = b.add("Reshape", b.add("GlobalAveragePool", x), b.node([1, 32], np.int64))
    v = b.add("Sigmoid", b.linear(b.add("Relu", b.linear(v, 32, 8)), 8, 32))
    v = b.add("Expand", b.add("Reshape", v, b.node([1, 32, 1, 1], np.int64)), b.add("Shape", x))
    b.output(b.cv(b.add("Mul", x, v), 8, 5))
    return b.model()


def double_to_float() -> onnx.ModelProto:
    """Normalisation of the picture in the graph: Sub, Div with constants of (3, 1, 1), and a channel flip by Gather."""
    b = Traced(11)
    x = b.add("Gather", b.picture(), b.node([2, 1, 0], np.int64), axis=1)
    b.channels[x] = 3
    x = b.add(
        "Div", b.add("Sub", x, b.node([[[0.485]], [[0.456]], [[0.406]]])), b.node([[[0.229]], [[0.224]], [[0.225]]])
    )
    x = b.add("Relu", b.cv(x, 16, 5))
    b.output(b.cv(x, 8, 5))
    return b.model()


SCRIPT = [
    Family(
        "torch.onnx, flatten", flatten_by_shape, "Shape, Gather, Concat and Reshape", sizes=({"x": (2, 3, 32, 32)},)
    ),
    Family("torch.onnx, Constant nodes", constants_as_nodes, "bounds, factors and exponents as nodes"),
    Family("torch.onnx, interpolate", interpolate_by_scale, "sizes computed by way of floats", sizes=OPEN),
    Family("torch.onnx, opset 9", upsample_of_opset_9, "Upsample with scales as a node"),
    Family("torch.onnx, F.pad", pad_by_constant_of_shape, "pads turned around by ConstantOfShape and Slice"),
    Family("torch.onnx, chunk", chunks_of_computed_size, "slices of computed channels", sizes=OPEN),
    Family("torch.onnx, assignment", assignment_by_scatter, "ScatterND behind the network"),
    Family("torch.onnx, expand_as", global_pool_by_shape, "Expand in place of a broadcast"),
    Family("torch.onnx, transforms", double_to_float, "channels flipped and scaled in the graph"),
]
