"""Squeeze-excite branches: vectors as 1x1 maps, and the gate's sum in one factor.

Fully connected layers on a pooled map, GlobalAveragePool -> Reshape [N, C] -> Gemm -> ... -> Reshape [N, M, 1, 1],
become 1x1 convolutions on the pooled map: nothing leaves its layout.
x + x * g with a 1x1 map g becomes x * (g + 1): one pass over the large map instead of two.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.common import free_name
from rrm_onnx.normalise.tools import is_sole_reader, producer, replace, retire, values_of

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
UNARY = ("Relu", "Sigmoid", "HardSigmoid", "Clip", "LeakyRelu", "Tanh", "HardSwish", "Silu", "Elu", "Gelu")
DEEPEST = 16  # nodes between the two Reshapes


def lift_points(graph: gs.Graph, opset: int) -> None:
    """Rewrite both forms, wherever they stand."""
    for node in list(graph.nodes):
        if node.op in RESHAPES and node.outputs and is_point(node.outputs[0]) and not is_point(node.inputs[0]):
            lift_branch(graph, node)
    for node in list(graph.nodes):
        if node.op == "Add" and node.outputs:
            join_sum(graph, node)


def is_point(tensor: gs.Tensor) -> bool:
    """A map [N, C, 1, 1] with a known number of channels."""
    shape = tensor.shape
    return shape is not None and len(shape) == 4 and isinstance(shape[1], int) and list(shape[2:]) == [1, 1]


def lift_branch(graph: gs.Graph, root: gs.Node) -> None:
    """`root` turns a vector into a 1x1 map: compute that map from the 1x1 map that the vector came from."""
    if any(root.outputs[0] is o for o in graph.outputs) or not liftable(root.inputs[0], DEEPEST):
        return
    after, before = root.outputs[0].shape, root.inputs[0].shape
    if after is None or before is None or list(after[:2]) != list(before[:2]):  # it moves channels
        return
    lifted: dict[str, gs.Tensor] = {}
    point = lift(graph, root.inputs[0], lifted)
    output = root.outputs[0]
    for reader in list(output.outputs):
        reader.inputs = [point if t is output else t for t in reader.inputs]
    retire(root)


def liftable(vector: gs.Tensor, depth: int) -> bool:
    """Whether a vector [N, C] comes from a 1x1 map through layers that `lift` knows."""
    node = producer(vector)
    if node is None or not depth or vector.dtype != np.float32 or vector.shape is None or len(vector.shape) != 2:
        return False
    if node.op in RESHAPES:
        return is_point(node.inputs[0]) and node.inputs[0].shape[1] == vector.shape[1]
    if node.op in UNARY:
        return all(isinstance(t, gs.Constant) or t.is_empty() for t in node.inputs[1:]) and liftable(
            node.inputs[0], depth - 1
        )
    if node.op in ("Mul", "Add") and not any(isinstance(t, gs.Constant) for t in node.inputs):
        return all(liftable(t, depth - 1) for t in node.inputs)
    return dense_layer(node) is not None and liftable(node.inputs[0], depth - 1)


def dense_layer(node: gs.Node) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """(W [M, K], b [M]) of a Gemm or MatMul with constant float32 weights."""
    weight = values_of(node.inputs[1]) if node.op in ("Gemm", "MatMul") else None
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32 or int(node.attrs.get("transA", 0)):
        return None
    if node.op == "MatMul":
        return weight.T, np.zeros(weight.shape[1], np.float32)
    weight = weight if int(node.attrs.get("transB", 0)) else weight.T
    weight = np.float32(node.attrs.get("alpha", 1.0)) * weight
    if len(node.inputs) < 3 or node.inputs[2].is_empty():
        return weight, np.zeros(weight.shape[0], np.float32)
    bias = values_of(node.inputs[2])
    if bias is None or not (bias.size == 1 or bias.size == weight.shape[0] == bias.shape[-1]):
        return None
    full = np.broadcast_to(np.float32(node.attrs.get("beta", 1.0)) * bias.reshape(-1), weight.shape[:1])
    return weight, np.ascontiguousarray(full)


def lift(graph: gs.Graph, vector: gs.Tensor, lifted: dict[str, gs.Tensor]) -> gs.Tensor:
    """The 1x1 map with the values of a vector; its nodes are added to the graph, the vector's stay for others."""
    if vector.name in lifted:
        return lifted[vector.name]
    node = producer(vector)
    assert node is not None
    if node.op in RESHAPES:
        return node.inputs[0]
    layer = dense_layer(node)
    op, attrs, domain = (node.op, dict(node.attrs), node.domain) if layer is None else ("Conv", {}, None)
    if layer is None:
        inputs = [t if isinstance(t, gs.Constant) or t.is_empty() else lift(graph, t, lifted) for t in node.inputs]
    else:
        weight, bias = layer
        parts = {"weight": np.ascontiguousarray(weight[:, :, None, None]), "bias": bias}
        constants = [gs.Constant(free_name(f"{node.name}/{k}", graph.tensors()), v) for k, v in parts.items()]
        inputs = [lift(graph, node.inputs[0], lifted), *constants]
        attrs = {"kernel_shape": [1, 1]}
    shape = [vector.shape[0], vector.shape[1], 1, 1]
    point = gs.Variable(free_name(f"{vector.name}/point", graph.tensors()), np.dtype(np.float32), shape)
    names = {n.name for n in graph.nodes}
    graph.nodes.append(gs.Node(op, free_name(f"{node.name}/point", names), attrs, inputs, [point], domain))
    lifted[vector.name] = point
    return point


def join_sum(graph: gs.Graph, node: gs.Node) -> None:
    """x + x * g -> x * (g + 1)."""
    for x, product in (tuple(node.inputs), tuple(node.inputs)[::-1]):
        mul = producer(product)
        if mul is None or mul.op != "Mul" or not is_sole_reader(graph, node, product) or x.dtype != np.float32:
            continue
        gates = [t for t in mul.inputs if t is not x]
        if len(gates) != 1 or isinstance(gates[0], gs.Constant) or not is_point(gates[0]):
            continue
        one = gs.Constant(free_name(f"{node.name}/one", graph.tensors()), np.ones(1, np.float32))
        raised = gs.Variable(free_name(f"{node.name}/gate", graph.tensors()), np.dtype(np.float32), gates[0].shape)
        graph.nodes.append(
            gs.Node("Add", free_name(f"{node.name}/gate", {n.name for n in graph.nodes}), {}, [gates[0], one], [raised])
        )
        replace(graph, node, "Mul", [x, raised])
        return
