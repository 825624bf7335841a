"""ArgMax over the channels of a map: its indices become a map of one channel, and then whole numbers.

ArgMax(axis 1)                             ->  ArgMax as float32 [N, 1, H, W], Cast to int64
Transpose(NCHW -> NHWC), ArgMax(last axis) ->  the same, Transpose(NCHW -> NHWC)

Without `keepdims` a Squeeze follows in place of that Transpose. float32 holds every index: channels are far fewer than
2^24.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from rrm_onnx.common import free_name
from rrm_onnx.normalise.tools import producer, retire
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN, TO_NHWC


def split_arg_max(graph: gs.Graph, opset: int) -> None:
    """Rewrite every ArgMax over channels as one of the composite domain, whose output is float32, and a Cast."""
    for node in list(graph.nodes):
        if node.op == "ArgMax" and node.outputs and node.inputs[0].shape is not None:
            split(graph, node, opset)


def split(graph: gs.Graph, node: gs.Node, opset: int) -> None:
    x, axis = node.inputs[0], int(node.attrs.get("axis", 0))
    before = producer(x)
    turned = before is not None and before.op == "Transpose" and list(before.attrs.get("perm", ())) == TO_NHWC
    if x.dtype != np.float32 or len(x.shape) != 4 or axis % 4 != (3 if turned else 1):
        return
    if before is not None and turned:
        x = before.inputs[0]
    name, end = node.name, node.outputs[0]
    kept, last = int(node.attrs.get("keepdims", 1)), int(node.attrs.get("select_last_index", 0))
    retire(node)
    node.name = f"{name}/replaced"
    shape = None if x.shape is None else [n if i != 1 else 1 for i, n in enumerate(x.shape)]

    def add(op: str, inputs: list[gs.Tensor], output: gs.Tensor, domain: str | None = None, **attrs: Any) -> gs.Tensor:
        made = name if op == "ArgMax" else f"{name}/{op}"
        graph.nodes.append(gs.Node(op, made, attrs, inputs, [output], domain))
        return output

    def tensor(role: str, dtype: Any) -> gs.Variable:
        return gs.Variable(free_name(f"{name}/{role}", graph.tensors()), dtype, shape)

    best = add("ArgMax", [x], tensor("index", np.float32), COMPOSITE_DOMAIN, select_last_index=last)
    plain = bool(kept) and not turned
    whole = add("Cast", [best], end if plain else tensor("int64", np.int64), to=TensorProto.INT64)
    if kept and turned:
        add("Transpose", [whole], end, perm=TO_NHWC)
    elif not kept and opset >= 13:
        add("Squeeze", [whole, gs.Constant(f"{name}/axis", np.array([1], np.int64))], end)
    elif not kept:
        add("Squeeze", [whole], end, axes=[1])
