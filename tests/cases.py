"""The table of operator cases: what the tests, the benchmarks and the generated operator pages go through.

A case is one operator between Enter and Exit: input shapes, attributes, how the input changes from frame to frame, and
a threshold. `CASES` is the fixed table, random_cases.py draws more of the same kind; both are checked by the same
functions (test_reference.py, test_native.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from case import Case

# --- attributes -------------------------------------------------------------------------------------------------------


def geometry(
    kernel: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    auto_pad: str = "NOTSET",
) -> dict[str, Any]:
    return {
        "kernel_shape": list(kernel),
        "strides": list(strides),
        "pads": list(pads),
        "dilations": list(dilations),
        "auto_pad": auto_pad,
    }


def activation(kind: str = "None", *params: float) -> dict[str, Any]:
    return {"activation": kind, "activation_params": list(params)}


FLOAT_MAX = 3.402823466e38


ACTIVATIONS = (
    activation(),
    activation("Relu"),
    activation("LeakyRelu", 0.1),
    activation("PRelu", 0.25),
    activation("Clip", 0.0, 6.0),
    activation("Clip", -0.5, FLOAT_MAX),
    activation("Sigmoid"),
    activation("HardSigmoid", 0.2, 0.5),
    activation("HardSwish", 1 / 6, 0.5),
    activation("Silu"),
    activation("Tanh"),
    activation("Gelu"),
    activation("Elu", 0.7),
    activation("Abs"),
    activation("Neg"),
    activation("Exp"),
    activation("Sqrt"),
    activation("Erf"),
    activation("Softplus"),
    activation("Mish"),
    activation("Sign"),
    activation("Log"),
    activation("GeluTanh"),
    activation("Square"),
)
POSITIVE = ("Sqrt", "Log")  # activations that are not defined below zero


def conv(shape: tuple[int, ...], m: int, kernel: tuple[int, int] = (3, 3), group: int = 1, **kw: Any) -> Case:
    """A Conv of `m` outputs; further keywords are those of `geometry`, `activation=` and fields of Case."""
    window = {k: kw.pop(k) for k in ("strides", "pads", "dilations", "auto_pad") if k in kw}
    attributes = {**geometry(kernel, **window), "group": group, **kw.pop("activation", activation())}
    return Case("Conv", (shape,), attributes, ((m, shape[1] // group, *kernel), (m,)), **kw)


def separable_conv(shape: tuple[int, ...], m: int, kernel: tuple[int, int] = (3, 3), **kw: Any) -> Case:
    """A depthwise Conv with activation `inner=`, then a 1x1 Conv of `m` outputs with `activation=`."""
    window = {k: kw.pop(k) for k in ("strides", "pads", "dilations", "auto_pad") if k in kw}
    inner = {f"inner_{k}": v for k, v in kw.pop("inner", activation()).items()}
    attributes = {**geometry(kernel, **window), **inner, **kw.pop("activation", activation())}
    c = shape[1]
    return Case("SeparableConv", (shape,), attributes, ((c, 1, *kernel), (c,), (m, c, 1, 1), (m,)), **kw)


def with_addend(case: Case) -> Case:
    """The same convolution with a map of its output's size as second input."""
    return replace(case, op=f"{case.op}Add", shapes=(*case.shapes, output_shape(case)))


def output_shape(case: Case) -> tuple[int, ...]:
    """Shape of the output of a Conv or SeparableConv."""
    a, (n, _, *size) = case.attributes, case.shapes[0]
    axes = enumerate(zip(size, a["kernel_shape"], a["strides"], a["dilations"], strict=True))
    out = [
        -(-s // stride)
        if a["auto_pad"].startswith("SAME")
        else (s + a["pads"][i] + a["pads"][i + 2] - (k - 1) * dilation - 1) // stride + 1
        for i, (s, k, stride, dilation) in axes
    ]
    return (n, case.constants[-1][0], *out)


def conv_transpose(shape: tuple[int, ...], m: int, kernel: tuple[int, int] = (2, 2), group: int = 1, **kw: Any) -> Case:
    window = {k: kw.pop(k) for k in ("strides", "pads", "dilations") if k in kw}
    attributes = {**geometry(kernel, **window), "group": group, **kw.pop("activation", activation())}
    attributes["output_padding"] = list(kw.pop("output_padding", (0, 0)))
    return Case("ConvTranspose", (shape,), attributes, ((shape[1], m // group, *kernel), (m,)), **kw)


def pool(op: str, shape: tuple[int, ...], kernel: tuple[int, int], ceil_mode: int = 0, **kw: Any) -> Case:
    window = {k: kw.pop(k) for k in ("strides", "pads", "dilations", "auto_pad") if k in kw}
    attributes = {**geometry(kernel, **window), "ceil_mode": ceil_mode}
    if op == "AveragePool":
        attributes["count_include_pad"] = kw.pop("count_include_pad", 0)
    return Case(op, (shape,), attributes, **kw)


def resize(shape: tuple[int, ...], mode: str, transform: str, nearest: str = "floor", **kw: Any) -> Case:
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": transform,
        "nearest_mode": nearest,
        "scales": list(kw.pop("scales", ())),
        "sizes": list(kw.pop("sizes", ())),
    }
    return Case("Resize", (shape,), attributes, **kw)


def resize_like(shape: tuple[int, ...], size: tuple[int, int], mode: str, transform: str, **kw: Any) -> Case:
    """The second map has its own channels."""
    attributes = {"mode": mode, "coordinate_transformation_mode": transform, "nearest_mode": "floor"}
    return Case("ResizeLike", (shape, (shape[0], 3, *size)), attributes, **kw)


def pad(
    shape: tuple[int, ...], pads: tuple[int, int, int, int], mode: str = "constant", value: float = 0.0, **kw: Any
) -> Case:
    return Case("Pad", (shape,), {"pads": list(pads), "mode": mode, "value": value}, **kw)


def pad_like(shape: tuple[int, ...], size: tuple[int, int], value: float = 0.0, **kw: Any) -> Case:
    return Case("PadLike", (shape, (shape[0], 2, *size)), {"value": value}, **kw)


def binary(op: str, a: tuple[int, ...], b: tuple[int, ...], act: dict[str, Any] | None = None, **kw: Any) -> Case:
    kw.setdefault("data", "positive" if op in ("Div", "Pow") else "normal")
    return Case("Binary", (a, b), {"op": op, **(act or activation())}, **kw)


def binary_const(
    op: str, shape: tuple[int, ...], c: int, reverse: int, act: dict[str, Any] | None = None, **kw: Any
) -> Case:
    kw.setdefault("data", "positive" if op in ("Div", "Pow") else "normal")
    return Case("BinaryConst", (shape,), {"op": op, "reverse": reverse, **(act or activation())}, ((c,),), **kw)


def binary_map(op: str, shape: tuple[int, ...], c: int, act: dict[str, Any] | None = None, **kw: Any) -> Case:
    """A constant with a row of `c` values for each site."""
    attributes = {"op": op, "reverse": 0, **(act or activation())}
    return Case("BinaryConst", (shape,), attributes, ((*shape[2:], c),), **kw)


def layer_norm(shape: tuple[int, ...], epsilon: float = 1e-5, **kw: Any) -> Case:
    c = shape[1]
    return Case("LayerNormalization", (shape,), {"epsilon": epsilon}, ((c,), (c,)), **kw)


def lrn(shape: tuple[int, ...], size: int, beta: float = 0.75, bias: float = 1.0, **kw: Any) -> Case:
    """A large alpha, so that the squares count."""
    return Case("LRN", (shape,), {"size": size, "alpha": 0.5, "beta": beta, "bias": bias}, **kw)


# --- the table --------------------------------------------------------------------------------------------------------

SMALL = (1, 5, 7, 6)
ROWS = (1, 16, 12, 17)
MAP = (1, 3, 20, 19)
WIDE = (1, 40, 9, 70)  # wider than a word of the change map, channels that fill no register evenly
LARGE = (1, 32, 40, 67)  # large enough to be cut into tasks for several threads
ONE_BY_ONE = (1, 1)
PAD1 = (1, 1, 1, 1)


CASES: list[Case] = [
    # The borders: layouts, uint8, batch rows, gates.
    Case("Enter", (SMALL,)),
    Case("Enter", (WIDE,), change="scatter"),
    Case("Enter", ((3, 3, 9, 11),), change="pixel"),
    Case("Enter", (SMALL,), enter="channels_last"),
    Case("Enter", (MAP,), data="uint8"),
    Case("Enter", (MAP,), data="uint8", enter="channels_last", change="scatter"),
    Case("Enter", (MAP,), threshold=0.2, change="all"),
    Case("Enter", (ROWS,), threshold=0.2, change="scatter", enter="channels_last"),
    Case("Enter", (MAP,), threshold=0.5, change="all", period=2),
    Case("Enter", ((1, 1, 1, 1),), change="pixel"),
    Case("Enter", ((2, 3, 160, 131),), data="uint8", change="scatter"),
    Case("Exit", (WIDE,), through="view", change="scatter"),
    Case("MapShape", ((2, 3, 4, 5),)),
    # Convolutions: every shape of window, group, width, activation.
    conv(SMALL, 4, change="pixel"),
    conv(SMALL, 4, change="nothing"),
    conv(MAP, 16, pads=PAD1, strides=(2, 2), activation=activation("Relu")),
    conv(MAP, 32, (7, 7), pads=(3, 3, 3, 3), strides=(2, 2), change="scatter"),
    conv(ROWS, 33, pads=PAD1, change="scatter", activation=activation("Silu")),
    conv(ROWS, 16, pads=PAD1, change="all"),
    conv(ROWS, 24, ONE_BY_ONE, change="scatter", activation=activation("Clip", 0.0, 6.0)),
    conv(WIDE, 70, ONE_BY_ONE, change="all", activation=activation("LeakyRelu", 0.1)),
    conv(WIDE, 8, pads=PAD1, dilations=(2, 2), change="box"),
    conv(ROWS, 8, (3, 5), pads=(0, 2, 1, 1), strides=(1, 2), dilations=(2, 1), change="scatter"),
    conv(ROWS, 8, (1, 7), auto_pad="SAME_UPPER", change="pixel"),
    conv(ROWS, 8, (4, 4), auto_pad="SAME_LOWER", strides=(2, 3), change="scatter"),
    conv(ROWS, 8, (5, 2), auto_pad="VALID", strides=(3, 1), change="scatter"),
    conv(ROWS, 16, group=16, pads=PAD1, change="scatter", activation=activation("HardSwish", 1 / 6, 0.5)),
    conv(WIDE, 40, (5, 5), group=40, pads=(2, 2, 2, 2), strides=(2, 2), change="box"),
    conv(ROWS, 32, group=16, pads=PAD1, change="scatter"),
    conv(
        ROWS,
        12,
        group=4,
        pads=PAD1,
        change="scatter",
        activation=activation("PRelu", *np.linspace(0.1, 0.5, 12).tolist()),
    ),
    conv((2, 8, 10, 9), 8, pads=PAD1, change="pixel"),
    conv((1, 8, 1, 1), 4, ONE_BY_ONE, change="all", activation=activation("Sigmoid")),
    conv(ROWS, 17, pads=PAD1, through="view", change="scatter"),
    conv(ROWS, 16, group=16, pads=PAD1, through="view", change="scatter"),
    conv(LARGE, 40, pads=PAD1, change="scatter", activation=activation("Relu")),
    conv(LARGE, 24, pads=PAD1, strides=(2, 2), change="all", threshold=0.1),
    conv(LARGE, 32, group=32, pads=PAD1, change="box"),
    # weights that are packed in parts, and few enough sites that threads share these
    conv((1, 168, 5, 5), 210, pads=PAD1, change="box", activation=activation("Relu")),
    conv((1, 1024, 6, 6), 512, ONE_BY_ONE, through="view", change="box"),
    conv((1, 168, 5, 5), 210, pads=PAD1, change="all"),
    with_addend(conv((1, 168, 5, 5), 210, pads=PAD1, change="box")),
    conv((1, 168, 8, 30), 140, pads=PAD1, threshold=0.1, change="scatter"),
    conv(ROWS, 8, pads=PAD1, threshold=0.1, change="scatter", activation=activation("Relu")),
    conv(ROWS, 8, pads=PAD1, threshold=0.3, change="all"),
    conv(ROWS, 8, pads=PAD1, threshold=0.5, change="scatter", period=2),
    *(
        conv(SMALL, 9, pads=PAD1, activation=a, change="scatter")
        for a in ACTIVATIONS
        if a["activation"] not in POSITIVE
    ),
    separable_conv(ROWS, 24, pads=PAD1, inner=activation("Clip", 0.0, 6.0), change="scatter"),
    separable_conv(ROWS, 8, pads=PAD1, inner=activation("Relu"), change="scatter", threshold=0.1),
    separable_conv(ROWS, 8, pads=PAD1, strides=(2, 2), change="all", threshold=0.3, activation=activation("Silu")),
    separable_conv(WIDE, 70, (5, 5), pads=(2, 2, 2, 2), strides=(2, 1), change="box", threshold=0.05),
    separable_conv(ROWS, 8, pads=PAD1, inner=activation("Relu"), change="scatter", threshold=0.3, period=3),
    separable_conv(ROWS, 16, (3, 2), auto_pad="SAME_UPPER", through="view", change="scatter"),
    separable_conv(ROWS, 5, dilations=(2, 2), pads=(2, 2, 2, 2), through="view", change="scatter", threshold=0.1),
    separable_conv(LARGE, 40, pads=PAD1, change="scatter", threshold=0.1, inner=activation("HardSwish", 1 / 6, 0.5)),
    separable_conv(
        (2, 6, 5, 9), 7, pads=PAD1, change="pixel", inner=activation("PRelu", *np.linspace(0, 1, 6).tolist())
    ),
    with_addend(conv(ROWS, 24, ONE_BY_ONE, change="scatter", activation=activation("Relu"))),
    with_addend(conv(ROWS, 9, pads=PAD1, strides=(2, 2), through="view", change="box")),
    with_addend(conv(ROWS, 16, group=16, pads=PAD1, change="scatter", threshold=0.1)),
    with_addend(conv(LARGE, 40, pads=PAD1, change="all", activation=activation("Silu"))),
    with_addend(separable_conv(ROWS, 24, pads=PAD1, inner=activation("Relu"), change="scatter")),
    with_addend(separable_conv(WIDE, 33, pads=PAD1, through="view", change="box", activation=activation("Relu"))),
    with_addend(separable_conv(LARGE, 8, pads=PAD1, change="scatter", threshold=0.1)),
    conv_transpose(SMALL, 4, strides=(2, 2), change="pixel"),
    conv_transpose(ROWS, 8, strides=(2, 2), change="scatter", activation=activation("Relu")),
    conv_transpose(ROWS, 20, (4, 4), strides=(2, 2), pads=PAD1, change="scatter"),
    conv_transpose(ROWS, 8, (3, 3), strides=(2, 2), pads=PAD1, output_padding=(1, 1), change="box"),
    conv_transpose(ROWS, 6, (3, 2), strides=(1, 3), pads=(0, 1, 2, 0), dilations=(2, 1), group=2, change="scatter"),
    conv_transpose(ROWS, 16, (4, 4), strides=(2, 2), pads=PAD1, group=16, change="scatter"),
    conv_transpose(ROWS, 8, strides=(2, 2), through="view", change="scatter"),
    conv_transpose(ROWS, 8, strides=(2, 2), threshold=0.1, change="scatter"),
    conv_transpose(LARGE, 16, (4, 4), strides=(2, 2), pads=PAD1, change="box"),
    # Elementwise.
    *(
        Case("Activation", (ROWS,), a, change="scatter", data="positive" if a["activation"] in POSITIVE else "normal")
        for a in ACTIVATIONS
        if a["activation"] != "None"
    ),
    Case("Activation", (ROWS,), activation("PRelu", *np.linspace(-0.5, 0.5, 16).tolist()), change="box"),
    Case("Activation", (WIDE,), activation("Relu"), through="view", change="pixel"),
    Case("Activation", (LARGE,), activation("Silu"), change="all"),
    *(binary(op, ROWS, ROWS, change="scatter") for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow")),
    binary("Add", WIDE, WIDE, activation("Relu"), change="box"),
    binary("Mul", ROWS, (1, 16, 1, 1), change="scatter"),
    binary("Sub", (1, 16, 1, 1), ROWS, change="nothing"),
    binary("Mul", ROWS, (1, 1, 12, 17), change="scatter"),
    binary("Sub", (1, 1, 12, 17), ROWS, change="pixel"),
    binary("Mul", (1, 16, 1, 1), (1, 1, 12, 17), change="pixel"),
    binary("Add", ROWS, ROWS, through="view", change="scatter"),
    binary("Add", (2, 6, 5, 4), (2, 6, 5, 4), change="pixel"),
    *(binary_const(op, ROWS, 16, 0, change="scatter") for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow")),
    *(binary_const(op, ROWS, 1, 1, change="box") for op in ("Sub", "Div", "Pow")),
    binary_const("Sub", WIDE, 40, 1, activation("Relu"), change="scatter", through="view"),
    binary_map("Add", ROWS, 16, change="scatter"),
    binary_map("Mul", WIDE, 1, activation("Relu"), through="view", change="box"),
    binary_map("Add", (2, 16, 30, 41), 16, enter="channels_last", change="all"),
    # Views and copies of channels.
    Case("Concat", (ROWS, (1, 5, 12, 17)), change="scatter"),
    Case("Concat", (SMALL, SMALL, SMALL), change="pixel"),
    Case("Concat", ((2, 3, 8, 9), (2, 2, 8, 9)), through="view", change="pixel"),
    Case("Slice", (ROWS,), {"start": 3, "end": 11}, change="scatter"),
    Case("Slice", (ROWS,), {"start": 5, "end": 13}, through="view", change="scatter"),
    Case("ChannelRanges", (ROWS,), {"sources": [0, 0, 0], "starts": [9, 1, 4], "ends": [16, 2, 6]}, change="scatter"),
    Case("ChannelRanges", (ROWS,), {"sources": [0, 0], "starts": [3, 8], "ends": [8, 13]}, through="view"),
    Case("ChannelRanges", (ROWS, (1, 5, 12, 17)), {"sources": [1, 0, 1], "starts": [2, 0, 0], "ends": [5, 16, 2]}),
    Case("ChannelGather", (ROWS,), {"indices": list(range(16))}, through="view", change="scatter"),
    Case("ChannelGather", (ROWS,), {"indices": list(range(9))}, through="view", change="box"),
    Case("ChannelGather", (ROWS,), {"indices": [15, 0, 3, 3, 7]}, change="scatter"),
    Case("ChannelGather", (ROWS,), {"indices": [0, 8, 1, 9, 2, 10]}, through="view", change="box"),
    # Pools.
    pool("MaxPool", ROWS, (2, 2), strides=(2, 2), change="scatter"),
    pool("MaxPool", ROWS, (3, 3), strides=(2, 2), pads=PAD1, change="scatter"),
    pool("MaxPool", ROWS, (3, 3), 1, strides=(2, 2), change="box"),
    pool("MaxPool", WIDE, (5, 5), pads=(2, 2, 2, 2), change="pixel"),
    pool("MaxPool", ROWS, (2, 3), auto_pad="SAME_UPPER", strides=(2, 1), change="scatter"),
    pool("MaxPool", ROWS, (3, 2), pads=(0, 1, 1, 0), dilations=(2, 2), change="scatter"),
    pool("MaxPool", ROWS, (2, 2), strides=(2, 2), through="view", change="scatter"),
    pool("MaxPool", LARGE, (3, 3), pads=PAD1, change="all"),
    pool("AveragePool", ROWS, (2, 2), strides=(2, 2), change="scatter"),
    pool("AveragePool", ROWS, (3, 3), pads=PAD1, change="scatter"),
    pool("AveragePool", ROWS, (3, 3), pads=PAD1, count_include_pad=1, change="box"),
    pool("AveragePool", ROWS, (3, 3), 1, strides=(2, 2), pads=PAD1, count_include_pad=1, change="scatter"),
    pool("AveragePool", ROWS, (3, 4), 1, strides=(2, 3), change="scatter"),
    pool("AveragePool", ROWS, (4, 3), auto_pad="SAME_LOWER", strides=(2, 2), change="scatter"),
    Case("GlobalAveragePool", (ROWS,), change="pixel"),
    Case("GlobalAveragePool", (WIDE,), through="view", change="scatter"),
    Case("GlobalAveragePool", (LARGE,), change="scatter"),
    Case("GlobalMaxPool", (ROWS,), change="scatter"),
    Case("GlobalMaxPool", ((2, 5, 6, 7),), change="pixel"),
    # Functions of a site's channels.
    *(Case("Softmax", (shape,), {"log": log}, change="scatter") for shape in (ROWS, WIDE) for log in (0, 1)),
    Case("Softmax", (SMALL,), {"log": 0}, through="view", change="pixel"),
    Case("Softmax", ((2, 4, 30, 21),), {"log": 0}, enter="channels_last", change="box"),
    Case("Softmax", (LARGE,), {"log": 0}, change="all"),
    *(layer_norm(shape, change="scatter") for shape in (SMALL, ROWS, WIDE)),
    layer_norm(WIDE, through="view", change="pixel"),
    layer_norm((2, 33, 9, 8), epsilon=1e-2, enter="channels_last", change="box"),
    layer_norm(LARGE, change="all"),
    *(lrn(shape, 5, change="scatter") for shape in (SMALL, ROWS, WIDE)),
    lrn(WIDE, 9, beta=0.5, through="view", change="pixel"),
    lrn((2, 33, 9, 8), 3, beta=0.6, bias=2.0, enter="channels_last", change="box"),
    lrn(LARGE, 5, change="all"),
    *(Case("ArgMax", (shape,), {"last": last}, change="scatter") for shape in (ROWS, WIDE) for last in (0, 1)),
    Case("ArgMax", (SMALL,), {"last": 0}, through="view", change="pixel"),
    Case("ArgMax", ((2, 19, 30, 21),), {"last": 0}, enter="channels_last", change="box"),
    Case("ArgMax", (LARGE,), {"last": 0}, change="all"),
    *(Case("ChannelReduce", (ROWS,), {"reduction": r}, change="scatter") for r in ("Mean", "Sum", "L2", "Max")),
    Case("ChannelReduce", (WIDE,), {"reduction": "Mean"}, through="view", change="pixel"),
    Case("ChannelReduce", ((2, 19, 30, 21),), {"reduction": "Max"}, enter="channels_last", change="box"),
    Case("ChannelReduce", (LARGE,), {"reduction": "L2"}, change="all"),
    # Resize.
    *(
        resize(MAP, "nearest", transform, nearest, scales=(2.0, 2.0), change="scatter")
        for transform in ("half_pixel", "asymmetric")
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    resize(ROWS, "nearest", "asymmetric", "floor", sizes=(31, 20), change="scatter"),
    resize((1, 3, 7, 10), "nearest", "asymmetric", "round_prefer_ceil", sizes=(2, 12), change="scatter"),
    resize((1, 3, 10, 14), "nearest", "half_pixel", "round_prefer_floor", sizes=(25, 49), change="scatter"),
    resize(ROWS, "nearest", "align_corners", "round_prefer_floor", sizes=(5, 30), change="box"),
    *(
        resize(ROWS, "linear", transform, scales=(2.0, 2.0), change="pixel")
        for transform in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
    ),
    resize(ROWS, "linear", "half_pixel", sizes=(31, 9), change="scatter"),
    resize(ROWS, "linear", "align_corners", sizes=(7, 40), change="scatter", through="view"),
    resize((1, 4, 1, 1), "linear", "pytorch_half_pixel", sizes=(6, 5), change="all"),
    resize(ROWS, "linear", "half_pixel", scales=(0.5, 1.5), change="scatter"),
    resize_like(ROWS, (31, 20), "nearest", "asymmetric", change="scatter"),
    resize_like(ROWS, (5, 30), "linear", "half_pixel", through="view", change="box"),
    resize_like((2, 4, 1, 1), (6, 5), "linear", "pytorch_half_pixel", change="all"),
    resize_like(LARGE, (79, 80), "nearest", "half_pixel", change="pixel"),
    # Moving sites about.
    Case("SpaceToDepth", (MAP[:3] + (22,),), {"blocksize": 2}, change="scatter"),
    Case("SpaceToDepth", ((1, 6, 12, 9),), {"blocksize": 3}, through="view", change="pixel"),
    Case("DepthToSpace", (ROWS,), {"blocksize": 2, "mode": "DCR"}, change="scatter"),
    Case("DepthToSpace", (ROWS,), {"blocksize": 4, "mode": "CRD"}, change="pixel"),
    pad(MAP, (1, 2, 3, 0), change="scatter"),
    pad(ROWS, (0, 1, 0, 1), value=-1.5, change="box"),
    pad(ROWS, (3, 2, 1, 4), "reflect", change="scatter"),
    pad(ROWS, (3, 2, 1, 4), "edge", through="view", change="scatter"),
    pad(ROWS, (3, 2, 1, 4), "wrap", through="view", change="scatter"),
    pad(SMALL, (7, 6, 7, 0), "wrap", change="pixel"),
    pad(ROWS, (-2, -1, -3, -4), change="box"),
    pad(ROWS, (-2, 1, 0, -4), value=0.5, change="scatter"),
    pad(ROWS, (-2, 3, 2, -4), "edge", change="scatter"),
    pad_like(ROWS, (15, 18), change="scatter"),
    pad_like(ROWS, (7, 20), 0.5, through="view", change="scatter"),
    pad_like(MAP, (11, 12), change="box"),
]


OPS = sorted({c.op for c in CASES} | {"EnterStream"})  # EnterStream has tests of its own: its inputs are not all frames
