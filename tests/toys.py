"""Small whole models, each with another structure that real networks have. Plain ONNX, seeded random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from case import Case, frames
from onnx import TensorProto, helper, numpy_helper
from plain import Builder


@dataclass(frozen=True)
class Toy:
    """shape: of the input, without the batch; `step`: height and width must be a multiple of it, 0 = they are fixed."""

    name: str
    build: Callable[[], onnx.ModelProto]
    shape: tuple[int, int, int]
    step: int = 0
    dtype: str = "float32"


class Net(Builder):
    """A builder with layers: weights are drawn so that maps keep about the size of the input."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def weights(self, *shape: int) -> str:
        return self.const(self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])))

    def conv(self, x: str, c: int, m: int, k: int = 3, stride: int = 1, group: int = 1) -> str:
        bias = self.const(self.rng.standard_normal(m) * 0.1)
        attributes = {"kernel_shape": [k, k], "strides": [stride] * 2, "pads": [k // 2] * 4, "group": group}
        return self.add("Conv", x, self.weights(m, c // group, k, k), bias, **attributes)

    def up(self, x: str, c: int, m: int) -> str:
        bias = self.const(self.rng.standard_normal(m) * 0.1)
        return self.add("ConvTranspose", x, self.weights(c, m, 2, 2), bias, kernel_shape=[2, 2], strides=[2, 2])

    def silu(self, x: str) -> str:
        return self.add("Mul", x, self.add("Sigmoid", x))

    def model(self, shape: list[int | str], outputs: list[str], dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
        for i, name in enumerate(outputs):
            self.add("Identity", name, output=f"y{i}")
        graph = helper.make_graph(
            self.nodes,
            "toy",
            [helper.make_tensor_value_info("x", dtype, shape)],
            [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [None] * 4) for i in range(len(outputs))],
            [numpy_helper.from_array(v, k) for k, v in self.inits],
        )
        for i, node in enumerate(graph.node):
            node.name = f"{node.op_type}_{i}"
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def chain() -> onnx.ModelProto:
    b = Net(1)
    x = b.add("Relu", b.conv("x", 3, 8))
    x = b.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.add("LeakyRelu", b.conv(x, 8, 16, 5, 2), alpha=0.1)
    return b.model(["n", 3, "h", "w"], [b.conv(x, 16, 4, 1)])


def unet() -> onnx.ModelProto:
    b = Net(2)
    skip = b.add("Relu", b.conv("x", 3, 8))
    x = b.add("MaxPool", skip, kernel_shape=[2, 2], strides=[2, 2])
    x = b.add("Relu", b.conv(x, 8, 12))
    x = b.add("Concat", b.up(x, 12, 8), skip, axis=1)
    x = b.add("Relu", b.conv(x, 16, 8))
    return b.model([1, 3, 12, 16], [b.add("Sigmoid", b.conv(x, 8, 2, 1))])


def residual() -> onnx.ModelProto:
    b = Net(3)
    x = b.add("Relu", b.conv("x", 3, 16, 3, 2))
    y = b.conv(b.add("Clip", b.conv(x, 16, 16), b.const(0.0), b.const(6.0)), 16, 16)
    x = b.add("Relu", b.add("Add", x, y))
    z = b.add("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    return b.model([2, 3, 14, 18], [b.conv(x, 16, 4), z])


def squeeze() -> onnx.ModelProto:
    b = Net(4)
    x = b.add("HardSwish", b.conv("x", 3, 16))
    s = b.add("Relu", b.conv(b.add("GlobalAveragePool", x), 16, 4, 1))
    x = b.add("Mul", x, b.add("HardSigmoid", b.conv(s, 4, 16, 1), alpha=0.2, beta=0.5))
    x = b.conv(x, 16, 8, 3, 2)
    x = b.add("Resize", x, "", b.const([1, 1, 2, 2]), mode="linear", coordinate_transformation_mode="half_pixel")
    return b.model(["n", 3, "h", "w"], [b.conv(x, 8, 6)])


def csp() -> onnx.ModelProto:
    """Slices, a depthwise convolution, pools of growing size on one map, and a concatenation of everything."""
    b = Net(5)
    x = b.silu(b.conv("x", 3, 16, 3, 2))
    left, right = b.channels(x, 0, 8), b.channels(x, 8, 16)
    right = b.silu(b.conv(b.silu(b.conv(right, 8, 8, 3, 1, 8)), 8, 8, 1))
    pools = [b.add("MaxPool", right, kernel_shape=[k, k], pads=[k // 2] * 4, strides=[1, 1]) for k in (3, 5)]
    x = b.add("Concat", left, right, *pools, axis=1)
    x = b.add("Resize", b.conv(x, 32, 6, 1), "", b.const([1, 1, 2, 2]), mode="nearest")
    return b.model([1, 3, 16, 14], [b.conv(x, 6, 6)])


def mobile() -> onnx.ModelProto:
    """Depthwise and 1x1 convolutions in turn, once around a shortcut."""
    b = Net(7)
    x = b.add("Relu", b.conv("x", 3, 16))
    y = b.conv(b.add("Relu", b.conv(x, 16, 16, 3, 1, 16)), 16, 24, 1)
    y = b.add("Relu", b.conv(y, 24, 24, 5, 1, 24))
    x = b.add("Add", x, b.conv(y, 24, 16, 1))
    x = b.conv(b.add("Relu", b.conv(x, 16, 16, 3, 2, 16)), 16, 8, 1)
    return b.model(["n", 3, "h", "w"], [b.conv(x, 8, 4)])


def tensorflow() -> onnx.ModelProto:
    """uint8 pictures with channels last, scaled in the graph; a Transpose at either end."""
    b = Net(6)
    x = b.add("Cast", "x", to=TensorProto.FLOAT)
    x = b.add("Div", b.add("Sub", x, b.const([127.5])), b.const([127.5]))
    x = b.add("Relu", b.conv(b.add("Transpose", x, perm=[0, 3, 1, 2]), 3, 8, 3, 2))
    x = b.add("Sigmoid", b.conv(x, 8, 5))
    return b.model([1, 12, 10, 3], [b.add("Transpose", x, perm=[0, 2, 3, 1])], TensorProto.UINT8)


def convnext() -> onnx.ModelProto:
    """LayerNormalization, spelled out over channels and as an operator; linear layers on NHWC; Softmax at the end."""
    b = Net(8)

    def linear(x: str, c: int, m: int) -> str:
        product = b.add("MatMul", x, b.const(b.rng.standard_normal((c, m)) / np.sqrt(c)))
        return b.add("Add", product, b.const(b.rng.standard_normal(m) * 0.1))

    x = b.conv("x", 3, 16, 3, 2)
    d = b.add("Sub", x, b.add("ReduceMean", x, axes=[1]))
    variance = b.add("ReduceMean", b.add("Pow", d, b.const(2.0)), axes=[1])
    norm = b.add("Div", d, b.add("Sqrt", b.add("Add", variance, b.const(1e-3))))
    x = b.add("Add", b.add("Mul", norm, b.const(np.linspace(0.5, 2, 16)[:, None, None])), b.const(0.1))
    y = b.add("Transpose", b.conv(x, 16, 16, 7, 1, 16), perm=[0, 2, 3, 1])
    y = b.add("LayerNormalization", y, b.const(np.linspace(2, 0.5, 16)), b.const(np.linspace(-1, 1, 16)), axis=-1)
    y = linear(y, 16, 40)
    y = b.add(
        "Mul", b.add("Mul", y, b.const(0.5)), b.add("Add", b.add("Erf", b.add("Div", y, b.const(2**0.5))), b.const(1.0))
    )
    y = b.add("Mul", linear(y, 40, 16), b.const(np.linspace(0.1, 1, 16)))
    x = b.add("Add", x, b.add("Transpose", y, perm=[0, 3, 1, 2]))
    return b.model([1, 3, 18, 16], [b.add("Softmax", b.conv(x, 16, 5), axis=1)])


TOYS = [
    Toy("chain", chain, (3, 16, 12), step=4),
    Toy("unet", unet, (3, 12, 16)),
    Toy("residual", residual, (3, 14, 18)),
    Toy("squeeze", squeeze, (3, 10, 12), step=2),
    Toy("csp", csp, (3, 16, 14)),
    Toy("convnext", convnext, (3, 18, 16)),
    Toy("mobile", mobile, (3, 14, 16), step=2),
    Toy("tensorflow", tensorflow, (12, 10, 3), dtype="uint8"),
]


def toy_frames(toy: Toy) -> list[np.ndarray]:
    """A few frames for the toy's input: cases.frames."""
    n = toy.build().graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    data = "uint8" if toy.dtype == "uint8" else "normal"
    return [f[0] for f in frames(Case("Enter", ((n, *toy.shape),), data=data))]
