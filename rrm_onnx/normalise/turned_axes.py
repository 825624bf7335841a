"""Pad and Slice of a map that is turned to NHWC, as they are written for NCHW: only their axes have other numbers."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from rrm_onnx.normalise.line_rules import Widened, absent, pad_axes, pads_of, put, sliced
from rrm_onnx.ops.composite import TO_NCHW


def in_nchw(node: gs.Node) -> Widened | None:
    """What changes of the node; None where its parameters are computed, or for other operators."""
    if node.op == "Pad":
        return pads(node)
    return sliced(node, of_nchw) if node.op == "Slice" else None


def of_nchw(axis: int) -> int:
    """An axis of NHWC as one of NCHW."""
    return TO_NCHW.index(axis % 4)


def pads(node: gs.Node) -> Widened | None:
    values = pads_of(node)
    if values is None:
        return None
    if not absent(node, 3):
        return pad_axes(node, of_nchw)
    return put(node, "pads", 1, [values[half + p] for half in (0, 4) for p in TO_NCHW]) if len(values) == 8 else None
