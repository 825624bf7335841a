"""The "focus" layer of YOLO networks: strided slices of one map, joined over channels.

Concat over (oy, ox) of x[:, :, oy::b, ox::b]  ->  SpaceToDepth(b), then Gather of the channels in the order of the
slices. Newer versions of onnxruntime do the same themselves (fold.py).
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import free_name
from rrm_onnx.normalise.tools import producer, replace, static_shape, values_of


def join_focus(graph: gs.Graph, opset: int) -> None:
    """Rewrite every such Concat; needs static shapes that the block divides."""
    for node in list(graph.nodes):
        if node.op == "Concat" and int(node.attrs.get("axis", 1)) in (1, -3):
            join(graph, node)


def join(graph: gs.Graph, node: gs.Node) -> None:
    parts = [strided(t) for t in node.inputs]
    first = parts[0]
    if first is None or any(p is None or p[0] is not first[0] or p[1] != first[1] for p in parts):
        return
    x, block, _ = first
    shape = static_shape(x)
    if shape is None or len(shape) != 4 or shape[2] % block or shape[3] % block or x.dtype != np.float32:
        return
    n, c, h, w = shape
    order = [(oy * block + ox) * c + k for p in parts if p is not None for oy, ox in [p[2]] for k in range(c)]
    deep = gs.Variable(
        free_name(f"{node.name}/deep", graph.tensors()), x.dtype, [n, c * block**2, h // block, w // block]
    )
    name = free_name(f"{node.name}/SpaceToDepth", {m.name for m in graph.nodes})
    graph.nodes.append(gs.Node("SpaceToDepth", name, {"blocksize": block}, [x], [deep]))
    indices = gs.Constant(free_name(f"{node.name}/channels", graph.tensors()), np.array(order, np.int64))
    replace(graph, node, "Gather", [deep, indices], {"axis": 1})


def strided(tensor: gs.Tensor) -> tuple[gs.Tensor, int, tuple[int, int]] | None:
    """(x, block, (oy, ox)) where tensor = x[:, :, oy::block, ox::block], through one or several Slices."""
    begin, step = {2: 0, 3: 0}, {2: 1, 3: 1}
    node = producer(tensor)
    while node is not None and node.op == "Slice" and len(node.inputs) == 5:
        starts, ends, axes, steps = (values_of(t) for t in node.inputs[1:])
        shape = static_shape(node.inputs[0])
        if starts is None or ends is None or axes is None or steps is None or shape is None or len(shape) != 4:
            return None
        for start, end, axis, by in zip(starts, ends, axes, steps, strict=True):
            a = int(axis) % 4
            # Each axis once, from a start within the block to the end.
            if a not in step or step[a] != 1 or by < 2 or not 0 <= start < by or end < shape[a]:
                return None
            begin[a], step[a] = int(start), int(by)
        tensor = node.inputs[0]
        node = producer(tensor)
    return (tensor, step[2], (begin[2], begin[3])) if step[2] == step[3] > 1 else None
