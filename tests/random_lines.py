"""Random small networks on maps of one dimension, [N, C, L]: for random_graphs.py, whose frames they get."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from models import Net
from onnx import TensorProto, shape_inference

Choose = Callable[[Sequence[Any]], Any]


@dataclasses.dataclass(frozen=True)
class Line:
    """[n, c, length]"""

    name: str
    c: int
    length: int


class Lines:
    def __init__(self, choose: Choose, seed: int) -> None:
        self.choose, self.net = choose, Net(opset=choose((11, 13, 17, 18)), seed=seed)
        self.frame = (choose((1, 1, 2)), choose((1, 3, 8)), 1, choose((24, 37, 64)))
        x = self.net.input("x", self.frame)
        self.lines = [Line(self.dropped(x, 2), self.frame[1], self.frame[3])]

    def pick(self) -> Line:
        return self.choose(self.lines[-3:])

    def ints(self, *values: int) -> str:
        return self.net.const(values, np.int64)

    def weights(self, *shape: int) -> str:
        return self.net.const(self.net.rng.normal(0, np.prod(shape[1:]) ** -0.5, shape))

    def axes(self, since: int, *values: int) -> tuple[list[str], dict[str, list[int]]]:
        """An input from an opset on, an attribute before."""
        return ([self.ints(*values)], {}) if self.net.opset >= since else ([], {"axes": list(values)})

    def dropped(self, x: str, axis: int) -> str:
        more, attrs = self.axes(13, axis)
        return self.net.add("Squeeze", x, *more, **attrs)


def conv(g: Lines) -> Line | None:
    x, m, k, s = g.pick(), g.choose((8, 12, 16)), g.choose((1, 3, 5)), g.choose((1, 1, 2))
    length = (x.length + 2 * (k // 2) - k) // s + 1
    y = g.net.add("Conv", x.name, g.weights(m, x.c, k), g.weights(m), pads=[k // 2] * 2, strides=[s])
    return Line(y, m, length) if length > 0 else None


def transposed(g: Lines) -> Line | None:
    x = g.pick()
    return Line(g.net.add("ConvTranspose", x.name, g.weights(x.c, 8, 2), strides=[2]), 8, 2 * x.length)


def activation(g: Lines) -> Line | None:
    x = g.pick()
    op = g.choose(("Relu", "Tanh", "Sigmoid", "Softplus", "Selu", "Elu", "Abs"))
    return dataclasses.replace(x, name=g.net.add(op, x.name))


def constant(g: Lines) -> Line | None:
    x = g.pick()
    c = g.net.const(g.net.rng.uniform(0.5, 2, g.choose(((), (x.c, 1), (1, x.c, 1), (1, 1, x.length)))))
    return dataclasses.replace(x, name=g.net.add(g.choose(("Add", "Mul")), x.name, c))


def joined(g: Lines) -> Line | None:
    x = g.pick()
    y = g.choose([z for z in g.lines if z.length == x.length])
    if x.c == y.c and g.choose((True, False)):
        return dataclasses.replace(x, name=g.net.add("Add", x.name, y.name))
    return Line(g.net.add("Concat", x.name, y.name, axis=1), x.c + y.c, x.length)


def crop(g: Lines) -> Line | None:
    x, a, b = g.pick(), g.choose((0, 1, 2)), g.choose((1, 2, 3))
    y = g.net.add("Slice", x.name, g.ints(a), g.ints(-b), g.ints(g.choose((2, -1))))
    return Line(y, x.c, x.length - a - b) if x.length > a + b else None


def pad(g: Lines) -> Line | None:
    x, a, b = g.pick(), g.choose((0, 1, 2)), g.choose((0, 1, 2))
    mode = g.choose(("constant", "reflect", "edge"))
    if x.length < 3:
        return None
    return Line(g.net.add("Pad", x.name, g.ints(0, 0, a, 0, 0, b), mode=mode), x.c, x.length + a + b)


def pool(g: Lines) -> Line | None:
    x, s = g.pick(), g.choose((1, 2))
    if x.length < 3:
        return None
    y = g.net.add(g.choose(("MaxPool", "AveragePool")), x.name, kernel_shape=[3], strides=[s])
    return Line(y, x.c, (x.length - 3) // s + 1)


def resize(g: Lines) -> Line | None:
    x = g.pick()
    modes = g.choose(({"mode": "linear"}, {"mode": "nearest", "nearest_mode": "floor"}))
    more = {"coordinate_transformation_mode": g.choose(("asymmetric", "half_pixel")), **modes}
    y = g.net.add("Resize", x.name, g.net.const([]), g.net.const([1, 1, 2]), **more)
    return Line(y, x.c, 2 * x.length)


def excite(g: Lines) -> Line | None:
    """A mean or maximum over the length, or over the channels."""
    x, (op, axis) = g.pick(), g.choose((("ReduceMean", 2), ("ReduceMax", 2), ("ReduceMean", 1)))
    more, attrs = g.axes(18, axis)
    return dataclasses.replace(
        x, name=g.net.add("Mul", x.name, g.net.add("Sigmoid", g.net.add(op, x.name, *more, **attrs)))
    )


def norm(g: Lines) -> Line | None:
    x, kind = g.pick(), g.choose(("InstanceNormalization", *(["LayerNormalization"] if g.net.opset >= 17 else [])))
    ones, zeros = g.net.const(np.ones(x.c)), g.net.const(np.zeros(x.c))
    if kind == "InstanceNormalization":
        return dataclasses.replace(x, name=g.net.add(kind, x.name, ones, zeros, epsilon=0.01))
    y = g.net.add(kind, g.net.add("Transpose", x.name, perm=[0, 2, 1]), ones, zeros, axis=-1, epsilon=0.01)
    return dataclasses.replace(x, name=g.net.add("Transpose", y, perm=[0, 2, 1]))


STEPS = (conv, conv, conv, transposed, activation, constant, joined, crop, pad, pool, resize, excite, norm)


def random_line(choose: Choose, seed: int) -> tuple[onnx.ModelProto, tuple[int, int, int, int]]:
    """As random_graph: a model with one or two outputs, and the shape of its input x, which is of height 1."""
    g = Lines(choose, seed)
    first = conv(g)
    while first is None:
        first = conv(g)
    g.lines.append(first)
    for _ in range(choose(range(2, 12))):
        done = choose(STEPS)(g)
        if done is not None and done.c * done.length < 20_000:
            g.lines.append(done)
    for i, name in enumerate(dict.fromkeys((g.lines[-1].name, choose(g.lines[1:]).name))):
        g.net.output(g.net.add("Identity", name, out=f"y{i}"), None, TensorProto.FLOAT)
    return shape_inference.infer_shapes(g.net.model()), g.frame
