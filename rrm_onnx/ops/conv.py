"""Conv: any kernel, stride, pads, auto_pad, dilation and group, depthwise included.

y[n, m, oy, ox] = B[m] + sum over c, ky, kx of W[m, c, ky, kx] * x[n, c, oy*sy + ky*dy - top, ox*sx + kx*dx - left]
A changed input site reaches every output site whose window touches it (geometry.reach). A gate stands behind the
activated output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.geometry import Window, window_size
from rrm_onnx.ops.base import (
    EXACT_GATE,
    NO_ACTIVATION,
    Facts,
    OpRule,
    Refused,
    attribute,
    channels_of,
    has_input,
    map_input,
    out_fact,
    single,
    weight,
    window_attributes,
    window_of,
)
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.ops.reference_math import Taps, activate, pad_once, resolve_pads, tap, window_axis, window_output
from rrm_onnx.types import Attribute, Constant, EdgeFact, Match


def bias_of(node: gs.Node, channels: int) -> Constant:
    """The bias [channels]; zeros where the node has none."""
    if has_input(node, 2):
        return weight(node, 2, 1, "bias")
    return Constant(f"{node.name}/bias", np.zeros(channels, np.float32))


Placed = tuple[Window, dict[str, Attribute], EdgeFact]
"""The window as it is written, further attributes, and the output."""


class ConvRule(OpRule):
    """Conv(x, W [M, C/group, kh, kw], B [M]) -> rrm.Conv.

    Limits: two dimensions; W and B are float32 constants of the graph; no negative pads.
    """

    op_types = ("Conv",)
    transposed = False  # whether the weights are [C, M/group, kh, kw], and meet every site of the input once

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        w = weight(node, 1, 4, "weight")
        group = int(attribute(node, "group", 1))
        first, second, kh, kw = w.values.shape
        c, m = (first, second * group) if self.transposed else (second * group, first)
        if c != x.channels or first % group:
            raise Refused("shape", f"weight {w.values.shape} and group {group} do not fit {channels_of(x)} channels")
        window, more, out = self.place(node, window_of(node, (kh, kw)), x, m)
        sites = x.sites if self.transposed else out.sites
        return single(
            node,
            node.op,
            (name,),
            {**window_attributes(window), "group": group, **more, **NO_ACTIVATION, **EXACT_GATE},
            out,
            constants=(w, bias_of(node, m)),
            macs=None if sites is None else sites * w.values.size,
            window=window,
            takes_activation=True,
        )

    def place(self, node: gs.Node, window: Window, x: EdgeFact, m: int) -> Placed:
        """Where the outputs lie."""
        return window, {}, out_fact(x, m, window_size(window, 0, x.height), window_size(window, 1, x.width))


# --- NumPy definition ----------------------------------------------------------------------------------------------


class WindowOp(SiteOp):
    """An operator with the sliding window of ONNX's Conv and pools."""

    kernel_shape: list[int]
    strides: list[int]
    pads: list[int]
    dilations: list[int]
    auto_pad: str = "NOTSET"

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        return self._outputs(0, shapes[0][0]), self._outputs(1, shapes[0][1])

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        return Taps((self._axis(0, shape[0], out[0]), self._axis(1, shape[1], out[1])))

    def padding(self, axis: int, size: int) -> tuple[int, int]:
        """Padding before and after, along axis 0 (height) or 1 (width) of an input of that size."""
        given = self.pads[axis], self.pads[axis + 2]
        kernel, stride, dilation = self.kernel_shape[axis], self.strides[axis], self.dilations[axis]
        return resolve_pads(size, kernel, stride, given, dilation, self.auto_pad)

    def _outputs(self, axis: int, size: int) -> int:
        kernel, stride, dilation = self.kernel_shape[axis], self.strides[axis], self.dilations[axis]
        return window_output(size, kernel, stride, self.padding(axis, size), dilation, self._rounds_up())

    def _rounds_up(self) -> bool:
        """Whether a last window that hangs over the end counts."""
        return False

    def _axis(self, axis: int, size: int, out: int) -> Any:
        kernel, stride, dilation = self.kernel_shape[axis], self.strides[axis], self.dilations[axis]
        return window_axis(size, out, kernel, stride, self.padding(axis, size)[0], dilation)


def correlate(fmap: Map, taps: Taps, weights: Any, bias: Any) -> Any:
    """`bias + sum over taps of fmap[tap] @ weights[tap]`, in double: [H', W', M].

    `weights` is [kh, kw, g, C/g, M/g]: group i maps the i-th slice of the channels to the i-th slice of the outputs.
    """
    kh, kw, groups, deep, wide = weights.shape
    padded = pad_once(fmap, 0.0).astype(np.float64)
    size = len(taps[0]), len(taps[1])
    total = np.zeros((*size, groups, wide))
    for i in range(kh):
        for j in range(kw):
            rows = tap(padded, taps, i, j).reshape(*size, groups, deep)
            total += np.einsum("hwgc,gcm->hwgm", rows, weights[i, j].astype(np.float64), optimize=True)
    return total.reshape(*size, groups * wide) + bias.astype(np.float64)


class Conv(WindowOp):
    """ONNX's Conv in two dimensions with bias, then an activation, then the gate."""

    takes: ClassVar[tuple[str, ...]] = ("ticket", "W: float32 [M, C/group, kh, kw]", "B: float32 [M]")
    gated: ClassVar[bool] = True
    per_tap: ClassVar[tuple[int, ...]] = (3, 4, 0, 2, 1)  # axes of W [group, M/group, C/group, kh, kw] for `correlate`
    group: int
    activation: str
    activation_params: Sequence[float] = ()

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        return activate(self.linear(maps[0], *constants), self.activation, self.activation_params)

    def linear(self, fmap: Map, weights: Any, bias: Any) -> Any:
        """The convolution alone, in double."""
        first, *others = weights.shape
        weights = weights.reshape(self.group, first // self.group, *others).transpose(self.per_tap)
        return correlate(fmap, self.taps(0, fmap.shape, self.output_shape([fmap.shape])), weights, bias)


class ConvAdd(Conv):
    """ONNX's Conv in two dimensions with bias, plus a map of the output's size, then an activation, then the gate."""

    origin: ClassVar[str] = (
        "an exact `Conv` and the `Add` that alone reads it, where the addend is a shortcut around it"
    )
    takes: ClassVar[tuple[str, ...]] = ("ticket", "ticket of the addend", *Conv.takes[1:])
    tickets: ClassVar[int] = 2

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        return super().taps(index, shape, out) if index == 0 else SiteOp.taps(self, index, shape, out)

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        return activate(self.linear(maps[0], *constants) + maps[1], self.activation, self.activation_params)
