"""What works on the last axis of a map that is turned to NHWC works on the channels of the map itself.

Transpose(NCHW -> NHWC), f over the last axis  ->  f over the channels, Transpose(NCHW -> NHWC)

for f = Softmax, LogSoftmax, LayerNormalization, and for MatMul with a constant matrix, or a Gemm between a Reshape to
one row a site and the Reshape back: both become a 1x1 convolution. The Transpose then stands behind f, where it cancels
against the one back, moves on, or becomes part of an Exit (layout.py).

Over the channels the first three are operators of `COMPOSITE_DOMAIN`: elsewhere an axis of LayerNormalization, and of
Softmax before opset 13, stands for itself and all behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import free_name, sole_reader
from rrm_onnx.normalise.tools import retire, static_shape, values_of
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN

TO_NHWC, TO_NWHC = [0, 2, 3, 1], [0, 3, 2, 1]


def over_channels(graph: gs.Graph, transpose: gs.Node, opset: int) -> bool:
    """Swap a Transpose and the operator over the last axis that alone reads it; False where there is none."""
    reader = sole_reader(graph, transpose.outputs[0])
    if reader is None or not reader.outputs or not turns_channels_last(graph, transpose, reader):
        return False
    if reader.op in ("Softmax", "LogSoftmax"):
        return swap_softmax(graph, transpose, reader, opset)
    if reader.op == "LayerNormalization":
        return swap_layer_norm(graph, transpose, reader)
    if reader.op == "MatMul":
        return swap_matmul(graph, transpose, reader)
    return reader.op == "Reshape" and swap_gemm(graph, transpose, reader)


def swap_softmax(graph: gs.Graph, transpose: gs.Node, node: gs.Node, opset: int) -> bool:
    axis = int(node.attrs.get("axis", -1 if opset >= 13 else 1))
    if node.domain == COMPOSITE_DOMAIN or axis % 4 != 3:
        return False
    swap(graph, transpose, node, node.op)
    return True


def swap_layer_norm(graph: gs.Graph, transpose: gs.Node, node: gs.Node) -> bool:
    """ONNX's own, or one that layer_norm.py made of its parts."""
    x, parameters = node.inputs[0], [values_of(t) for t in node.inputs[1:]]
    if int(node.attrs.get("axis", -1)) % 4 != 3 or len(node.outputs) > 1 or x.dtype != np.float32:
        return False
    if any(p is None or p.dtype != np.float32 or p.ndim != 1 for p in parameters):
        return False
    more = list(node.inputs[1:])
    if len(more) == 1:
        more.append(gs.Constant(f"{node.name}/bias", np.zeros_like(parameters[0])))
    swap(graph, transpose, node, node.op, more, {"axis": 1, "epsilon": float(node.attrs.get("epsilon", 1e-5))})
    return True


def swap_matmul(graph: gs.Graph, transpose: gs.Node, node: gs.Node) -> bool:
    """x @ W with W [C, M] -> Conv with weights [M, C, 1, 1]."""
    w = values_of(node.inputs[1])
    if node.inputs[0] is not transpose.outputs[0] or w is None or w.ndim != 2 or w.dtype != np.float32:
        return False
    weight = gs.Constant(f"{node.name}/weight", np.ascontiguousarray(w.T)[:, :, None, None])
    swap(graph, transpose, node, "Conv", [weight], {"kernel_shape": [1, 1]}, domain="", channels=w.shape[1])
    return True


def swap_gemm(graph: gs.Graph, transpose: gs.Node, rows: gs.Node) -> bool:
    """Reshape [N, H, W, C] -> [N H W, C], Gemm with constants, Reshape -> [N, H, W, M]: what onnxruntime makes of
    MatMul and Add. The convolution gets the name of the Gemm."""
    gemm = sole_reader(graph, rows.outputs[0])
    back = sole_reader(graph, gemm.outputs[0]) if gemm is not None and gemm.op == "Gemm" and gemm.outputs else None
    constants = gemm_constants(gemm) if gemm is not None and gemm.op == "Gemm" else None
    if gemm is None or back is None or constants is None or back.op != "Reshape" or not back.outputs:
        return False
    m = len(constants[0].values)
    before, flat, after = (static_shape(t) for t in (rows.inputs[0], rows.outputs[0], back.outputs[0]))
    if gemm.inputs[0] is not rows.outputs[0] or before is None or flat is None:
        return False
    if flat[1:] != before[3:] or after != (*before[:3], m):
        return False
    back.name, gemm.name = gemm.name, f"{gemm.name}/replaced"
    swap(graph, transpose, back, "Conv", constants, {"kernel_shape": [1, 1]}, domain="", channels=m)
    return True


def gemm_constants(gemm: gs.Node) -> list[gs.Constant] | None:
    """Weights [M, C, 1, 1], and bias [M] where there is one, of a Gemm x @ W + b; None for another."""
    w = values_of(gemm.inputs[1])
    plain = all(float(gemm.attrs.get(k, v)) == v for k, v in (("alpha", 1), ("beta", 1), ("transA", 0)))
    if w is None or w.dtype != np.float32 or not plain:
        return None
    w = w if int(gemm.attrs.get("transB", 0)) else w.T
    found = [gs.Constant(f"{gemm.name}/weight", np.ascontiguousarray(w)[:, :, None, None])]
    if len(gemm.inputs) > 2 and not gemm.inputs[2].is_empty():
        bias = values_of(gemm.inputs[2])
        if bias is None or not (bias.size == 1 or bias.size == len(w) == bias.shape[-1]):
            return None
        found.append(gs.Constant(f"{gemm.name}/bias", np.broadcast_to(bias.reshape(-1), len(w)).copy()))
    return found


def turns_channels_last(graph: gs.Graph, transpose: gs.Node, reader: gs.Node) -> bool:
    """Whether it turns NCHW to NHWC; or to NWHC, where a Transpose back stands behind the reader."""
    perm = list(transpose.attrs.get("perm", ()))
    if perm == TO_NHWC:
        return True
    back = sole_reader(graph, reader.outputs[0])
    return perm == TO_NWHC and back is not None and list(back.attrs.get("perm", ())) == TO_NWHC


def swap(
    graph: gs.Graph,
    transpose: gs.Node,
    reader: gs.Node,
    op: str,
    more: Sequence[gs.Tensor] = (),
    attrs: dict[str, Any] | None = None,
    domain: str = COMPOSITE_DOMAIN,
    channels: int | None = None,
) -> None:
    """`op`, with the name of `reader`, on the Transpose's input and `more`, then the Transpose.

    channels: how many `op` gives, where they are others than its input's.
    """
    x, end = transpose.inputs[0], reader.outputs[0]
    shape = None if x.shape is None else [n if i != 1 or channels is None else channels for i, n in enumerate(x.shape)]
    inner = gs.Variable(free_name(f"{reader.name}/moved", graph.tensors()), end.dtype, shape)
    name = reader.name
    retire(reader)
    reader.name = f"{name}/replaced"
    graph.nodes.append(gs.Node(op, name, dict(attrs or {}), [x, *more], [inner], domain))
    transpose.inputs, transpose.outputs = [inner], [end]
