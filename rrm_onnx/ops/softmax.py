"""Softmax and LogSoftmax over the channels of each site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import Facts, OpRule, Refused, attribute, map_input, single
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.ops.views import channel_axis
from rrm_onnx.types import Match


class SoftmaxRule(OpRule):
    """Softmax, LogSoftmax over axis 1 -> rrm.Softmax. Over the last axis of a map that is turned to NHWC, they arrive
    as the former from normalise/channels.py.

    Limits: over channels only; before opset 13 an axis stands for itself and all behind it, so there the map is 1x1,
    or turned to NHWC.
    """

    makes = ("Softmax",)
    op_types = ("Softmax", "LogSoftmax")

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        if node.domain != COMPOSITE_DOMAIN:
            channel_axis(int(attribute(node, "axis", -1 if facts.opset >= 13 else 1)))
            if facts.opset < 13 and not x.is_point:
                raise Refused("axis", "before opset 13, axis 1 stands for channels, height and width together")
        return single(node, "Softmax", (name,), {"log": int(node.op == "LogSoftmax")}, x)


# --- NumPy definition ----------------------------------------------------------------------------------------------


class Softmax(SiteOp):
    """exp(x) divided by its sum over the channels of the site; with `log` the logarithm of that."""

    log: int

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        x = maps[0].astype(np.float64)
        with np.errstate(all="ignore"):
            x = x - x.max(axis=2, keepdims=True)
            total = np.exp(x).sum(axis=2, keepdims=True)
            return np.asarray(x - np.log(total) if self.log else np.exp(x) / total, dtype=np.float32)
