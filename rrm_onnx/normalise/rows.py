"""Detection heads: maps flattened, joined over sites and turned into one row a site.

    Transpose(0,2,1)(Concat(axis=2)(Reshape[N,C,-1](x1), ...))
    = Concat(axis=1)(Reshape[N,-1,C](Transpose(0,2,3,1)(x1)), ...)

Only data is moved, so the two are equal in every bit. The rows of resident maps lie in the order of the right side: its
Transposes are taken in by the border, and the turn over all sites at the end is gone.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import free_name
from rrm_onnx.normalise.layout import TO_NHWC, permutation
from rrm_onnx.normalise.tools import is_sole_reader, producer, replace, static_shape, values_of


def turn_rows(graph: gs.Graph, opset: int) -> None:
    """Rewrite every place of the pattern, with or without the Concat."""
    for node in list(graph.nodes):
        if permutation(node) != [0, 2, 1] or not node.outputs:
            continue
        before = producer(node.inputs[0])
        if before is None or not is_sole_reader(graph, node, before.outputs[0]):
            continue
        joined = before.op == "Concat" and before.attrs.get("axis") in (2, -1)
        flattened = [producer(t) for t in before.inputs] if joined else [before]
        if not all(is_flattened(graph, r, before if joined else node) for r in flattened):
            continue
        rows = [turned(graph, r) for r in flattened if r is not None]
        if joined:
            replace(graph, node, "Concat", rows, {"axis": 1})
        else:
            turn = producer(rows[0])
            assert turn is not None
            shape = turn.inputs[1]
            replace(graph, node, "Reshape", [turn.inputs[0], shape])


def is_flattened(graph: gs.Graph, node: gs.Node | None, reader: gs.Node) -> bool:
    """Whether node is Reshape [N, C, H, W] -> [N, C, H * W] with known C, and read by `reader` alone."""
    if node is None or node.op != "Reshape" or node.attrs.get("allowzero", 0):
        return False
    if not is_sole_reader(graph, reader, node.outputs[0]):
        return False
    shape, before = values_of(node.inputs[1]), node.inputs[0].shape
    if shape is None or shape.shape != (3,) or before is None or len(before) != 4:
        return False
    batch, channels, sites = (int(v) for v in shape)
    whole = static_shape(node.inputs[0])
    same_batch = batch == 0 or batch == before[0]
    return (
        same_batch and channels == before[1] and (sites == -1 or (whole is not None and sites == whole[2] * whole[3]))
    )


def turned(graph: gs.Graph, reshape: gs.Node) -> gs.Tensor:
    """Reshape[N,-1,C](Transpose(0,2,3,1)(x)) for a Reshape[N,C,-1](x)."""
    x = reshape.inputs[0]
    batch, channels, sites = (int(v) for v in np.asarray(reshape.inputs[1].values))
    tensors = graph.tensors()
    shape = None if x.shape is None else [x.shape[p] for p in TO_NHWC]
    last = gs.Variable(free_name(f"{reshape.name}/last", tensors), x.dtype, shape)
    rows = gs.Variable(free_name(f"{reshape.name}/rows", tensors), x.dtype, None)
    to = gs.Constant(free_name(f"{reshape.name}/to", tensors), np.array([batch, sites, channels], np.int64))
    graph.nodes.append(gs.Node("Transpose", f"{reshape.name}/Transpose", {"perm": TO_NHWC}, [x], [last]))
    graph.nodes.append(gs.Node("Reshape", f"{reshape.name}/Reshape", {}, [last, to], [rows]))
    return rows
