"""Shape of a map: spares an Exit where the graph computes sizes from a map inside a region."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.ops.base import Facts, OpRule, Refused, attribute, map_input
from rrm_onnx.ops.reference_base import RrmOp, unpack
from rrm_onnx.types import Match, RrmNode


class ShapeRule(OpRule):
    """Shape -> rrm.MapShape, whose output is an ordinary int64[4] tensor.

    Limits: the whole shape, no start and no end.
    """

    makes = ("MapShape",)
    op_types = ("Shape",)

    def accept(self, node: gs.Node, facts: Facts) -> Match:
        name, _ = map_input(node, 0, facts)
        if int(attribute(node, "start", 0)) != 0 or attribute(node, "end", None) is not None:
            raise Refused("attribute", "start or end, only the whole shape is supported")
        emitted = RrmNode("MapShape", node.name, (name,), (node.outputs[0].name,), dense=True)
        return Match(node.name, node.op, (emitted,), {})


# --- NumPy definition ----------------------------------------------------------------------------------------------


class MapShape(RrmOp):
    """The shape that the ticket's feature maps would have as one dense tensor."""

    gives: ClassVar[str] = "shape: int64 [4]"

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        tickets = unpack(inputs[0])
        return (np.array([len(tickets), tickets[0].channels, tickets[0].height, tickets[0].width], dtype=np.int64),)
