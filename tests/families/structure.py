"""Graphs of one layer's depth or two, each with a structure that a converter may trip over."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from families.layers import Family, Layers, Sizes

OPEN: tuple[Sizes, ...] = ({"x": (1, 3, 24, 32)}, {"x": (3, 3, 24, 32)}, {"x": (1, 3, 17, 23)})


def two_inputs() -> onnx.ModelProto:
    """A picture and a template through the same weights, then joined; an output of each depth."""
    b = Layers(13)
    shared = b.const(b.rng.normal(0, 0.2, (16, 3, 3, 3)))
    maps = []
    for name in ("x", "z"):
        y = b.add("Conv", b.picture(name), shared, kernel_shape=[3, 3], pads=[1] * 4)
        b.channels[y] = 16
        maps.append(b.add("Relu", y))
        b.output(maps[-1])
    b.output(b.cv(b.joined(*maps), 8))
    b.output(b.cv(b.add("Sub", *maps), 8))
    return b.model()


def fan_out() -> onnx.ModelProto:
    """Dense operators between regions that part and join again."""
    b = Layers(13)
    stem = b.layer(b.picture(), 16, 3, 2)
    left = b.cv(b.add("Hardmax", b.cv(stem, 16), axis=1), 16)
    right = b.cv(b.add("Round", b.cv(stem, 16)), 16)
    x = b.add("Add", b.add("Add", left, right), stem)
    b.output(b.cv(x, 8))
    b.output(b.add("Round", x))
    return b.model()


def batch() -> onnx.ModelProto:
    b = Layers(13)
    x = b.excite(b.layer(b.picture(shape=(4, 3, 24, 24)), 16, 3, 2), 4)
    b.output(b.cv(b.add("Add", x, b.layer(x, 16)), 5))
    return b.model()


def open_sizes() -> onnx.ModelProto:
    """Pools that round up, odd sizes, a window of even size."""
    b = Layers(13)
    x = b.layer(b.picture(shape=("batch", 3, "height", "width")), 16)
    x = b.max_pool(x, 3, 2, ceil_mode=1)
    x = b.layer(x, 16, 2, pads=[0, 0, 1, 1])
    x = b.mean_pool(x, 3, 2, 1, ceil_mode=1)
    b.output(b.cv(x, 8))
    return b.model()


def padded() -> onnx.ModelProto:
    """Pad in each of its modes before a convolution without pads of its own."""
    b = Layers(13)
    x = b.picture()
    for mode in ("reflect", "edge", "constant"):
        pads = b.i64(0, 0, 1, 2, 0, 0, 1, 2)
        x = b.add("Pad", x, *((pads, b.const(0.5)) if mode == "constant" else (pads,)), mode=mode)
        x = b.layer(x, 16, (3, 5), pads=[0] * 4)
    b.output(x)
    return b.model()


def old_upsampling() -> onnx.ModelProto:
    """Upsample with scales as an input, and sizes of 1-D shape arithmetic folded by no one."""
    b = Layers(9)
    x = b.layer(b.picture(), 16, 3, 2)
    x = b.layer(b.add("Upsample", x, b.const([1, 1, 2, 2]), mode="linear"), 16)
    x = b.layer(x, 16, 3, 2)
    b.output(b.cv(b.add("Upsample", x, b.const([1, 1, 2, 2]), mode="nearest"), 8))
    return b.model()


def pixel_shuffle() -> onnx.ModelProto:
    """Super resolution: DepthToSpace as an operator, and spelled with six axes."""
    b = Layers(13)
    x = b.add("Relu", b.cv(b.picture(shape=(1, 1, 24, 24)), 16, 5))
    x = b.add("DepthToSpace", b.cv(x, 32), blocksize=2, mode="CRD")
    b.channels[x] = 8
    y = b.add("Reshape", b.cv(x, 4), b.i64(1, 1, 2, 2, 48, 48))
    b.output(b.add("Reshape", b.add("Transpose", y, perm=[0, 1, 4, 2, 5, 3]), b.i64(1, 1, 96, 96)))
    return b.model()


def half() -> onnx.ModelProto:
    """A network in float16, its picture and its answer too."""
    b = Layers(13)
    x = b.layer(b.picture(kind=onnx.TensorProto.FLOAT16), 16)
    x = b.add("PRelu", b.cv(b.add("Add", x, b.layer(x, 16)), 16, 3, 2), b.const(b.rng.uniform(0, 0.3, (16, 1, 1))))
    b.output(b.cv(b.up(x, 8), 4), kind=onnx.TensorProto.FLOAT16)
    for t in b.inits:
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float16), t.name))
    return b.model()


def conv1d() -> onnx.ModelProto:
    """Sound: a strided encoder, dilated layers with gates and shortcuts, a decoder; [N, C, L] throughout."""
    b = Layers(13)

    def conv(x: str, m: int, k: int, pads: tuple[int, int] = (0, 0), group: int = 1, **more: Any) -> str:
        c = b.channels[x]
        w = b.const(b.rng.normal(0, (group / (c * k)) ** 0.5, (m, c // group, k)))
        bias = b.const(b.rng.normal(0, 0.1, m))
        y = b.add("Conv", x, w, bias, kernel_shape=[k], pads=list(pads), group=group, **more)
        b.channels[y] = m
        return y

    x = b.add("PRelu", conv(b.picture(shape=("n", 1, "samples")), 16, 8, (2, 2), strides=[4]), b.const([[0.2]] * 16))
    x = skip = b.add("MaxPool", x, kernel_shape=[3], strides=[2], pads=[1, 1])
    for d in (1, 2):
        y = b.add("Pad", x, b.i64(0, 0, 2 * d, 0, 0, 0), b.const(0.0))
        y = b.norm(conv(y, 32, 3, dilations=[d]))
        left, right = b.split(y, 16, 16)
        y = b.add("Mul", b.add("Tanh", left), b.add("Sigmoid", right))
        x = b.add("Add", b.add("Mul", conv(conv(y, 16, 3, (1, 1), 16), 16, 1), b.const([[0.5]] * 16)), x)
    x = conv(b.joined(x, skip), 16, 1)
    b.output(x)
    w = b.const(b.rng.normal(0, 0.2, (16, 2, 8)))
    b.output(b.add("ConvTranspose", b.add("Relu", x), w, kernel_shape=[8], strides=[4], pads=[2, 2]))
    return b.model()


STRUCTURES = [
    Family("two inputs", two_inputs, "shared weights, four outputs at different depths"),
    Family("fan out and join", fan_out, "dense operators between regions"),
    Family("batch of four", batch, "rows of a batch are streams"),
    Family("open sizes", open_sizes, "batch, height and width left open, odd sizes", sizes=OPEN),
    Family("Pad", padded, "Pad in three modes"),
    Family("Upsample", old_upsampling, "opset 9"),
    Family("float16", half, "weights, inputs and outputs in float16"),
    Family("super resolution", pixel_shuffle, "channels to space, as an operator and spelled out"),
    Family("conv1d", conv1d, "one dimension: [N, C, L]", sizes=({"x": (1, 1, 512)}, {"x": (2, 1, 300)})),
]
