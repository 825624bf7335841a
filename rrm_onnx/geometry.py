"""Window arithmetic of convolutions and pools along one axis: output sizes, pads, and how far a change reaches.

Pure integers; formulas as in the ONNX operator specifications of Conv, ConvTranspose and MaxPool.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A sliding window in two dimensions; pads are (top, left, bottom, right)."""

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    auto_pad: str = "NOTSET"


POINT = Window()


def extent(kernel: int, dilation: int) -> int:
    """Input positions that a dilated kernel spans."""
    return (kernel - 1) * dilation + 1


def same_pads(size: int, kernel: int, stride: int, dilation: int, upper: bool) -> tuple[int, int]:
    """(begin, end) of auto_pad SAME_UPPER or _LOWER: output = ceil(size / stride), the odd pad at the end or begin."""
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + extent(kernel, dilation) - size)
    small, large = total // 2, total - total // 2
    return (small, large) if upper else (large, small)


def axis_pads(window: Window, axis: int, size: int) -> tuple[int, int]:
    """(begin, end) along `axis` (0 = height, 1 = width) for an input of `size` positions, auto_pad resolved."""
    if window.auto_pad == "NOTSET":
        return window.pads[axis], window.pads[axis + 2]
    if window.auto_pad == "VALID":
        return 0, 0
    upper = window.auto_pad == "SAME_UPPER"
    return same_pads(size, window.kernel[axis], window.strides[axis], window.dilations[axis], upper)


def window_size(window: Window, axis: int, size: int | None, ceil_mode: bool = False) -> int | None:
    """Output positions of a convolution or pool along `axis`; None for an unknown size.

    With ceil_mode a last window that would start in the end padding is dropped.
    """
    if size is None:
        return None
    begin, end = axis_pads(window, axis, size)
    stride = window.strides[axis]
    room = size + begin + end - extent(window.kernel[axis], window.dilations[axis])
    if not ceil_mode:
        return room // stride + 1
    out = -(-room // stride) + 1
    return out - 1 if (out - 1) * stride >= size + begin else out


def transposed_size(window: Window, axis: int, size: int | None, output_padding: int) -> int | None:
    """Output positions of a transposed convolution along `axis`; None for an unknown size."""
    if size is None:
        return None
    spread = (size - 1) * window.strides[axis] + extent(window.kernel[axis], window.dilations[axis])
    return spread - window.pads[axis] - window.pads[axis + 2] + output_padding


def reach(window: Window, axis: int, size: int, first: int, last: int) -> tuple[int, int]:
    """Range [start, stop) of output positions whose window touches a changed input position in [first, last].

    Empty ranges have start >= stop. Dilated windows are taken as their full extent (a superset).
    """
    out = window_size(window, axis, size) or 0
    begin, _ = axis_pads(window, axis, size)
    stride = window.strides[axis]
    start = -(-(first + begin - extent(window.kernel[axis], window.dilations[axis]) + 1) // stride)
    stop = (last + begin) // stride + 1
    return max(0, start), min(out, stop)
