"""What the graphs of the families are made of: layers with random weights, spelled as exporters spell them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from models import Net, Shape

Sizes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Family:
    """A graph built as the networks of a family are.

    `sizes`: of the inputs that the model leaves open, in the order in which they are tried; `inside`: the share of the
    multiply-accumulates of convolutions that at least is inside regions; `special`: what sets it apart from the rest.
    """

    name: str
    build: Callable[[], onnx.ModelProto]
    special: str
    inside: float = 1.0
    sizes: tuple[Sizes, ...] = field(default=({},))


class Layers(Net):
    """A Net that knows the channels of its maps."""

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        super().__init__(opset, seed)
        self.channels: dict[str, int] = {}

    def picture(self, name: str = "x", shape: Shape = (1, 3, 32, 32), **more: Any) -> str:
        """An input of the graph, NCHW."""
        channels = shape[1]
        assert isinstance(channels, int)
        self.channels[self.input(name, shape, **more)] = channels
        return name

    def add(self, op: str, *inputs: str, **more: Any) -> str:
        """As in Net; the output has the channels of the first input, or of all of them for a Concat."""
        output = super().add(op, *inputs, **more)
        known = [self.channels.get(i) for i in inputs]
        if op == "Concat" and None not in known and more.get("axis") == 1:
            self.channels[output] = sum(known)  # type: ignore[arg-type]
        elif known and known[0] is not None:
            for name in more.get("outputs") or [output]:
                self.channels[name] = known[0]
        return output

    def i64(self, *values: int) -> str:
        return self.const(values, np.int64)

    # --- convolutions

    def cv(self, x: str, m: int, k: int | tuple[int, int] = 3, s: int = 1, **more: Any) -> str:
        """A Conv with a bias that keeps the size, but for its stride `s`."""
        kh, kw = (k, k) if isinstance(k, int) else k
        group, c = more.get("group", 1), self.channels[x]
        d = more.get("dilations", [1, 1])
        w = self.const(self.rng.normal(0, (2 * group / (c * kh * kw)) ** 0.5, (m, c // group, kh, kw)))
        attrs = {"kernel_shape": [kh, kw], "strides": [s, s], **more}
        if "auto_pad" not in attrs:
            attrs.setdefault("pads", [d[0] * (kh // 2), d[1] * (kw // 2)] * 2)
        bias = () if more.pop("bare", False) else (self.const(self.rng.normal(0, 0.1, m)),)
        attrs.pop("bare", None)
        y = self.add("Conv", x, w, *bias, **attrs)
        self.channels[y] = m
        return y

    def norm(self, x: str) -> str:
        """BatchNormalization as it stands in an export that did not fold it."""
        c = self.channels[x]
        values = [self.rng.uniform(0.5, 1.5, c), *self.rng.normal(0, 0.1, (2, c)), self.rng.uniform(0.5, 1.5, c)]
        return self.add("BatchNormalization", x, *map(self.const, values), epsilon=1e-3)

    def layer(self, x: str, m: int, k: int | tuple[int, int] = 3, s: int = 1, act: str = "Relu", **more: Any) -> str:
        """Conv without bias, BatchNormalization, activation."""
        return self.act(self.norm(self.cv(x, m, k, s, bare=True, **more)), act)

    def deep(self, x: str, k: int = 3, s: int = 1, act: str = "Relu", **more: Any) -> str:
        """A depthwise layer."""
        return self.layer(x, self.channels[x], k, s, act, group=self.channels[x], **more)

    def up(self, x: str, m: int, k: int = 2, **more: Any) -> str:
        """ConvTranspose to twice the size."""
        w = self.const(self.rng.normal(0, self.channels[x] ** -0.5, (self.channels[x], m, k, k)))
        attrs = {"kernel_shape": [k, k], "strides": [2, 2], "pads": [(k - 2) // 2] * 4, **more}
        y = self.add("ConvTranspose", x, w, self.const(self.rng.normal(0, 0.1, m)), **attrs)
        self.channels[y] = m
        return y

    # --- activations

    def act(self, x: str, kind: str) -> str:
        """An activation; of Silu and the hard ones, the spelling of exporters before the operator was there."""
        match kind:
            case "":
                return x
            case "Silu":
                return self.add("Mul", x, self.add("Sigmoid", x))
            case "Relu6":
                return self.clip(x, 0, 6)
            case "hard-sigmoid":
                return self.add("Div", self.clip(self.add("Add", x, self.const(3.0)), 0, 6), self.const(6.0))
            case "hard-swish":
                gate = self.clip(self.add("Add", x, self.const(3.0)), 0, 6)
                return self.add("Div", self.add("Mul", x, gate), self.const(6.0))
            case "HardSigmoid":
                return self.add(kind, x, alpha=1 / 6)
            case "LeakyRelu":
                return self.add(kind, x, alpha=0.1)
        return self.add(kind, x)

    def clip(self, x: str, low: float, high: float) -> str:
        if self.opset < 11:
            return self.add("Clip", x, min=float(low), max=float(high))
        return self.add("Clip", x, self.const(float(low)), self.const(float(high)))

    # --- blocks

    def max_pool(self, x: str, k: int = 2, s: int = 2, pad: int = 0, **more: Any) -> str:
        return self.add("MaxPool", x, kernel_shape=[k, k], strides=[s, s], pads=[pad] * 4, **more)

    def mean_pool(self, x: str, k: int = 2, s: int = 2, pad: int = 0, **more: Any) -> str:
        return self.add("AveragePool", x, kernel_shape=[k, k], strides=[s, s], pads=[pad] * 4, **more)

    def excite(self, x: str, squeezed: int, act: str = "Relu", gate: str = "Sigmoid") -> str:
        """Squeeze and excitation with 1x1 convolutions."""
        y = self.act(self.cv(self.add("GlobalAveragePool", x), squeezed, 1), act)
        return self.add("Mul", x, self.act(self.cv(y, self.channels[x], 1), gate))

    def split(self, x: str, *sizes: int) -> list[str]:
        """The channels of a map in parts."""
        names = [f"{x}/{i}" for i in range(len(sizes))]
        if self.opset < 13:
            self.add("Split", x, outputs=names, axis=1, split=list(sizes))
        else:
            self.add("Split", x, self.i64(*sizes), outputs=names, axis=1)
        self.channels.update(zip(names, sizes, strict=True))
        return names

    def joined(self, *maps: str) -> str:
        return self.add("Concat", *maps, axis=1)

    def grow(self, x: str, factor: int = 2, **modes: Any) -> str:
        """Resize by a factor, nearest as torch spells it unless told otherwise."""
        modes = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
            **modes,
        }
        return self.add("Resize", x, self.const([]), self.const([1, 1, factor, factor]), **modes)

    def sized(self, x: str, sizes: str, **modes: Any) -> str:
        """Resize to given sizes, spelled as opset 11 wants it: what is not given is empty."""
        return self.add("Resize", x, self.const([]), self.const([]), sizes, **modes)

    def linear(self, x: str, k: int, m: int, **more: Any) -> str:
        """A Gemm on vectors."""
        w, b = self.rng.normal(0, k**-0.5, (m, k)), self.rng.normal(0, 0.1, m)
        return self.add("Gemm", x, self.const(w), self.const(b), transB=1, **more)

    def classes(self, x: str, m: int = 5) -> None:
        """The usual end of a classifier: pooled, flattened, one linear layer."""
        pooled = self.add("Flatten", self.add("GlobalAveragePool", x), axis=1)
        self.output(self.linear(pooled, self.channels[x], m))

    # --- shapes as tracing exporters compute them

    def dims(self, x: str, *axes: int) -> list[str]:
        """Sizes of a map as vectors of one element: Shape, Gather, Unsqueeze."""
        found = []
        for axis in axes:
            size = self.add("Gather", self.add("Shape", x), self.const(axis, np.int64), axis=0)
            found.append(self.lifted(size))
        return found

    def lifted(self, size: str) -> str:
        """A scalar as a vector of one element."""
        if self.opset < 13:
            return self.add("Unsqueeze", size, axes=[0])
        return self.add("Unsqueeze", size, self.i64(0))

    def shaped(self, x: str, *sizes: str | int) -> str:
        """Reshape to sizes that are computed (names) or known (numbers)."""
        parts = [s if isinstance(s, str) else self.i64(s) for s in sizes]
        return self.add("Reshape", x, self.add("Concat", *parts, axis=0))
