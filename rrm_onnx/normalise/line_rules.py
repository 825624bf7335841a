"""How operators with axes are written on maps of height 1 in place of lines: [N, C, 1, L] for [N, C, L].

The channels keep their axis, the length becomes axis 3. A rule answers None where the operator would not be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.common import free_name
from rrm_onnx.normalise.tools import values_of

HEIGHT, WIDTH = 2, 3
MOVED = {0: 0, 1: 1, 2: WIDTH}


@dataclass(frozen=True)
class Widened:
    """What changes of a node: attributes, and constants by the index of their input."""

    attrs: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[int, NDArray[Any]] = field(default_factory=dict)


def widened(node: gs.Node, opset: int) -> Widened | None:
    """The change for an operator of RULES."""
    rule = RULES.get(node.op)
    return None if rule is None else rule(node, opset)


def given(node: gs.Node, name: str, index: int) -> list[Any] | None:
    """A parameter from attribute `name` or the constant input `index`; None where it is absent or computed."""
    if name in node.attrs:
        return list(np.ravel(node.attrs[name]))
    values = values_of(node.inputs[index]) if index < len(node.inputs) else None
    return None if values is None else list(values.ravel())


def put(node: gs.Node, name: str, index: int, values: Sequence[Any], dtype: Any = np.int64) -> Widened:
    """A parameter back to where it came from."""
    if name in node.attrs:
        return Widened({name: list(values)})
    return Widened({}, {index: np.array(values, dtype)})


def absent(node: gs.Node, index: int) -> bool:
    return index >= len(node.inputs) or node.inputs[index].is_empty()


def sliced(node: gs.Node, number: Callable[[int], int]) -> Widened | None:
    """Slice, its axes with other numbers; they may be left out where they are the first ones."""
    starts = given(node, "starts", 1)
    steps = [] if absent(node, 4) else given(node, "steps", 4)
    if starts is None or given(node, "ends", 2) is None or steps is None:
        return None
    axes = given(node, "axes", 3)
    if axes is None and not absent(node, 3):
        return None
    moved = [number(int(a)) for a in (range(len(starts)) if axes is None else axes)]
    return Widened({"axes": moved}) if "starts" in node.attrs else Widened({}, {3: np.array(moved, np.int64)})


def pads_of(node: gs.Node) -> list[Any] | None:
    """What Pad adds, where that and the value it adds are constants."""
    return given(node, "pads", 1) if absent(node, 2) or isinstance(node.inputs[2], gs.Constant) else None


def pad_axes(node: gs.Node, number: Callable[[int], int]) -> Widened | None:
    """The axes of Pad (opset 18) with other numbers."""
    axes = given(node, "axes", 3)
    return None if axes is None else Widened({}, {3: np.array([number(int(a)) for a in axes], np.int64)})


def of_map(axis: int) -> int:
    """An axis of a line as one of the map."""
    return MOVED[axis % 3]


def cut(node: gs.Node, opset: int) -> Widened | None:
    return sliced(node, of_map)


def reduced(node: gs.Node, opset: int) -> Widened | None:
    """Over the length, which is height and width then, or over the channels."""
    axes = given(node, "axes", 1)
    over = None if axes is None else sorted(int(a) % 3 for a in axes)
    if over not in ([1], [2]) or not int(node.attrs.get("keepdims", 1)):
        return None
    return put(node, "axes", 1, [1] if over == [1] else [HEIGHT, WIDTH])


def keep_lengths(graph: gs.Graph, opset: int) -> None:
    """Reductions over the length that drop it keep it, and a Squeeze drops it: what leaves the region is a vector."""
    for node in list(graph.nodes):
        if node.op not in ("ReduceMean", "ReduceMax") or int(node.attrs.get("keepdims", 1)) or not node.outputs:
            continue
        x, line, axes = node.inputs[0], node.outputs[0], given(node, "axes", 1)
        if x.dtype != np.float32 or x.shape is None or len(x.shape) != 3 or not x.inputs or axes not in ([2], [-1]):
            continue
        kept = gs.Variable(free_name(f"{line.name}/kept", graph.tensors()), line.dtype, [*x.shape[:2], 1])
        node.outputs, node.attrs["keepdims"] = [kept], 1
        name = free_name(f"{node.name}/Squeeze", {n.name for n in graph.nodes})
        dropped = gs.Constant(free_name(f"{name}/axes", graph.tensors()), np.array([2], np.int64))
        inputs, attrs = ([kept, dropped], {}) if opset >= 13 else ([kept], {"axes": [2]})
        graph.nodes.append(gs.Node("Squeeze", name, attrs, inputs, [line]))


def over_channels(node: gs.Node, opset: int) -> Widened | None:
    """Softmax; before opset 13 an axis stands for itself and all behind it."""
    return Widened({"axis": 1}) if opset >= 13 and int(node.attrs.get("axis", -1)) % 3 == 1 else None


def gathered(node: gs.Node, opset: int) -> Widened | None:
    indices = values_of(node.inputs[1])
    if indices is None or indices.ndim != 1 or int(node.attrs.get("axis", 0)) % 3 != 1:
        return None
    return Widened({"axis": 1})


def resized(node: gs.Node, opset: int) -> Widened | None:
    """Resize and Upsample, nearest or linear: the height keeps its one site."""
    attrs = node.attrs
    plain = attrs.get("mode", "nearest") in ("nearest", "linear") and not attrs.get("antialias", 0)
    if not plain or attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    if attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return None
    old = node.op == "Upsample" or opset < 11
    name, index, dtype = (
        ("sizes", 3, np.int64) if not old and not absent(node, 3) else ("scales", 1 if old else 2, np.float32)
    )
    values = given(node, name, index)
    axes = [int(a) % 3 for a in attrs.get("axes", range(3))]
    if values is None or len(values) != len(axes):
        return None
    found = put(node, name, index, [*values, 1] if "axes" in attrs else [*values[:2], 1, *values[2:]], dtype)
    more = {"axes": [*(MOVED[a] for a in axes), HEIGHT]} if "axes" in attrs else {}
    return Widened({**found.attrs, **more}, found.constants)


def padded(node: gs.Node, opset: int) -> Widened | None:
    """Pad with axes (opset 18), which only these change."""
    return None if pads_of(node) is None else pad_axes(node, of_map)


def unchanged(node: gs.Node, opset: int) -> Widened | None:
    """Constants for each channel."""
    return Widened() if all(isinstance(t, gs.Constant) for t in node.inputs[1:]) else None


RULES: Mapping[str, Callable[[gs.Node, int], Widened | None]] = {
    "Slice": cut,
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2"), reduced),
    **dict.fromkeys(("Softmax", "LogSoftmax"), over_channels),
    "Gather": gathered,
    **dict.fromkeys(("Resize", "Upsample"), resized),
    "InstanceNormalization": unchanged,
}
