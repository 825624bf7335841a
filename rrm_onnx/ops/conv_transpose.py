"""ConvTranspose: the adjoint of Conv with respect to its input.

y[n, m, iy*sy + ky*dy - top, ix*sx + kx*dx - left] += W[c, m, ky, kx] * x[n, c, iy, ix], plus B[m]
auto_pad and output_shape are turned into explicit pads here, which needs the input's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import onnx_graphsurgeon as gs

from rrm_onnx.geometry import Window, extent, transposed_size
from rrm_onnx.ops.base import (
    EXACT_GATE,
    NO_ACTIVATION,
    Facts,
    OpRule,
    Refused,
    attribute,
    channels_of,
    map_input,
    out_fact,
    single,
    weight,
    window_attributes,
    window_of,
)
from rrm_onnx.ops.conv import bias_of, correlate
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.ops.reference_math import Taps, activate, transposed_axis
from rrm_onnx.types import EdgeFact, Match


def explicit_pads(node: gs.Node, window: Window, x: EdgeFact, output_padding: tuple[int, int]) -> Window:
    """The window with auto_pad and output_shape resolved as the ONNX specification of ConvTranspose says.

    total = stride * (size - 1) + output_padding + extent - output; the odd pad goes to the end, with SAME_LOWER (and,
    in ONNX, with everything but SAME_UPPER) to the begin.
    """
    wanted = attribute(node, "output_shape", None)
    if wanted is None and window.auto_pad == "NOTSET":
        return window
    if wanted is None and window.auto_pad == "VALID":
        return replace(window, auto_pad="NOTSET")
    if x.height is None or x.width is None:
        hint = "give the input's shape (input_shapes)"
        raise Refused("size-unknown", "pads follow from the output size, and the input's size is not known", hint)
    begin, end = [0, 0], [0, 0]
    for axis, size in enumerate((x.height, x.width)):
        out = int(wanted[-2:][axis]) if wanted is not None else size * window.strides[axis]
        spread = window.strides[axis] * (size - 1) + output_padding[axis]
        total = spread + extent(window.kernel[axis], window.dilations[axis]) - out
        if total < 0:
            raise Refused("pads", f"output size {out} is larger than the kernel reaches")
        half, rest = total // 2, total - total // 2
        begin[axis], end[axis] = (half, rest) if window.auto_pad == "SAME_UPPER" else (rest, half)
    return replace(window, pads=(begin[0], begin[1], end[0], end[1]), auto_pad="NOTSET")


class ConvTransposeRule(OpRule):
    """ConvTranspose(x, W [C, M/group, kh, kw], B [M]) -> rrm.ConvTranspose.

    Limits: two dimensions; W and B are float32 constants of the graph; no negative pads; with auto_pad or output_shape
    the input's size must be known.
    """

    op_types = ("ConvTranspose",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        w = weight(node, 1, 4, "weight")
        group = int(attribute(node, "group", 1))
        c, m_per_group, kh, kw = w.values.shape
        if c != x.channels or c % group:
            raise Refused("shape", f"weight {w.values.shape} and group {group} do not fit {channels_of(x)} channels")
        py, px = (int(v) for v in attribute(node, "output_padding", (0, 0)))
        window = explicit_pads(node, window_of(node, (kh, kw)), x, (py, px))
        m = m_per_group * group
        out = out_fact(x, m, transposed_size(window, 0, x.height, py), transposed_size(window, 1, x.width, px))
        return single(
            node,
            "ConvTranspose",
            (name,),
            {**window_attributes(window), "group": group, "output_padding": (py, px), **NO_ACTIVATION, **EXACT_GATE},
            out,
            constants=(w, bias_of(node, m)),
            macs=None if x.sites is None else x.sites * w.values.size,
            window=window,
            takes_activation=True,
        )


# --- NumPy definition ----------------------------------------------------------------------------------------------


class ConvTranspose(SiteOp):
    """ONNX's ConvTranspose in two dimensions with bias, then an activation, then the gate.

    Written as a gather: an output site reads the input sites that scatter to it.
    """

    takes: ClassVar[tuple[str, ...]] = ("ticket", "W: float32 [C, M/group, kh, kw]", "B: float32 [M]")
    gated: ClassVar[bool] = True
    kernel_shape: list[int]
    strides: list[int]
    pads: list[int]
    dilations: list[int]
    auto_pad: str = "NOTSET"  # the rule writes no other
    output_padding: list[int]
    group: int
    activation: str
    activation_params: Sequence[float] = ()

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        return self._outputs(0, shapes[0][0]), self._outputs(1, shapes[0][1])

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        return Taps(
            transposed_axis(shape[a], out[a], self.kernel_shape[a], self.strides[a], self.pads[a], self.dilations[a])
            for a in (0, 1)
        )

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        weights, bias = constants
        channels, wide, kh, kw = weights.shape
        per_tap = weights.reshape(self.group, channels // self.group, wide, kh, kw).transpose(3, 4, 0, 1, 2)
        taps = self.taps(0, maps[0].shape, self.output_shape([maps[0].shape]))
        return activate(correlate(maps[0], taps, per_tap, bias), self.activation, self.activation_params)

    def _outputs(self, axis: int, size: int) -> int:
        extent = (self.kernel_shape[axis] - 1) * self.dilations[axis] + 1
        padding = self.pads[axis] + self.pads[axis + 2]
        return self.strides[axis] * (size - 1) + self.output_padding[axis] + extent - padding
