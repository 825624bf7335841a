"""GlobalAveragePool and GlobalMaxPool: a map becomes one site; any change reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import Facts, OpRule, channels_of, map_input, out_fact, single
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.ops.reference_math import Taps
from rrm_onnx.types import Match


class GlobalPoolRule(OpRule):
    """(N, C, H, W) -> (N, C, 1, 1), over all sites.

    Limits: none.
    """

    op_types = ("GlobalAveragePool", "GlobalMaxPool")

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        return single(node, node.op, (name,), {}, out_fact(x, channels_of(x), 1, 1))


# --- NumPy definition ----------------------------------------------------------------------------------------------


class GlobalPool(SiteOp):
    """A 1x1 map that reads every site."""

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, int]:
        return 1, 1

    def taps(self, index: int, shape: tuple[int, ...], out: tuple[int, ...]) -> Taps:
        return Taps(np.arange(size)[None, :] for size in shape[:2])


class GlobalAveragePool(GlobalPool):
    """The mean over all sites, per channel."""

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        return np.asarray(maps[0].mean(axis=(0, 1), keepdims=True, dtype=np.float64), dtype=np.float32)


class GlobalMaxPool(GlobalPool):
    """The maximum over all sites, per channel."""

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        return np.asarray(maps[0].max(axis=(0, 1), keepdims=True))
