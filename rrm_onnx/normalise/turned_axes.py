"""Pad and Slice of a map that is turned to NHWC, as they are written for NCHW: only their axes have other numbers."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.normalise.line_rules import Widened, absent, given, put
from rrm_onnx.ops.composite import TO_NCHW


def in_nchw(node: gs.Node) -> Widened | None:
    """What changes of the node; None where its parameters are computed, or for other operators."""
    if node.op == "Pad":
        return pads(node)
    return slices(node) if node.op == "Slice" else None


def moved(axes: list[int]) -> list[int]:
    """Axes of NHWC as those of NCHW."""
    return [TO_NCHW.index(int(a) % 4) for a in axes]


def pads(node: gs.Node) -> Widened | None:
    values = given(node, "pads", 1)
    if values is None or not (absent(node, 2) or isinstance(node.inputs[2], gs.Constant)):
        return None
    if not absent(node, 3):
        axes = given(node, "axes", 3)
        return None if axes is None else Widened({}, {3: np.array(moved(axes), np.int64)})
    return put(node, "pads", 1, [values[half + p] for half in (0, 4) for p in TO_NCHW]) if len(values) == 8 else None


def slices(node: gs.Node) -> Widened | None:
    starts, axes = given(node, "starts", 1), given(node, "axes", 3)
    steps = [] if absent(node, 4) else given(node, "steps", 4)
    if starts is None or given(node, "ends", 2) is None or steps is None or (axes is None and not absent(node, 3)):
        return None
    named = moved(list(range(len(starts))) if axes is None else axes)
    return Widened({"axes": named}) if "starts" in node.attrs else Widened({}, {3: np.array(named, np.int64)})
