"""LRN: local response normalisation across channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import Facts, OpRule, Refused, attribute, map_input, single
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.types import Attribute, Match

MOST = 64  # kMostLrn of kernels/table.h


class LrnRule(OpRule):
    """LRN -> rrm.LRN.

    Limits: a window of at most 64 channels.
    """

    op_types = ("LRN",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        size = int(attribute(node, "size", 0))
        if not 1 <= size <= MOST:
            raise Refused("attribute", f"a window of {size} channels, only 1 to {MOST} are supported")
        attributes: dict[str, Attribute] = {"size": size}
        for key, absent in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)):
            attributes[key] = float(attribute(node, key, absent))
        return single(node, "LRN", (name,), attributes, x)


# --- NumPy definition ----------------------------------------------------------------------------------------------


class LRN(SiteOp):
    """x / (bias + alpha / size * s) ^ beta, s the sum of the squares of `size` channels around x: (size - 1) / 2 before
    it, rounded down, and the rest behind it."""

    size: int
    alpha: float
    beta: float
    bias: float

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        x = maps[0].astype(np.float64)
        before = (self.size - 1) // 2
        squares = np.pad(np.square(x), ((0, 0), (0, 0), (before, self.size - 1 - before)))
        with np.errstate(all="ignore"):
            total = np.lib.stride_tricks.sliding_window_view(squares, self.size, axis=2).sum(axis=3)
            return np.asarray(x / (self.bias + self.alpha / self.size * total) ** self.beta, dtype=np.float32)
