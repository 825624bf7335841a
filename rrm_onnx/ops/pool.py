"""MaxPool and AveragePool over a window.

A changed input site reaches every output site whose window touches it (geometry.reach).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.geometry import window_size
from rrm_onnx.ops.base import (
    Facts,
    OpRule,
    Refused,
    attribute,
    channels_of,
    map_input,
    out_fact,
    single,
    window_attributes,
    window_of,
)
from rrm_onnx.ops.conv import WindowOp
from rrm_onnx.ops.reference_base import Map
from rrm_onnx.ops.reference_math import Taps, pad_once, tap, window_axis
from rrm_onnx.types import Attribute, Match


class PoolRule(OpRule):
    """MaxPool, AveragePool -> the rrm operator of the same name.

    Limits: two dimensions; no negative pads; the output Indices is not asked for.
    """

    op_types = ("MaxPool", "AveragePool")

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        if len(node.outputs) > 1 and not node.outputs[1].is_empty() and node.outputs[1].name:
            raise Refused("indices", "the Indices output is asked for")
        window = window_of(node)
        ceil_mode = int(attribute(node, "ceil_mode", 0))
        attributes: dict[str, Attribute] = {**window_attributes(window), "ceil_mode": ceil_mode}
        if node.op == "AveragePool":
            attributes["count_include_pad"] = int(attribute(node, "count_include_pad", 0))
        height = window_size(window, 0, x.height, bool(ceil_mode))
        width = window_size(window, 1, x.width, bool(ceil_mode))
        out = out_fact(x, channels_of(x), height, width)
        return single(node, node.op, (name,), attributes, out, window=window)


# --- NumPy definition ----------------------------------------------------------------------------------------------


class Pool(WindowOp):
    """A window without weights."""

    ceil_mode: int

    def _rounds_up(self) -> bool:
        return bool(self.ceil_mode)


class MaxPool(Pool):
    """ONNX's MaxPool in two dimensions, first output. Padding is not part of a window."""

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        taps = self.taps(0, maps[0].shape, self.output_shape([maps[0].shape]))
        padded = pad_once(maps[0], -np.inf)
        kh, kw = self.kernel_shape
        return np.asarray(np.max([tap(padded, taps, i, j) for i in range(kh) for j in range(kw)], axis=0))


class AveragePool(Pool):
    """ONNX's AveragePool in two dimensions.

    The divisor counts the taps inside the input, or, with `count_include_pad`, inside the padded input: what
    `ceil_mode` adds beyond the padding never counts.
    """

    count_include_pad: int

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        shape = maps[0].shape
        size = self.output_shape([shape])
        taps = self.taps(0, shape, size)
        padded = pad_once(maps[0], 0.0).astype(np.float64)
        kh, kw = self.kernel_shape
        total = np.sum([tap(padded, taps, i, j) for i in range(kh) for j in range(kw)], axis=0)
        counted = self._padded_taps(shape, size) if self.count_include_pad else taps
        counts = np.outer(*((axis >= 0).sum(axis=1) for axis in counted))
        return np.asarray(total / counts[..., None], dtype=np.float32)

    def _padded_taps(self, shape: tuple[int, ...], out: tuple[int, int]) -> Taps:
        padded = [shape[a] + sum(self.padding(a, shape[a])) for a in (0, 1)]
        return Taps(
            window_axis(padded[a], out[a], self.kernel_shape[a], self.strides[a], 0, self.dilations[a]) for a in (0, 1)
        )
