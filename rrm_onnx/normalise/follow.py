"""Operators that follow when the channels of a map that they read stand in another order."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.normalise.affine import per_channel
from rrm_onnx.normalise.forward import set_weights
from rrm_onnx.normalise.tools import producer, values_of
from rrm_onnx.normalise.views import is_map

# The same function of every channel, whatever further inputs and attributes they have: each row is read once, or, in
# windows, several times.
PER_ROW = {
    *("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Softplus"),
    *("Silu", "Mish", "Gelu", "GlobalAveragePool", "GlobalMaxPool"),
}
WINDOWS = {"MaxPool", "AveragePool", "Resize"}
# With a constant for each channel, or one for all.
ARITHMETIC = {"Add", "Sub", "Mul", "Div", "PRelu"}


def followed(graph: gs.Graph, views: set[int]) -> set[int]:
    """The ids of the maps whose channels may stand in any order: all that read them follow, and none is an output.
    `views`: ids of nodes that only pick channels; which ones is nothing to them."""
    own = {id(n) for n in graph.nodes}
    outputs = {id(t) for t in graph.outputs}
    free: set[int] = set()
    for node in reversed(graph.nodes):
        for tensor in node.outputs:
            readers = list(tensor.outputs)
            fits = is_map(tensor) and id(tensor) not in outputs and all(id(r) in own for r in readers)
            if fits and all(id(r) in views or follows(r, tensor, free) for r in readers):
                picked = [t for r in readers if id(r) in views for t in r.outputs]
                if all(id(t) in free for t in picked):
                    free.add(id(tensor))
    return free


def follows(node: gs.Node, tensor: gs.Tensor, free: set[int]) -> bool:
    """Whether a node that reads a map with other channels can be changed to give what it did, in another order where
    that is free."""
    if node.op == "Conv":
        kind = conv_kind(node)
        return node.inputs[0] is tensor and (kind == "full" or (kind == "depthwise" and id(node.outputs[0]) in free))
    if len(node.outputs) != 1 or id(node.outputs[0]) not in free or node.outputs[0].shape[1] != tensor.shape[1]:
        return False
    if node.op in ARITHMETIC:
        return side_of(node) is not None and moved(node, np.arange(int(tensor.shape[1]))) is not None
    return (node.op in PER_ROW or node.op in WINDOWS) and node.inputs[0] is tensor


def conv_kind(node: gs.Node) -> str:
    """full: every output reads every channel; depthwise: each reads its own; else nothing that can follow."""
    weight = values_of(node.inputs[1])
    computed = any(not isinstance(t, gs.Constant) and not t.is_empty() for t in node.inputs[1:])
    if weight is None or computed or weight.ndim != 4 or weight.dtype != np.float32:
        return ""
    group = int(node.attrs.get("group", 1))
    if group == 1:
        return "full"
    return "depthwise" if weight.shape[:2] == (group, 1) else ""


def follow(node: gs.Node, orders: dict[int, NDArray[np.int64]]) -> None:
    """Change a node for the orders of what it reads by now, and note that of its output."""
    moving = [t for t in node.inputs if id(t) in orders]
    if not moving:
        return
    order = orders[id(moving[0])]
    if node.op == "Conv" and conv_kind(node) == "full":
        set_weights(node, node.inputs[0], np.asarray(values_of(node.inputs[1]))[:, order])
        return
    if node.op == "Conv":
        give(node, order)
    elif node.op in ARITHMETIC:
        side = side_of(node)
        constant = moved(node, order)
        assert side is not None and constant is not None
        node.inputs[side] = gs.Constant(f"{node.name}/ordered", constant)
    orders[id(node.outputs[0])] = order


def giver(tensor: gs.Tensor, free: set[int]) -> gs.Node | None:
    """The convolution that can give a map's channels in another order; what stands between passes it on."""
    while id(tensor) in free:
        node = producer(tensor)
        if node is None:
            return None
        if node.op == "Conv":
            return node if conv_kind(node) == "full" else None
        if node.op not in PER_ROW and node.op != "PRelu":
            return None
        tensor = node.inputs[0]
    return None


def give(conv: gs.Node, order: NDArray[np.int64]) -> None:
    """Put a convolution's output channels in another order."""
    bias = values_of(conv.inputs[2]) if len(conv.inputs) > 2 and not conv.inputs[2].is_empty() else None
    weight = np.asarray(values_of(conv.inputs[1]))
    set_weights(conv, conv.inputs[0], weight[order], None if bias is None else bias[order])


def side_of(node: gs.Node) -> int | None:
    """The constant among the two operands."""
    sides = [i for i, t in enumerate(node.inputs) if isinstance(t, gs.Constant)]
    return sides[0] if len(node.inputs) == 2 and len(sides) == 1 else None


def moved(node: gs.Node, order: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """The constant operand for channels in that order; None where it is more than a value for each channel."""
    side = side_of(node)
    values = None if side is None else values_of(node.inputs[side])
    channels = None if values is None else per_channel(values, len(order))
    if values is None or channels is None:
        return None
    return values if values.size == 1 else np.ascontiguousarray(channels[order]).reshape(values.shape)
