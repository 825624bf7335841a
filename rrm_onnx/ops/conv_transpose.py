"""ConvTranspose: the adjoint of Conv with respect to its input.

y[n, m, iy*sy + ky*dy - top, ix*sx + kx*dx - left] += W[c, m, ky, kx] * x[n, c, iy, ix], plus B[m]
auto_pad and output_shape are turned into explicit pads here, which needs the input's size. All but the place of its
sites it has in common with Conv (conv.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import onnx_graphsurgeon as gs

from rrm_onnx.geometry import Window, extent, transposed_size
from rrm_onnx.ops.base import Refused, attribute, out_fact
from rrm_onnx.ops.conv import Conv, ConvRule, Placed
from rrm_onnx.ops.reference_math import transposed_axis
from rrm_onnx.types import EdgeFact


def explicit_pads(
    node: gs.Node, window: Window, x: EdgeFact, output_padding: tuple[int, int]
) -> tuple[Window, tuple[int, int]]:
    """Window and output_padding, auto_pad and output_shape resolved as the ONNX specification of ConvTranspose says.

    total = stride * (size - 1) + output_padding + extent - output; the odd pad goes to the end, with SAME_LOWER (and,
    in ONNX, with everything but SAME_UPPER) to the begin. Where it is negative, rows stand at the end that no window
    reaches, as output_padding adds them.
    """
    wanted = attribute(node, "output_shape", None)
    if wanted is None and window.auto_pad in ("NOTSET", "VALID"):
        return replace(window, auto_pad="NOTSET"), output_padding
    if x.height is None or x.width is None:
        hint = "give the input's shape (input_shapes)"
        raise Refused("size-unknown", "pads follow from the output size, and the input's size is not known", hint)
    begin, end, more = [0, 0], [0, 0], list(output_padding)
    for axis, size in enumerate((x.height, x.width)):
        out = int(wanted[-2:][axis]) if wanted is not None else size * window.strides[axis]
        spread = window.strides[axis] * (size - 1) + output_padding[axis]
        total = spread + extent(window.kernel[axis], window.dilations[axis]) - out
        if total < 0 and wanted is None:  # onnx and onnxruntime differ in the size
            raise Refused("pads", f"auto_pad to a size of {out}, which is larger than the kernel reaches")
        more[axis] += max(-total, 0)
        half, rest = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        begin[axis], end[axis] = (half, rest) if window.auto_pad == "SAME_UPPER" else (rest, half)
    return replace(window, pads=(begin[0], begin[1], end[0], end[1]), auto_pad="NOTSET"), (more[0], more[1])


class ConvTransposeRule(ConvRule):
    """ConvTranspose(x, W [C, M/group, kh, kw], B [M]) -> rrm.ConvTranspose.

    Limits: two dimensions; W and B are float32 constants of the graph; no negative pads; with auto_pad or output_shape
    the input's size must be known.
    """

    op_types = ("ConvTranspose",)
    transposed = True

    def place(self, node: gs.Node, window: Window, x: EdgeFact, m: int) -> Placed:
        py, px = (int(v) for v in attribute(node, "output_padding", (0, 0)))
        window, (py, px) = explicit_pads(node, window, x, (py, px))
        out = out_fact(x, m, transposed_size(window, 0, x.height, py), transposed_size(window, 1, x.width, px))
        return window, {"output_padding": (py, px)}, out


# --- NumPy definition ----------------------------------------------------------------------------------------------


class ConvTranspose(Conv):
    """ONNX's ConvTranspose in two dimensions with bias, then an activation, then the gate.

    Written as a gather: an output site reads the input sites that scatter to it.
    """

    takes: ClassVar[tuple[str, ...]] = ("ticket", "W: float32 [C, M/group, kh, kw]", "B: float32 [M]")
    per_tap: ClassVar[tuple[int, ...]] = (3, 4, 0, 1, 2)  # axes of W [group, C/group, M/group, kh, kw]
    output_padding: list[int]

    def _outputs(self, axis: int, size: int) -> int:
        reach = extent(self.kernel_shape[axis], self.dilations[axis])
        padding = self.pads[axis] + self.pads[axis + 2]
        return self.strides[axis] * (size - 1) + self.output_padding[axis] + reach - padding

    def _axis(self, axis: int, size: int, out: int) -> Any:
        kernel, stride, dilation = self.kernel_shape[axis], self.strides[axis], self.dilations[axis]
        return transposed_axis(size, out, kernel, stride, self.pads[axis], dilation)
