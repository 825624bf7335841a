"""The function of a case in plain ONNX operators: what the NumPy definitions are checked against."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from case import Case
from native import case_model, constants_of
from onnx import TensorProto, helper


class Builder:
    """Nodes and initializers of a growing graph; every method returns the name of what it added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.inits: list[tuple[str, np.ndarray]] = []

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        self.inits.append((f"c{len(self.inits)}", np.asarray(value, dtype)))
        return self.inits[-1][0]

    def channels(self, x: str, start: int, end: int) -> str:
        return self.add("Slice", x, *(self.const([v], np.int64) for v in (start, end, 1)))


def plain_model(case: Case) -> onnx.ModelProto:
    b = Builder()
    inputs = []
    for i, shape in enumerate(case.shapes):
        x = f"x{i}"
        if case.data == "uint8":
            x = b.add("Cast", x, to=TensorProto.FLOAT)
        if case.enter == "channels_last":
            x = b.add("Transpose", x, perm=[0, 3, 1, 2])
        if case.through:
            cut = max(shape[1] // 3, 1)
            x = b.add("Concat", b.channels(x, cut, shape[1]), b.channels(x, 0, cut), axis=1)
        inputs.append(x)
    y = OPERATORS[case.op](b, case, inputs)
    if case.enter == "channels_last" and case.op != "MapShape":
        y = b.add("Transpose", y, perm=[0, 2, 3, 1])
    b.add("Identity", y, output="y")
    return case_model(case, b.nodes, b.inits)


def activated(b: Builder, x: str, attributes: dict[str, Any]) -> str:
    kind, params = attributes["activation"], attributes["activation_params"]
    match kind:
        case "None":
            return x
        case "LeakyRelu" | "Elu":
            return b.add(kind, x, alpha=params[0])
        case "PRelu":
            return b.add("PRelu", x, b.const(np.reshape(params, (-1, 1, 1))))
        case "Clip":
            return b.add("Clip", x, *(b.const(v) for v in params))
        case "HardSigmoid":
            return b.add("HardSigmoid", x, alpha=params[0], beta=params[1])
        case "HardSwish":
            return b.add("Mul", x, b.add("HardSigmoid", x, alpha=params[0], beta=params[1]))
        case "Silu":
            return b.add("Mul", x, b.add("Sigmoid", x))
        case "Square":
            return b.add("Mul", x, x)
        case "GeluTanh":
            return b.add("Gelu", x, approximate="tanh")
    return b.add(kind, x)  # Relu, Sigmoid, Tanh, Gelu, Abs, Neg, Exp, Log, Sqrt, Erf, Softplus, Mish, Sign


def _window(attributes: dict[str, Any], *more: str) -> dict[str, Any]:
    kept = {k: attributes[k] for k in ("kernel_shape", "strides", "pads", "dilations", "auto_pad", *more)}
    if kept["auto_pad"] != "NOTSET":
        del kept["pads"]
    return kept


def _conv(b: Builder, case: Case, inputs: list[str]) -> str:
    more = ("group", "output_padding") if case.op == "ConvTranspose" else ("group",)
    constants = [b.const(v) for v in constants_of(case)]
    y = b.add(case.op.removesuffix("Add"), inputs[0], *constants, **_window(case.attributes, *more))
    return activated(b, _added(b, y, inputs), case.attributes)


def _added(b: Builder, y: str, inputs: list[str]) -> str:
    return b.add("Add", y, inputs[1]) if len(inputs) > 1 else y


def _separable_conv(b: Builder, case: Case, inputs: list[str]) -> str:
    a = case.attributes
    w, bias, pointwise, other = (b.const(v) for v in constants_of(case))
    between = b.add("Conv", inputs[0], w, bias, **_window(a), group=case.shapes[0][1])
    inner = {k.removeprefix("inner_"): v for k, v in a.items() if k.startswith("inner_")}
    return activated(b, _added(b, b.add("Conv", activated(b, between, inner), pointwise, other), inputs), a)


def _binary(b: Builder, case: Case, inputs: list[str]) -> str:
    return activated(b, b.add(case.attributes["op"], *inputs), case.attributes)


def _binary_const(b: Builder, case: Case, inputs: list[str]) -> str:
    c = constants_of(case)[0]
    pair = [inputs[0], b.const(c.reshape(-1, 1, 1) if c.ndim == 1 else c.transpose(2, 0, 1))]
    if case.attributes["reverse"]:
        pair.reverse()
    return activated(b, b.add(case.attributes["op"], *pair), case.attributes)


def _pool(b: Builder, case: Case, inputs: list[str]) -> str:
    more = ("ceil_mode", "count_include_pad") if case.op == "AveragePool" else ("ceil_mode",)
    return b.add(case.op, inputs[0], **_window(case.attributes, *more))


def _layer_norm(b: Builder, case: Case, inputs: list[str]) -> str:
    turned = b.add("Transpose", inputs[0], perm=[0, 2, 3, 1])
    y = b.add("LayerNormalization", turned, *(b.const(v) for v in constants_of(case)), **case.attributes)
    return b.add("Transpose", y, perm=[0, 3, 1, 2])


def _arg_max(b: Builder, case: Case, inputs: list[str]) -> str:
    best = b.add("ArgMax", inputs[0], axis=1, select_last_index=case.attributes["last"])
    return b.add("Cast", best, to=TensorProto.FLOAT)


def _channel_reduce(b: Builder, case: Case, inputs: list[str]) -> str:
    op = f"Reduce{case.attributes['reduction']}"
    return b.add(op, inputs[0], b.const([1], np.int64))


def _resize(b: Builder, case: Case, inputs: list[str]) -> str:
    a = case.attributes
    modes = {k: a[k] for k in ("mode", "coordinate_transformation_mode", "nearest_mode")}
    if a["sizes"]:
        return b.add("Resize", inputs[0], "", "", b.const([*case.shapes[0][:2], *a["sizes"]], np.int64), **modes)
    return b.add("Resize", inputs[0], "", b.const([1, 1, *a["scales"]]), **modes)


def _resize_like(b: Builder, case: Case, inputs: list[str]) -> str:
    sizes = [
        b.add("Slice", b.add("Shape", x), *(b.const([v], np.int64) for v in ends))
        for x, ends in zip(inputs, ((0, 2), (2, 4)), strict=True)
    ]
    return b.add("Resize", inputs[0], "", "", b.add("Concat", *sizes, axis=0), **case.attributes)


def _ranges(b: Builder, case: Case, inputs: list[str]) -> str:
    ranges = zip(*(case.attributes[name] for name in ("sources", "starts", "ends")), strict=True)
    return b.add("Concat", *(b.channels(inputs[i], start, end) for i, start, end in ranges), axis=1)


def _gather(b: Builder, case: Case, inputs: list[str]) -> str:
    return b.add("Gather", inputs[0], b.const(case.attributes["indices"], np.int64), axis=1)


def _pad(b: Builder, case: Case, inputs: list[str]) -> str:
    top, left, bottom, right = case.attributes["pads"]
    pads = b.const([0, 0, top, left, 0, 0, bottom, right], np.int64)
    return b.add("Pad", inputs[0], pads, b.const(case.attributes["value"]), mode=case.attributes["mode"])


def _pad_like(b: Builder, case: Case, inputs: list[str]) -> str:
    (*_, h, w), (*_, tall, wide) = case.shapes
    missing = tall - h, wide - w
    before = [int(m / 2) for m in missing]
    pads = [0, 0, *before, 0, 0, *(m - k for m, k in zip(missing, before, strict=True))]
    return b.add("Pad", inputs[0], b.const(pads, np.int64), b.const(case.attributes["value"]))


OPERATORS = {
    "Enter": lambda b, case, inputs: inputs[0],
    "Exit": lambda b, case, inputs: inputs[0],
    "MapShape": lambda b, case, inputs: b.add("Shape", inputs[0]),
    "Conv": _conv,
    "ConvAdd": _conv,
    "SeparableConv": _separable_conv,
    "SeparableConvAdd": _separable_conv,
    "ConvTranspose": _conv,
    "Activation": lambda b, case, inputs: activated(b, inputs[0], case.attributes),
    "Binary": _binary,
    "BinaryConst": _binary_const,
    "Concat": lambda b, case, inputs: b.add("Concat", *inputs, axis=1),
    "Slice": lambda b, case, inputs: b.channels(inputs[0], case.attributes["start"], case.attributes["end"]),
    "ChannelRanges": _ranges,
    "ChannelGather": _gather,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": lambda b, case, inputs: b.add("GlobalAveragePool", inputs[0]),
    "GlobalMaxPool": lambda b, case, inputs: b.add("GlobalMaxPool", inputs[0]),
    "Softmax": lambda b, case, inputs: b.add("LogSoftmax" if case.attributes["log"] else "Softmax", *inputs, axis=1),
    "LayerNormalization": _layer_norm,
    "LRN": lambda b, case, inputs: b.add("LRN", *inputs, **case.attributes),
    "ArgMax": _arg_max,
    "ChannelReduce": _channel_reduce,
    "Resize": _resize,
    "ResizeLike": _resize_like,
    "SpaceToDepth": lambda b, case, inputs: b.add("SpaceToDepth", inputs[0], **case.attributes),
    "DepthToSpace": lambda b, case, inputs: b.add("DepthToSpace", inputs[0], **case.attributes),
    "Pad": _pad,
    "PadLike": _pad_like,
}
