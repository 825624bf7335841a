"""Random small CNNs from the operators that exporters write, and random frames for them.

`choose(options)` picks one of a sequence: from a hypothesis strategy in the tests, from a seeded generator in soak.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from models import Net
from onnx import TensorProto, shape_inference
from random_lines import random_line

Choose = Callable[[Sequence[Any]], Any]
MOST_FLOATS = 40_000  # of a map: graphs stay small


def drawn(data: Any) -> tuple[Choose, int]:
    """`choose` and a seed from hypothesis' data."""
    from hypothesis import strategies as st  # soak.py does without

    return lambda options: data.draw(st.sampled_from(list(options))), data.draw(st.integers(0, 2**16), label="seed")


@dataclasses.dataclass(frozen=True)
class Map:
    """A feature map [n, c, h, w]."""

    name: str
    c: int
    h: int
    w: int


class Graph:
    """A network that grows by random steps; `maps` are all that later steps may read."""

    def __init__(self, choose: Choose, seed: int) -> None:
        self.choose = choose
        self.net = Net(opset=choose((14, 17, 18, 19)), seed=seed)
        self.batch = choose((1, 1, 1, 2))
        c, h, w = choose((1, 3, 4)), choose((6, 9, 12, 16)), choose((7, 10, 12, 17))
        shape = [self.batch, c, h, w]
        self.open = choose((False, False, True))  # height and width are not known before the run
        if self.open:
            shape[2:] = ["h", "w"]
        self.frame = (self.batch, c, h, w)
        self.maps = [Map(self.net.input("x", shape), c, h, w)]

    def pick(self) -> Map:
        """One of the last maps, the last one most often."""
        return self.choose((self.maps[-1], self.maps[-1], *self.maps[-4:]))

    def grow(self) -> None:
        kinds = [conv, conv, conv, depthwise, transposed, activation, activation, sum_of_two, constant, vector]
        kinds += [
            squeeze_excite,
            concat,
            split,
            shuffle,
            pad,
            crop,
            pool,
            pool,
            resize,
            to_depth,
            to_space,
            norm,
            softmax,
        ]
        done = self.choose(kinds)(self)
        if done is not None and done.c * done.h * done.w <= MOST_FLOATS and min(done.h, done.w) > 0:
            self.maps.append(done)

    def weights(self, *shape: int) -> str:
        return self.net.const(self.net.rng.normal(0, np.prod(shape[1:]) ** -0.5, shape))

    def ints(self, *values: int) -> str:
        return self.net.const(values, np.int64)


# --- steps: each reads a map and returns a new one, or None where it does not fit -----------------------------------


def conv(g: Graph) -> Map | None:
    x, m = g.pick(), g.choose((3, 8, 12, 16, 20))
    k, s, d = (g.choose((1, 1, 3, 3, 5)), g.choose((1, 3))), g.choose((1, 1, 1, 2)), g.choose((1, 1, 2))
    pads = [g.choose((0, k[0] // 2 * d, 1)), g.choose((0, k[1] // 2 * d)), k[0] // 2 * d, k[1] // 2 * d]
    group = g.choose([q for q in (1, 1, 2, 4) if x.c % q == 0 and m % q == 0])
    h, w = (1 + (n + pads[i] + pads[i + 2] - (k[i] - 1) * d - 1) // s for i, n in enumerate((x.h, x.w)))
    if min(h, w) < 1:
        return None
    shape = {"kernel_shape": k, "strides": [s, s], "dilations": [d, d], "pads": pads, "group": group}
    inputs = [x.name, g.weights(m, x.c // group, *k)]
    if g.choose((True, True, False)):
        inputs.append(g.net.const(g.net.rng.normal(0, 0.2, m)))
    return Map(g.net.add("Conv", *inputs, **shape), m, h, w)


def depthwise(g: Graph) -> Map | None:
    x, k = g.pick(), g.choose((3, 5))
    if x.c < 2:
        return None
    y = g.net.add(
        "Conv", x.name, g.weights(x.c, 1, k, k), kernel_shape=[k, k], pads=[k // 2] * 4, group=x.c, strides=[1, 1]
    )
    return Map(y, x.c, x.h, x.w)


def transposed(g: Graph) -> Map | None:
    x, m = g.pick(), g.choose((4, 8))
    y = g.net.add("ConvTranspose", x.name, g.weights(x.c, m, 2, 2), kernel_shape=[2, 2], strides=[2, 2])
    return Map(y, m, 2 * x.h, 2 * x.w)


def activation(g: Graph) -> Map | None:
    x, add, const = g.pick(), g.net.add, g.net.const
    forms: dict[str, Callable[[], str]] = {
        "LeakyRelu": lambda: add("LeakyRelu", x.name, alpha=0.1),
        "PRelu": lambda: add("PRelu", x.name, const(g.net.rng.uniform(0, 0.5, (x.c, 1, 1)))),
        "Clip": lambda: add("Clip", x.name, const(0.0), const(6.0)),
        "silu": lambda: g.net.silu(x.name),
        "mish": lambda: add("Mul", x.name, add("Tanh", add("Softplus", x.name))),
        "gelu with tanh": lambda: gelu_with_tanh(g, x.name),
        "log": lambda: add("Log", add("Add", add("Abs", x.name), const(0.5))),
        "square": lambda: add("Pow", add("Tanh", x.name), const(g.choose((2.0, 3.0)))),
        # Of values far from zero: there onnxruntime's own error would be most of what comes out.
        "root": lambda: add("Pow", add("Sigmoid", add("Tanh", x.name)), const(g.choose((0.5, 1.5, -1.0)))),
        "Selu": lambda: add("Selu", x.name),
        "hard": lambda: add("Mul", x.name, add("HardSigmoid", x.name, alpha=1 / 6, beta=0.5)),
        "gelu": lambda: add(
            "Mul",
            add("Mul", x.name, add("Add", add("Erf", add("Div", x.name, const(2**0.5))), const(1.0))),
            const(0.5),
        ),
    }
    plain = ("Relu", "Relu", "Sigmoid", "HardSwish", "Tanh", "Elu", "Softplus", "Abs", "Neg", "Exp", "Erf", "Identity")
    kind = g.choose((*plain, *forms))
    if kind == "Exp":
        return Map(add("Exp", add("Tanh", x.name)), x.c, x.h, x.w)
    return Map(forms[kind]() if kind in forms else add(kind, x.name), x.c, x.h, x.w)


def gelu_with_tanh(g: Graph, x: str) -> str:
    add, const = g.net.add, g.net.const
    cube = add("Mul", add("Pow", x, const(3.0)), const(0.044715))
    tanh = add("Tanh", add("Mul", add("Add", x, cube), const((2 / np.pi) ** 0.5)))
    return add("Mul", add("Mul", x, const(0.5)), add("Add", tanh, const(1.0)))


def sum_of_two(g: Graph) -> Map | None:
    x = g.pick()
    same = [m for m in g.maps if (m.c, m.h, m.w) == (x.c, x.h, x.w)]
    op = g.choose(("Add", "Add", "Sub", "Mul", "Max", "Min"))
    return Map(g.net.add(op, x.name, g.choose(same).name), x.c, x.h, x.w)


def constant(g: Graph) -> Map | None:
    """A scalar, a value for each channel, or a map where its size is known, on either side."""
    x = g.pick()
    maps = [] if g.open else [(1, 1, x.h, x.w), (x.c, x.h, x.w)]
    shape = g.choose(((), (1, x.c, 1, 1), (x.c, 1, 1), *maps))
    value = g.net.const(g.net.rng.uniform(0.5, 2.0, shape))
    op, pair = g.choose(("Add", "Mul", "Sub", "Div")), [x.name, value]
    if op in ("Add", "Mul", "Sub") and g.choose((False, True)):
        pair.reverse()
    return Map(g.net.add(op, *pair), x.c, x.h, x.w)


def vector(g: Graph) -> Map | None:
    """A pooled vector, added or multiplied."""
    x = g.pick()
    pooled = g.net.add(g.choose(("GlobalAveragePool", "GlobalMaxPool")), x.name)
    return Map(g.net.add(g.choose(("Add", "Mul")), x.name, pooled), x.c, x.h, x.w)


def squeeze_excite(g: Graph) -> Map | None:
    x, add = g.pick(), g.net.add
    less = max(x.c // 2, 1)
    v = add("GlobalAveragePool", x.name)
    v = add("Relu", add("Conv", v, g.weights(less, x.c, 1, 1), kernel_shape=[1, 1]))
    v = add(g.choose(("Sigmoid", "HardSigmoid")), add("Conv", v, g.weights(x.c, less, 1, 1), kernel_shape=[1, 1]))
    return Map(add("Mul", x.name, v), x.c, x.h, x.w)


def concat(g: Graph) -> Map | None:
    x = g.pick()
    same = [m for m in g.maps if (m.h, m.w) == (x.h, x.w)]
    parts = [x, *(g.choose(same) for _ in range(g.choose((1, 1, 2))))]
    return Map(g.net.add("Concat", *(m.name for m in parts), axis=1), sum(m.c for m in parts), x.h, x.w)


def split(g: Graph) -> Map | None:
    x = g.pick()
    if x.c < 2:
        return None
    cut = g.choose(range(1, x.c))
    if g.choose((True, False)):
        names = [f"s{len(g.net.nodes)}a", f"s{len(g.net.nodes)}b"]
        g.net.add("Split", x.name, g.ints(cut, x.c - cut), outputs=names, axis=1)
        g.maps.append(Map(names[0], cut, x.h, x.w))
        return Map(names[1], x.c - cut, x.h, x.w)
    y = g.net.add("Slice", x.name, g.ints(cut), g.ints(x.c), g.ints(1))
    return Map(y, x.c - cut, x.h, x.w)


def shuffle(g: Graph) -> Map | None:
    """Channels in another order: a gather, or the reshapes of ShuffleNet."""
    x, add = g.pick(), g.net.add
    if x.c % 2 == 0 and x.c > 2 and g.choose((True, False)) and not g.open:
        t = add("Reshape", x.name, g.ints(g.batch, 2, x.c // 2, x.h, x.w))
        t = add("Transpose", t, perm=[0, 2, 1, 3, 4])
        return Map(add("Reshape", t, g.ints(g.batch, x.c, x.h, x.w)), x.c, x.h, x.w)
    order = g.net.rng.permutation(x.c)
    return Map(add("Gather", x.name, g.net.const(order, np.int64), axis=1), x.c, x.h, x.w)


def pad(g: Graph) -> Map | None:
    x, mode = g.pick(), g.choose(("constant", "reflect", "edge", *(["wrap"] if g.net.opset >= 19 else [])))
    if min(x.h, x.w) < 3:
        return None
    top, left, bottom, right = (g.choose((0, 1, 2)) for _ in range(4))
    y = g.net.add("Pad", x.name, g.ints(0, 0, top, left, 0, 0, bottom, right), mode=mode)
    return Map(y, x.c, x.h + top + bottom, x.w + left + right)


def crop(g: Graph) -> Map | None:
    """A part of the map: a slice, or pads below zero."""
    x = g.pick()
    top, left, bottom, right = (g.choose((0, 1, 2)) for _ in range(4))
    h, w = x.h - top - bottom, x.w - left - right
    if min(h, w) < 1:
        return None
    if g.choose((True, False)):
        y = g.net.add("Pad", x.name, g.ints(0, 0, -top, -left, 0, 0, -bottom, -right))
    else:
        ends = [-k if k else 2**31 - 1 for k in (bottom, right)]
        y = g.net.add("Slice", x.name, g.ints(top, left), g.ints(*ends), g.ints(2, 3))
    return Map(y, x.c, h, w)


def pool(g: Graph) -> Map | None:
    x, k, s = g.pick(), g.choose((2, 3)), g.choose((1, 2))
    if min(x.h, x.w) < k:
        return None
    attributes: dict[str, Any] = {"kernel_shape": [k, k], "strides": [s, s], "pads": [0, 0, g.choose((0, 1)), 0]}
    op = g.choose(("MaxPool", "AveragePool"))
    if op == "AveragePool":
        attributes["count_include_pad"] = g.choose((0, 1))
    h, w = (x.h + attributes["pads"][2] - k) // s + 1, (x.w - k) // s + 1
    return Map(g.net.add(op, x.name, **attributes), x.c, h, w)


def resize(g: Graph) -> Map | None:
    x, mode = g.pick(), g.choose(("nearest", "linear"))
    where = g.choose(("asymmetric", "half_pixel", *(["align_corners"] if mode == "linear" else [])))
    more = {"nearest_mode": "floor"} if mode == "nearest" else {}
    scales = g.net.const([1.0, 1.0, 2.0, 2.0])
    y = g.net.add("Resize", x.name, "", scales, mode=mode, coordinate_transformation_mode=where, **more)
    return Map(y, x.c, 2 * x.h, 2 * x.w)


def to_depth(g: Graph) -> Map | None:
    x = g.pick()
    if x.h % 2 or x.w % 2:
        return None
    return Map(g.net.add("SpaceToDepth", x.name, blocksize=2), 4 * x.c, x.h // 2, x.w // 2)


def to_space(g: Graph) -> Map | None:
    x = g.pick()
    if x.c % 4:
        return None
    y = g.net.add("DepthToSpace", x.name, blocksize=2, mode=g.choose(("DCR", "CRD")))
    return Map(y, x.c // 4, 2 * x.h, 2 * x.w)


def norm(g: Graph) -> Map | None:
    x, rng = g.pick(), g.net.rng
    kind = g.choose(("batch", "batch", "LRN", "instance", *(["groups"] if x.c % 2 == 0 else [])))
    if kind == "groups":
        parts = g.net.add("Reshape", x.name, g.ints(0, 2, -1))
        parts = g.net.add("InstanceNormalization", parts, g.net.const([1, 1.5]), g.net.const([0, 0.1]), epsilon=0.01)
        return Map(g.net.add("Reshape", parts, g.net.add("Shape", x.name)), x.c, x.h, x.w)
    if kind == "instance":
        vectors = (g.net.const(rng.uniform(0.5, 1.5, x.c)), g.net.const(rng.normal(0, 0.2, x.c)))
        return Map(g.net.add("InstanceNormalization", x.name, *vectors, epsilon=0.01), x.c, x.h, x.w)
    if kind == "batch":
        values = [
            rng.uniform(0.5, 1.5, x.c),
            rng.normal(0, 0.2, x.c),
            rng.normal(0, 0.2, x.c),
            rng.uniform(0.5, 2, x.c),
        ]
        return Map(g.net.add("BatchNormalization", x.name, *(g.net.const(v) for v in values)), x.c, x.h, x.w)
    return Map(g.net.add("LRN", x.name, size=g.choose((3, 5)), alpha=0.01), x.c, x.h, x.w)


def softmax(g: Graph) -> Map | None:
    x = g.pick()
    return Map(g.net.add("Softmax", x.name, axis=1), x.c, x.h, x.w)


# --- the whole ------------------------------------------------------------------------------------------------------


def random_graph(choose: Choose, seed: int) -> tuple[onnx.ModelProto, tuple[int, int, int, int]]:
    """A model with at least one convolution, one to three outputs, and the shape of its input x."""
    if choose((True, *[False] * 5)):
        return random_line(choose, seed)
    g = Graph(choose, seed)
    first = conv(g)
    while first is None:
        first = conv(g)
    g.maps.append(first)
    for _ in range(choose(range(2, 15))):
        g.grow()
    ends = list(dict.fromkeys([g.maps[-1].name, *(choose(g.maps[1:]).name for _ in range(choose((0, 0, 1, 2))))]))
    for i, name in enumerate(ends):
        g.net.output(g.net.add("Identity", name, out=f"y{i}"), None, TensorProto.FLOAT)
    return shape_inference.infer_shapes(g.net.model()), g.frame


def random_frames(choose: Choose, shape: tuple[int, int, int, int], seed: int, count: int) -> Iterator[np.ndarray]:
    """Frames between which a rectangle, scattered pixels, one channel of a pixel, nothing or everything changes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(np.float32)
    yield x.copy()
    n, c, h, w = shape
    for _ in range(count - 1):
        kind = choose(("box", "box", "scatter", "pixel", "nothing", "everything"))
        i = rng.integers(n)
        if kind == "box":
            y0, x0, y1, x1 = rng.integers(h), rng.integers(w), rng.integers(1, h + 1), rng.integers(1, w + 1)
            part = x[i, :, y0 : y0 + y1, x0 : x0 + x1]
            part[...] = rng.normal(size=part.shape)
        elif kind == "scatter":
            mask = rng.random((h, w)) < 0.08
            x[i][:, mask] = rng.normal(size=(c, int(mask.sum())))
        elif kind == "pixel":
            x[i, rng.integers(c), rng.integers(h), rng.integers(w)] += np.float32(rng.choice([1e-6, 0.1, 3.0]))
        elif kind == "everything":
            x = rng.normal(size=shape).astype(np.float32)
        yield x.copy()
