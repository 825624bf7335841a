"""What works on the last axis of a map that is turned to NHWC works on the channels of the map itself.

Transpose(NCHW -> NHWC), f over the last axis  ->  f over the channels, Transpose(NCHW -> NHWC)

for f = Softmax, LogSoftmax, LayerNormalization. The Transpose then stands behind f, where it cancels against the one
back, moves on, or becomes part of an Exit (layout.py). Over the channels they are operators of `COMPOSITE_DOMAIN`:
elsewhere an axis of LayerNormalization, and of Softmax before opset 13, stands for itself and all behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import free_name, sole_reader
from rrm_onnx.normalise.tools import retire, values_of
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
    return False


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
