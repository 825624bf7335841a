"""ArgMax over the channels of each site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import Facts, OpRule, Refused, attribute, map_input, out_fact, single
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.types import Match


class ArgMaxRule(OpRule):
    """ArgMax over the channels of a map -> rrm.ArgMax, a map of one channel; normalise/arg_max.py puts a Cast to int64
    behind it, which stays dense.

    Limits: over axis 1, or the last axis of a map turned to NHWC.
    """

    op_types = ("ArgMax",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        if node.domain != COMPOSITE_DOMAIN:
            axis = int(attribute(node, "axis", 0))
            raise Refused("axis", f"over axis {axis}, only over the channels of a map is supported")
        attributes = {"last": int(attribute(node, "select_last_index", 0))}
        return single(node, "ArgMax", (name,), attributes, out_fact(x, 1, x.height, x.width))


# --- NumPy definition ----------------------------------------------------------------------------------------------


class ArgMax(SiteOp):
    """The number of the site's greatest channel, as a float; of equal ones the first, or with `last` the last.

    Which one it is where a channel is NaN is left open.
    """

    last: int

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        x = maps[0][..., ::-1] if self.last else maps[0]
        best = x.argmax(axis=2)
        return np.asarray((x.shape[2] - 1 - best if self.last else best)[..., None], dtype=np.float32)
