"""Classifiers: one picture in, a vector out."""

from __future__ import annotations

import numpy as np
import onnx

from families.layers import Family, Layers

OPEN = ({"x": (2, 3, 32, 32)}, {"x": (1, 3, 48, 32)})


def resnet() -> onnx.ModelProto:
    b = Layers(11)
    x = b.max_pool(b.layer(b.picture(shape=(1, 3, 64, 64)), 8, 7, 2), 3, 2, 1)
    for m, stride in ((8, 1), (16, 2), (32, 2)):
        short = x if stride == 1 else b.layer(x, m, 1, stride, "")
        x = b.add("Relu", b.add("Add", b.layer(b.layer(x, m, 3, stride), m, act=""), short))
        x = b.add("Relu", b.add("Add", b.layer(b.layer(x, m), m, act=""), x))
    b.classes(x)
    return b.model()


def resnet_bottleneck() -> onnx.ModelProto:
    """BatchNormalization folded by the exporter, weights shared as inputs of the graph (IR 3)."""
    b = Layers(9)
    x = b.max_pool(b.add("Relu", b.cv(b.picture(), 16, 7, 2)), 3, 2, 1)
    for m, stride in ((8, 1), (16, 2)):
        y = b.add("Relu", b.cv(b.add("Relu", b.cv(x, m, 1)), m, 3, stride))
        x = b.add("Relu", b.add("Add", b.cv(y, 4 * m, 1), b.cv(x, 4 * m, 1, stride)))
    x = b.add("Sum", b.cv(x, 64, 1), x)
    b.output(b.add("Softmax", b.linear(b.add("Flatten", b.mean_pool(x, 4, 1)), 64, 5), axis=1))
    for t in b.inits:
        b.input(t.name, tuple(t.dims), t.data_type)
    return b.model(ir_version=3)


def preactivation() -> onnx.ModelProto:
    """ResNet v2: BatchNormalization and Relu before the convolutions."""
    b = Layers(13)
    x = b.cv(b.picture(), 16, 3, 2)
    for _ in range(2):
        y = b.add("Relu", b.norm(x))
        y = b.cv(b.add("Relu", b.norm(b.cv(y, 16, bare=True))), 16)
        x = b.add("Add", x, y)
    b.classes(b.add("Relu", b.norm(x)))
    return b.model()


def alexnet() -> onnx.ModelProto:
    b = Layers(8)
    x = b.add("Relu", b.cv(b.picture(shape=(1, 3, 67, 67)), 16, 11, 4, pads=[0] * 4))
    x = b.max_pool(b.add("LRN", x, size=5, alpha=1e-4, beta=0.75, bias=1.0), 3, 2)
    x = b.add("LRN", b.add("Relu", b.cv(x, 32, 5, group=2)), size=5, alpha=1e-4, beta=0.75, bias=1.0)
    x = b.max_pool(x, 3, 2)
    x = b.add("Relu", b.cv(b.add("Relu", b.cv(x, 32)), 32, group=2))
    x = b.add("Reshape", x, b.i64(1, -1))
    x = b.add("Dropout", b.add("Relu", b.linear(x, 32 * 9, 16)), ratio=0.5)
    b.output(b.add("Softmax", b.linear(x, 16, 5), axis=1))
    return b.model()


def vgg() -> onnx.ModelProto:
    b = Layers(12)
    x = b.picture(shape=("n", 3, 32, 32))
    for m in (8, 16, 32):
        x = b.max_pool(b.add("Relu", b.cv(b.add("Relu", b.cv(x, m)), m)))
    x = b.add("Flatten", x, axis=1)
    b.output(b.linear(b.add("Relu", b.linear(x, 32 * 16, 32)), 32, 5))
    return b.model()


def mobilenet_v1() -> onnx.ModelProto:
    """As tf2onnx writes it: NHWC outside, SAME padding, Relu6 by attributes."""
    b = Layers(10)
    b.input("x", (1, 32, 32, 3))
    x = b.add("Transpose", "x", perm=[0, 3, 1, 2])
    b.channels[x] = 3
    x = b.layer(x, 8, 3, 2, "Relu6", auto_pad="SAME_UPPER")
    for m, stride in ((16, 1), (24, 2), (24, 1), (32, 2)):
        x = b.deep(x, 3, stride, "Relu6", auto_pad="SAME_UPPER")
        x = b.layer(x, m, 1, 1, "Relu6", auto_pad="SAME_UPPER")
    pooled = b.add("Squeeze", b.add("ReduceMean", x, axes=[2, 3], keepdims=1), axes=[2, 3])
    b.output(b.add("Softmax", b.linear(pooled, 32, 5), axis=1))
    return b.model()


def mobilenet_v2() -> onnx.ModelProto:
    b = Layers(13)
    x = b.layer(b.picture(shape=("n", 3, "h", "w")), 8, 3, 2, "Relu6")
    for m, stride in ((8, 1), (16, 2), (16, 1), (24, 2)):
        y = b.layer(x, 4 * b.channels[x], 1, 1, "Relu6")
        y = b.layer(b.deep(y, 3, stride, "Relu6"), m, 1, act="")
        x = b.add("Add", x, y) if stride == 1 and b.channels[x] == m else y
    x = b.add("ReduceMean", b.layer(x, 32, 1, 1, "Relu6"), axes=[2, 3], keepdims=0)
    b.output(b.linear(x, 32, 5))
    return b.model()


def mobilenet_v3(opset: int, act: str, gate: str) -> onnx.ModelProto:
    b = Layers(opset)
    x = b.layer(b.picture(), 16, 3, 2, act)
    for expanded, m, k, stride, excited in ((16, 16, 3, 2, True), (40, 24, 5, 1, False), (64, 24, 5, 1, True)):
        y = b.deep(b.layer(x, expanded, 1, act=act), k, stride, act)
        y = b.excite(y, 8, "Relu", gate) if excited else y
        y = b.layer(y, m, 1, act="")
        x = b.add("Add", x, y) if stride == 1 and b.channels[x] == m else y
    x = b.act(b.cv(b.add("GlobalAveragePool", b.layer(x, 32, 1, act=act)), 32, 1), act)
    b.output(b.linear(b.add("Flatten", x, axis=1), 32, 5))
    return b.model()


def mobilenet_v3_spelled() -> onnx.ModelProto:
    return mobilenet_v3(11, "hard-swish", "hard-sigmoid")


def mobilenet_v3_operators() -> onnx.ModelProto:
    return mobilenet_v3(14, "HardSwish", "HardSigmoid")


def efficientnet() -> onnx.ModelProto:
    """SiLU, squeeze and excitation on vectors, explicit pads at the lower right."""
    b = Layers(13)

    def excite(x: str, squeezed: int) -> str:
        c = b.channels[x]
        y = b.add("ReduceMean", x, axes=[2, 3], keepdims=1)
        y = b.act(b.cv(y, squeezed, 1), "Silu")
        return b.add("Mul", x, b.add("Sigmoid", b.cv(y, c, 1)))

    x = b.add("Pad", b.picture(), b.i64(0, 0, 0, 0, 0, 0, 1, 1), b.const(0.0), mode="constant")
    x = b.layer(x, 16, 3, 2, "Silu", pads=[0] * 4)
    for m, k, stride in ((16, 3, 1), (24, 5, 2), (24, 5, 1), (32, 3, 2)):
        y = b.layer(x, 2 * b.channels[x], 1, act="Silu")
        y = excite(b.deep(y, k, stride, "Silu"), 6)
        y = b.layer(y, m, 1, act="")
        x = b.add("Add", y, x) if stride == 1 and b.channels[x] == m else y
    b.classes(b.layer(x, 48, 1, act="Silu"))
    return b.model()


def shuffle(b: Layers, x: str, computed: bool = False) -> str:
    """Two groups of channels in turn; with sizes as a trace with open sizes computes them."""
    c = b.channels[x]
    n, h, w = b.dims(x, 0, 2, 3) if computed else (-1, 8, 8)
    y = b.add("Transpose", b.shaped(x, n, 2, c // 2, h, w), perm=[0, 2, 1, 3, 4])
    y = b.shaped(y, n, c if not computed else -1, h, w)
    b.channels[y] = c
    return y


def shufflenet(shape: tuple[int | str, ...], computed: bool) -> onnx.ModelProto:
    b = Layers(12)
    x = b.max_pool(b.layer(b.picture(shape=shape), 8, 3, 2), 3, 2, 1)
    left = b.layer(b.deep(x, 3, 1, ""), 16, 1)
    right = b.layer(b.deep(b.layer(x, 16, 1), 3, 1, ""), 16, 1)
    x = shuffle(b, b.joined(left, right), computed)
    for _ in range(2):
        left, right = b.split(x, 16, 16)
        right = b.layer(b.deep(b.layer(right, 16, 1), 3, 1, ""), 16, 1)
        x = shuffle(b, b.joined(left, right), computed)
    b.classes(b.layer(x, 32, 1))
    return b.model()


def shufflenet_fixed() -> onnx.ModelProto:
    return shufflenet((1, 3, 32, 32), False)


def shufflenet_open() -> onnx.ModelProto:
    return shufflenet(("n", 3, "h", "w"), True)


def densenet() -> onnx.ModelProto:
    b = Layers(12)
    x = b.max_pool(b.layer(b.picture(), 16, 7, 2), 3, 2, 1)
    for block in range(2):
        maps = [x]
        for _ in range(3):
            y = b.add("Relu", b.norm(b.joined(*maps) if len(maps) > 1 else x))
            maps.append(b.cv(b.layer(y, 16, 1), 8, bare=True))
        x = b.joined(*maps)
        if block == 0:
            x = b.mean_pool(b.cv(b.add("Relu", b.norm(x)), 20, 1, bare=True))
    b.classes(b.add("Relu", b.norm(x)))
    return b.model()


def inception() -> onnx.ModelProto:
    b = Layers(9)
    x = b.max_pool(b.layer(b.picture(), 16, 3, 2, pads=[0] * 4), 3, 1)
    for _ in range(2):
        pooled = b.mean_pool(x, 3, 1, 1, count_include_pad=1)
        wide = b.layer(b.layer(b.layer(x, 8, 1), 8, (1, 7)), 12, (7, 1))
        x = b.joined(b.layer(x, 8, 1), b.layer(b.layer(x, 8, 1), 12, 5), wide, b.layer(pooled, 8, 1))
    x = b.joined(b.layer(x, 16, 3, 2, pads=[0] * 4), b.max_pool(x, 3, 2))
    b.classes(x)
    return b.model()


def convnext() -> onnx.ModelProto:
    """LayerNormalization and linear layers on NHWC maps, a factor for each channel."""
    b = Layers(17)

    def norm(x: str, c: int) -> str:
        return b.add(
            "LayerNormalization", x, b.const(b.rng.uniform(0.5, 2, c)), b.const(b.rng.normal(0, 1, c)), axis=-1
        )

    def linear(x: str, k: int, m: int) -> str:
        y = b.add("MatMul", x, b.const(b.rng.normal(0, k**-0.5, (k, m))))
        return b.add("Add", b.const(b.rng.normal(0, 0.1, m)), y)

    x = b.cv(b.picture(), 16, 4, 4, pads=[0] * 4)
    x = b.add("Transpose", norm(b.add("Transpose", x, perm=[0, 2, 3, 1]), 16), perm=[0, 3, 1, 2])
    for _ in range(2):
        y = norm(b.add("Transpose", b.cv(x, 16, 7, group=16), perm=[0, 2, 3, 1]), 16)
        y = linear(y, 16, 64)
        erf = b.add("Erf", b.add("Div", y, b.const(float(np.sqrt(2)))))
        y = b.add("Mul", b.add("Mul", y, b.add("Add", erf, b.const(1.0))), b.const(0.5))
        y = b.add("Mul", b.const(b.rng.normal(0, 1, 16)), linear(y, 64, 16))
        y = b.add("Transpose", y, perm=[0, 3, 1, 2])
        b.channels[y] = 16
        x = b.add("Add", x, y)
    b.classes(x)
    return b.model()


def vit() -> onnx.ModelProto:
    """Convolutions cut the picture into patches; all that follows mixes all places, and stays dense."""
    b = Layers(17)
    c, heads, n = 64, 2, 16
    x = b.cv(b.picture(), c, 8, 8, pads=[0] * 4)
    x = b.add("Transpose", b.add("Reshape", x, b.i64(1, c, -1)), perm=[0, 2, 1])
    x = b.add("Add", x, b.const(b.rng.normal(0, 0.1, (1, n, c))))
    y = b.add("LayerNormalization", x, b.const(np.ones(c)), b.const(np.zeros(c)), axis=-1)

    def head(perm: list[int]) -> str:
        z = b.add("MatMul", y, b.const(b.rng.normal(0, c**-0.5, (c, c))))
        return b.add("Transpose", b.add("Reshape", z, b.i64(1, n, heads, c // heads)), perm=perm)

    scores = b.add("MatMul", head([0, 2, 1, 3]), head([0, 2, 3, 1]))
    mixed = b.add("MatMul", b.add("Softmax", scores, axis=-1), head([0, 2, 1, 3]))
    mixed = b.add("Reshape", b.add("Transpose", mixed, perm=[0, 2, 1, 3]), b.i64(1, n, c))
    x = b.add("Add", x, b.add("MatMul", mixed, b.const(b.rng.normal(0, c**-0.5, (c, c)))))
    b.output(b.linear(b.add("ReduceMean", x, axes=[1], keepdims=0), c, 5))
    return b.model()


CLASSIFIERS = [
    Family("ResNet", resnet, "BatchNormalization in the graph, shortcuts with and without a convolution"),
    Family("ResNet, bottlenecks", resnet_bottleneck, "weights as inputs of the graph (IR 3), a Sum"),
    Family("ResNet v2", preactivation, "BatchNormalization and Relu before the convolutions"),
    Family("AlexNet", alexnet, "LRN, groups, linear layers on all places"),
    Family("VGG", vgg, "batch left open", sizes=({"x": (2, 3, 32, 32)},)),
    Family("MobileNet v1", mobilenet_v1, "NHWC and SAME padding, as from tf2onnx"),
    Family("MobileNet v2", mobilenet_v2, "inverted residuals; all sizes left open", sizes=OPEN),
    Family("MobileNet v3, spelled out", mobilenet_v3_spelled, "hard swish in four operators, squeeze and excitation"),
    Family("MobileNet v3", mobilenet_v3_operators, "HardSwish and HardSigmoid as operators"),
    Family("EfficientNet", efficientnet, "SiLU, squeeze and excitation, pads at one side"),
    Family("ShuffleNet v2", shufflenet_fixed, "channel shuffles as Reshape, Transpose, Reshape"),
    Family("ShuffleNet v2, open sizes", shufflenet_open, "shuffles with computed sizes", sizes=OPEN),
    Family("DenseNet", densenet, "concatenations that grow, BatchNormalization behind them"),
    Family("Inception", inception, "branches, 1x7 and 7x1 windows, means that count the padding"),
    Family("ConvNeXt", convnext, "LayerNormalization and linear layers on NHWC maps"),
    Family("ViT", vit, "patches by a convolution; attention stays dense"),
]
