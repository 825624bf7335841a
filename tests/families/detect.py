"""Detectors: pyramids of maps, heads on each, and boxes decoded in the graph."""

from __future__ import annotations

import numpy as np
import onnx

from families.layers import Family, Layers, Sizes

OPEN: tuple[Sizes, ...] = ({"x": (1, 3, 64, 64)}, {"x": (2, 3, 32, 64)})


def backbone(b: Layers, x: str, act: str, widths: tuple[int, ...] = (16, 24, 32)) -> list[str]:
    """Maps at a half of the size each."""
    maps = []
    x = b.layer(x, 8, 3, 2, act)
    for m in widths:
        x = b.layer(b.layer(x, m, 3, 2, act), m, act=act)
        maps.append(x)
    return maps


def larger(b: Layers, x: str, like: str) -> str:
    """Nearest to the size of another map, computed as a trace with open sizes computes it."""
    sizes = b.add("Concat", *b.dims(x, 0, 1), *b.dims(like, 2, 3), axis=0)
    modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return b.sized(x, sizes, **modes)


def fpn() -> onnx.ModelProto:
    b = Layers(11)
    maps = backbone(b, b.picture(shape=("n", 3, "h", "w")), "Relu")
    top = b.cv(maps[-1], 16, 1)
    tops = [top]
    for low in maps[-2::-1]:
        top = b.add("Add", b.cv(low, 16, 1), larger(b, top, low))
        tops.append(top)
    for t in tops:
        b.output(b.cv(t, 16))
    b.output(b.max_pool(tops[0], 1, 2))
    return b.model()


def c3(b: Layers, x: str, m: int, act: str = "Silu") -> str:
    left = b.layer(x, m // 2, 1, act=act)
    left = b.add("Add", left, b.layer(b.layer(left, m // 2, 1, act=act), m // 2, act=act))
    return b.layer(b.joined(left, b.layer(x, m // 2, 1, act=act)), m, 1, act=act)


def sppf(b: Layers, x: str, m: int, act: str = "Silu") -> str:
    maps = [b.layer(x, m // 2, 1, act=act)]
    for _ in range(3):
        maps.append(b.max_pool(maps[-1], 5, 1, 2))
    return b.layer(b.joined(*maps), m, 1, act=act)


def yolov5() -> onnx.ModelProto:
    """Anchors decoded in the graph: five axes, powers, grids."""
    b = Layers(12)
    x = b.layer(b.picture(shape=(1, 3, 64, 64)), 8, 6, 2, "Silu", pads=[2] * 4)
    low = c3(b, b.layer(x, 16, 3, 2, "Silu"), 16)
    high = sppf(b, c3(b, b.layer(low, 24, 3, 2, "Silu"), 24), 24)
    top = b.layer(high, 16, 1, act="Silu")
    low = c3(b, b.joined(b.grow(top), low), 16)
    high = c3(b, b.joined(b.layer(low, 16, 3, 2, "Silu"), top), 24)
    rows = []
    for t, n, stride in ((low, 16, 4), (high, 8, 8)):
        y = b.add("Reshape", b.cv(t, 3 * 7, 1), b.i64(1, 3, 7, n, n))
        y = b.add("Sigmoid", b.add("Transpose", y, perm=[0, 1, 3, 4, 2]))
        y0, y1, y2 = (b.add("Slice", y, *(b.i64(v) for v in (s, e, 4))) for s, e in ((0, 2), (2, 4), (4, 7)))
        grid = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(1, 1, n, n, 2) - 0.5
        xy = b.add("Mul", b.add("Add", b.add("Mul", y0, b.const(2.0)), b.const(grid)), b.const(float(stride)))
        wh = b.add("Pow", b.add("Mul", y1, b.const(2.0)), b.const(2.0))
        wh = b.add("Mul", wh, b.const(b.rng.uniform(4, 30, (1, 3, 1, 1, 2))))
        rows.append(b.add("Reshape", b.add("Concat", xy, wh, y2, axis=-1), b.i64(1, -1, 7)))
    b.output(b.add("Concat", *rows, axis=1))
    return b.model()


def c2f(b: Layers, x: str, m: int) -> str:
    x = b.layer(x, m, 1, act="Silu")
    maps = b.split(x, m // 2, m // 2)
    maps.append(b.add("Add", maps[-1], b.layer(b.layer(maps[-1], m // 2, act="Silu"), m // 2, act="Silu")))
    return b.layer(b.joined(*maps), m, 1, act="Silu")


def distribution_head(b: Layers, maps: list[tuple[str, int, int]], classes: int, bins: int) -> str:
    """YOLOv8's: each side of a box is the mean of a distribution over bins; the weights are those of a convolution."""
    joined = []
    for t, _, _ in maps:
        boxes = b.cv(b.layer(t, 16, act="Silu"), 4 * bins, 1)
        scores = b.cv(b.layer(b.deep(t, act="Silu"), 16, 1, act="Silu"), classes, 1)
        joined.append(b.add("Reshape", b.joined(boxes, scores), b.i64(1, 4 * bins + classes, -1)))
    places = sum(n * n for _, n, _ in maps)
    x = b.add("Concat", *joined, axis=2)
    boxes, scores = b.add("Split", x, b.i64(4 * bins, classes), axis=1, outputs=["boxes", "scores"]), "scores"
    boxes = b.add("Transpose", b.add("Reshape", boxes, b.i64(1, 4, bins, places)), perm=[0, 2, 1, 3])
    means = b.const(np.arange(bins).reshape(1, bins, 1, 1))
    boxes = b.add("Conv", b.add("Softmax", boxes, axis=1), means, kernel_shape=[1, 1])
    boxes = b.add("Reshape", boxes, b.i64(1, 4, places))
    near, far = (b.add("Slice", boxes, *(b.i64(v) for v in (s, e, 1))) for s, e in ((0, 2), (2, 4)))
    grids = [np.stack(np.meshgrid(np.arange(n), np.arange(n)), 0).reshape(2, -1) + 0.5 for _, n, _ in maps]
    anchors = b.const(np.concatenate(grids, 1)[None])
    near, far = b.add("Sub", anchors, near), b.add("Add", anchors, far)
    centre = b.add("Div", b.add("Add", near, far), b.const(2.0))
    both = b.add("Concat", centre, b.add("Sub", far, near), axis=1)
    strides = b.const(np.concatenate([np.full(n * n, s) for _, n, s in maps])[None, None])
    return b.add("Concat", b.add("Mul", both, strides), b.add("Sigmoid", scores), axis=1)


def yolov8() -> onnx.ModelProto:
    b = Layers(17)
    x = b.layer(b.picture("images", (1, 3, 64, 64)), 8, 3, 2, "Silu")
    low = c2f(b, b.layer(x, 16, 3, 2, "Silu"), 16)
    high = sppf(b, c2f(b, b.layer(low, 32, 3, 2, "Silu"), 32), 32)
    low = c2f(b, b.joined(b.grow(high), low), 16)
    high = c2f(b, b.joined(b.layer(low, 16, 3, 2, "Silu"), high), 32)
    b.output(distribution_head(b, [(low, 16, 4), (high, 8, 8)], 3, 8))
    return b.model()


def attention(b: Layers, x: str, n: int, heads: int = 2) -> str:
    """YOLOv11's: every place looks at every other, which stays dense; a depthwise convolution tells the places."""
    c = b.channels[x]
    d, k = c // heads, c // heads // 2
    y = b.add("Reshape", b.cv(x, heads * (2 * k + d), 1), b.i64(1, heads, 2 * k + d, n * n))
    b.add("Split", y, b.i64(k, k, d), axis=2, outputs=["query", "key", "value"])
    scores = b.add("MatMul", b.add("Transpose", "query", perm=[0, 1, 3, 2]), "key")
    scores = b.add("Softmax", b.add("Mul", scores, b.const(k**-0.5)), axis=-1)
    mixed = b.add("MatMul", "value", b.add("Transpose", scores, perm=[0, 1, 3, 2]))
    mixed, value = (b.add("Reshape", t, b.i64(1, c, n, n)) for t in (mixed, "value"))
    b.channels.update({mixed: c, value: c})
    return b.add("Add", x, b.cv(b.add("Add", mixed, b.cv(value, c, group=c)), c, 1))


def yolov11() -> onnx.ModelProto:
    b = Layers(19)
    x = b.layer(b.picture("images", (1, 3, 64, 64)), 8, 3, 2, "Silu")
    low = c2f(b, b.layer(x, 16, 3, 2, "Silu"), 16)
    high = sppf(b, c2f(b, b.layer(low, 32, 3, 2, "Silu"), 32), 32)
    high = attention(b, high, 8)
    high = b.add("Add", high, b.cv(b.layer(high, 64, 1, act="Silu"), 32, 1))
    low = c2f(b, b.joined(b.grow(high), low), 16)
    high = c2f(b, b.joined(b.layer(low, 16, 3, 2, "Silu"), high), 32)
    b.output(distribution_head(b, [(low, 16, 4), (high, 8, 8)], 3, 8))
    return b.model()


def yolox() -> onnx.ModelProto:
    """Focus spelled as strided slices, heads apart for classes and boxes, rows in the end."""
    b = Layers(11)
    x = b.picture(shape=(1, 3, 64, 64))
    parts = []
    for oy, ox in ((0, 0), (1, 0), (0, 1), (1, 1)):
        rows = b.add("Slice", x, b.i64(oy), b.i64(2**63 - 1), b.i64(2), b.i64(2))
        parts.append(b.add("Slice", rows, b.i64(ox), b.i64(2**63 - 1), b.i64(3), b.i64(2)))
    x = b.layer(b.joined(*parts), 16, act="Silu")
    low = c3(b, b.layer(x, 16, 3, 2, "Silu"), 16)
    high = c3(b, b.layer(low, 32, 3, 2, "Silu"), 32)
    low = c3(b, b.joined(b.grow(b.layer(high, 16, 1, act="Silu")), low), 16)
    rows = []
    for t in (low, high):
        stem = b.layer(t, 16, 1, act="Silu")
        kinds, boxes = (b.layer(b.deep(stem, act="Silu"), 16, 1, act="Silu") for _ in range(2))
        sure, named = b.add("Sigmoid", b.cv(boxes, 1, 1)), b.add("Sigmoid", b.cv(kinds, 3, 1))
        rows.append(b.add("Reshape", b.joined(b.cv(boxes, 4, 1), sure, named), b.i64(1, 8, -1)))
    b.output(b.add("Transpose", b.add("Concat", *rows, axis=2), perm=[0, 2, 1]))
    return b.model()


def ssd() -> onnx.ModelProto:
    """The first map is normalised by its length over the channels; heads turned to NHWC and flattened."""
    b = Layers(10)
    maps = backbone(b, b.picture(shape=(1, 3, 64, 64)), "Relu")
    length = b.add("Sqrt", b.add("ReduceSum", b.add("Mul", maps[0], maps[0]), axes=[1], keepdims=1))
    scaled = b.add("Div", maps[0], b.add("Add", length, b.const(1e-6)))
    maps[0] = b.add("Mul", scaled, b.const(b.rng.uniform(5, 20, (1, 16, 1, 1))))
    boxes, scores = [], []
    for t in maps:
        for found, m in ((boxes, 4 * 4), (scores, 4 * 3)):
            found.append(b.add("Flatten", b.add("Transpose", b.cv(t, m), perm=[0, 2, 3, 1]), axis=1))
    b.output(b.add("Concat", *boxes, axis=1))
    joined = b.add("Reshape", b.add("Concat", *scores, axis=1), b.i64(1, -1, 3))
    b.output(b.add("Softmax", joined, axis=2))
    return b.model()


def centernet() -> onnx.ModelProto:
    """Transposed convolutions; a place is kept where it is the largest of its neighbours."""
    b = Layers(13)
    x = b.picture(shape=("n", 3, "h", "w"))
    x = backbone(b, x, "Relu")[-1]
    for m in (24, 16):
        x = b.add("Relu", b.norm(b.up(x, m, 4)))
    heat = b.cv(b.add("Relu", b.cv(x, 16)), 3, 1)
    heat = b.add("Sigmoid", b.add("Mul", heat, b.const(0.02)))  # not so large that all of it is 1
    top = b.add("Cast", b.add("Equal", b.max_pool(heat, 3, 1, 1), heat), to=onnx.TensorProto.FLOAT)
    b.output(b.add("Mul", heat, top))
    for m in (2, 2):
        b.output(b.cv(b.add("Relu", b.cv(x, 16)), m, 1))
    return b.model()


DETECTORS = [
    Family("FPN", fpn, "maps enlarged to the computed size of another; all sizes left open", sizes=OPEN),
    Family("YOLOv5", yolov5, "C3, SPPF, anchors decoded over five axes"),
    Family("YOLOv8", yolov8, "C2f, a convolution over the bins of a distribution", 0.98),
    Family("YOLOv11", yolov11, "attention between convolutions", 0.98),
    Family("YOLOX", yolox, "Focus as strided slices, heads apart"),
    Family("SSD", ssd, "length over the channels, heads turned to NHWC"),
    Family("CenterNet", centernet, "transposed convolutions, peaks found in the graph", sizes=OPEN),
]
