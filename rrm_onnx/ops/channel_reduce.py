"""Mean, sum, length and maximum over the channels of each site: attention over places, and L2 normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import Facts, OpRule, Refused, attribute, map_input, out_fact, parameter, single
from rrm_onnx.ops.reference_base import Map, SiteOp
from rrm_onnx.types import Match


class ChannelReduceRule(OpRule):
    """ReduceMean, ReduceSum, ReduceL2, ReduceMax over axis 1 -> rrm.ChannelReduce, a map of one channel.

    Limits: over the channels alone, and the axis is kept. Means and maxima over height and width are global pools
    (normalise/spelling.py).
    """

    makes = ("ChannelReduce",)
    op_types = ("ReduceMean", "ReduceSum", "ReduceL2", "ReduceMax")

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, x = map_input(node, 0, facts)
        given = parameter(node, "axes", 1)
        axes = [] if given is None else [int(a) % 4 for a in np.ravel(given)]
        if axes != [1]:
            raise Refused("axis", f"over {axes or 'all'} axes, only over the channels (1) is supported")
        if not int(attribute(node, "keepdims", 1)):
            raise Refused("attribute", "keepdims 0, which leaves no map")
        attributes = {"reduction": node.op.removeprefix("Reduce")}
        return single(node, "ChannelReduce", (name,), attributes, out_fact(x, 1, x.height, x.width))


# --- NumPy definition ----------------------------------------------------------------------------------------------

REDUCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "Mean": lambda x: x.mean(axis=2, keepdims=True),
    "Sum": lambda x: x.sum(axis=2, keepdims=True),
    "L2": lambda x: np.sqrt(np.square(x).sum(axis=2, keepdims=True)),
    "Max": lambda x: x.max(axis=2, keepdims=True),
}


class ChannelReduce(SiteOp):
    """The mean, the sum, the length or the maximum of the site's channels: a map of one channel."""

    reduction: str

    def dense(self, maps: list[Map], constants: Sequence[Any]) -> Map:
        return np.asarray(REDUCTIONS[self.reduction](maps[0].astype(np.float64)), dtype=np.float32)
