"""One spelling for operators that have several: pooling as reduction, clipping as Min and Max, a part of a Shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import free_name
from rrm_onnx.normalise.tools import (
    clip_parts,
    clip_range,
    is_sole_reader,
    producer,
    replace,
    static_shape,
    values_of,
    with_scalar,
)


def respell(graph: gs.Graph, opset: int) -> None:
    """Rewrite in place; each step leaves the function as it is."""
    for node in list(graph.nodes):
        if node.op in ("ReduceMean", "ReduceMax"):
            global_pool(graph, node)
        elif node.op in ("Min", "Max"):
            clip(graph, node, opset)
        elif node.op == "Shape" and ("start" in node.attrs or "end" in node.attrs):
            cut_shape(graph, node)
    for node in list(graph.nodes):
        if node.op == "Clip" and node.outputs:
            merge_clips(graph, node, opset)


def global_pool(graph: gs.Graph, node: gs.Node) -> None:
    """Reduction of a map over H and W -> GlobalAveragePool, GlobalMaxPool; with a Flatten where it drops the axes."""
    global_pool_of_line(graph, node)
    x = node.inputs[0]
    if x.dtype != np.float32 or x.shape is None or len(x.shape) != 4:
        return
    if reduced_axes(node) != [2, 3]:
        return
    op = "GlobalAveragePool" if node.op == "ReduceMean" else "GlobalMaxPool"
    if int(node.attrs.get("keepdims", 1)):
        replace(graph, node, op, [x])
        return
    name = node.name
    point = gs.Variable(free_name(f"{name}/point", graph.tensors()), x.dtype, [*x.shape[:2], 1, 1])
    flat = replace(graph, node, "Flatten", [point], {"axis": 1})
    flat.name = free_name(f"{name}/Flatten", {n.name for n in graph.nodes})
    graph.nodes.append(gs.Node(op, name, {}, [x], [point]))


def global_pool_of_line(graph: gs.Graph, node: gs.Node) -> None:
    """Reduction over H and W as one axis, [N, C, 1, H*W] -> over both."""
    line = node.inputs[0]
    before, shape = producer(line), static_shape(line)
    source = static_shape(before.inputs[0]) if before is not None and before.op == "Reshape" else None
    if source is None or shape is None or len(source) != 4 or shape != (*source[:2], 1, source[2] * source[3]):
        return
    if line.dtype != np.float32:
        return
    if before is not None and reduced_axes(node) == [3] and int(node.attrs.get("keepdims", 1)):
        node.inputs, node.attrs = [before.inputs[0]], {"axes": [2, 3]}


def reduced_axes(node: gs.Node) -> list[int] | None:
    """The axes of a reduction of rank 4; None where they are computed, or all of them."""
    axes: Any = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1:
        axes = values_of(node.inputs[1])
    return None if axes is None else sorted(int(a) % 4 for a in np.asarray(axes).ravel())


def cut_shape(graph: gs.Graph, node: gs.Node) -> None:
    """Shape with start and end (opset 15) -> Slice of a whole Shape: a map need not leave its region for that."""
    name, x = node.name, node.inputs[0]
    start, end = int(node.attrs.get("start", 0)), int(node.attrs.get("end", np.iinfo(np.int64).max))
    whole = gs.Variable(free_name(f"{name}/whole", graph.tensors()), np.dtype(np.int64))
    bounds = [gs.Constant(f"{name}/{k}", np.array([v], np.int64)) for k, v in (("start", start), ("end", end))]
    part = replace(graph, node, "Slice", [whole, *bounds])
    part.name = free_name(f"{name}/Slice", {n.name for n in graph.nodes})
    graph.nodes.append(gs.Node("Shape", name, {}, [x], [whole]))


def clip(graph: gs.Graph, node: gs.Node, opset: int) -> None:
    """Min or Max with a constant -> Clip."""
    constant = with_scalar(node)
    if constant is None or constant[0].dtype != np.float32:
        return
    x, value, _ = constant
    low, high = (-np.inf, value) if node.op == "Min" else (value, np.inf)
    inputs, attrs = clip_parts(node.name, low, high, opset)
    replace(graph, node, "Clip", [x, *inputs], attrs)


def merge_clips(graph: gs.Graph, node: gs.Node, opset: int) -> None:
    """Clip of a Clip (or of a Relu) that nothing else reads -> one Clip."""
    first = producer(node.inputs[0])
    if first is None or first.op not in ("Clip", "Relu") or first.inputs[0].dtype != np.float32:
        return
    outer, inner = clip_range(node), clip_range(first)
    if outer is None or inner is None or not is_sole_reader(graph, node, first.outputs[0]):
        return
    low, high = (min(max(v, outer[0]), outer[1]) for v in inner)
    inputs, attrs = clip_parts(node.name, low, high, opset)
    replace(graph, node, "Clip", [first.inputs[0], *inputs], attrs)
