"""Transposes moved to where a border can take them in.

A network from TensorFlow reads and writes NHWC; what its exporter leaves between the picture and the first Transpose,
or between the last one and the output, is moved to the NCHW side of it: elementwise nodes, Pad and Slice here,
operators over the channels in channels.py.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import free_name, sole_reader
from rrm_onnx.normalise.channels import over_channels
from rrm_onnx.normalise.tools import is_sole_reader, producer, static_shape, values_of
from rrm_onnx.normalise.turned_axes import in_nchw

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
UNARY = {"Cast", "Relu", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "HardSigmoid", "Neg", "Abs", "Exp", "Log", "Sqrt"}
UNARY |= {"Elu", "Erf", "Softplus", "Mish", "Sign", "Silu", "HardSwish", "Gelu"}
BINARY = {"Add", "Sub", "Mul", "Div", "Min", "Max", "Pow"}


def move_transposes(graph: gs.Graph, opset: int) -> None:
    """Reshapes that move nothing but the channel axis become Transposes; then Transposes move outwards and cancel."""
    for node in list(graph.nodes):
        if node.op == "Reshape":
            as_transpose(node)
    changed = True
    while changed:
        changed = False
        for node in list(graph.nodes):
            if node.op == "Transpose" and node.outputs and node.inputs:
                changed |= (
                    cancel(graph, node)
                    or move_up(graph, node)
                    or move_down(graph, node)
                    or over_channels(graph, node, opset)
                )


def permutation(node: gs.Node | None) -> list[int] | None:
    return list(node.attrs.get("perm", ())) if node is not None and node.op == "Transpose" else None


def as_transpose(node: gs.Node) -> None:
    """[N, 1, H, W] -> [N, H, W, 1] and back are Transposes in disguise."""
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if before is None or after is None or len(before) != 4 or len(after) != 4 or before == after:
        return
    n, c, h, w = before
    if c == 1 and after == (n, h, w, 1):
        perm = TO_NHWC
    elif w == 1 and after == (n, 1, c, h):
        perm = TO_NCHW
    else:
        return
    node.op, node.attrs, node.inputs = "Transpose", {"perm": perm}, [node.inputs[0]]


def cancel(graph: gs.Graph, node: gs.Node) -> bool:
    """Transpose of a Transpose with the inverse permutation: read the first one's input instead."""
    first = producer(node.inputs[0])
    outer, inner = permutation(node), permutation(first)
    if first is None or not outer or not inner or [inner[p] for p in outer] != list(range(len(outer))):
        return False
    output = node.outputs[0]
    if any(output is o for o in graph.outputs):
        return False
    x = first.inputs[0]
    for reader in list(output.outputs):
        reader.inputs = [x if t is output else t for t in reader.inputs]
    node.outputs.clear()
    return True


def move_up(graph: gs.Graph, node: gs.Node) -> bool:
    """Transpose(0,3,1,2) of an elementwise node: swap the two, the Transpose comes first."""
    before = producer(node.inputs[0])
    if permutation(node) != TO_NCHW or before is None or not is_sole_reader(graph, node, before.outputs[0]):
        return False
    position = operand(before)
    if position is None:
        return False
    return swap(graph, before, node, position)


def move_down(graph: gs.Graph, node: gs.Node) -> bool:
    """Elementwise node on the NHWC side of Transpose(0,2,3,1): swap the two, the Transpose comes last."""
    if permutation(node) != TO_NHWC:
        return False
    after = sole_reader(graph, node.outputs[0])
    position = operand(after) if after is not None else None
    if after is None or position is None:
        return False
    return swap(graph, node, after, position)


def operand(node: gs.Node) -> int | None:
    """Position of the only computed input of an elementwise node, or of a Pad or Slice; None for other nodes."""
    if node.op in ("Pad", "Slice"):
        return 0 if in_nchw(node) is not None else None
    if node.op in UNARY:
        return 0 if all(isinstance(t, gs.Constant) or t.is_empty() for t in node.inputs[1:]) else None
    if node.op not in BINARY or len(node.inputs) != 2 or node.domain not in (None, ""):
        return None
    computed = [i for i, t in enumerate(node.inputs) if not isinstance(t, gs.Constant)]
    return computed[0] if len(computed) == 1 else None


def swap(graph: gs.Graph, first: gs.Node, second: gs.Node, position: int) -> bool:
    """first, second -> second, first; one is a Transpose, the other elementwise with its operand at `position`.

    Constants of the elementwise node, which stand in NHWC order, are brought into NCHW order.
    """
    transpose, other = (first, second) if first.op == "Transpose" else (second, first)
    constants: dict[int, gs.Constant] = {}
    if other.op in BINARY:
        values = values_of(other.inputs[1 - position])
        if values is None or values.ndim > 4:
            return False
        if values.size > 1:
            values = np.ascontiguousarray(values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(TO_NCHW))
        constants[1 - position] = gs.Constant(f"{other.name}/constant", values)
    x = first.inputs[0 if first is transpose else position]
    if x.shape is None or len(x.shape) != 4:  # a constant may have widened the rank
        return False
    wide = in_nchw(other)
    if wide is not None:
        other.attrs.update(wide.attrs)
        while len(other.inputs) <= max(wide.constants, default=0):
            other.inputs.append(gs.Variable.empty())
        constants = {i: gs.Constant(f"{other.name}/axes", v) for i, v in wide.constants.items()}
    end = second.outputs[0]
    down = second is other  # the elementwise node comes first then, and the tensor between has its type and NCHW order
    outside = end if down else x
    shape = None if outside.shape is None or len(outside.shape) != 4 else [outside.shape[p] for p in TO_NCHW]
    name = free_name(f"{other.name}/moved", graph.tensors())
    inner = gs.Variable(name, outside.dtype, shape)
    first.outputs.clear()
    second.outputs.clear()
    new_first, new_second = (other, transpose) if down else (transpose, other)
    rewire(new_first, position if new_first is other else 0, x, inner, constants)
    rewire(new_second, position if new_second is other else 0, inner, end, constants)
    return True


def rewire(node: gs.Node, position: int, x: gs.Tensor, output: gs.Tensor, constants: dict[int, gs.Constant]) -> None:
    """Give a node a new operand and output; `constants` replace inputs of an elementwise node."""
    inputs = list(node.inputs)
    inputs[position] = x
    if node.op != "Transpose":
        for index, value in constants.items():
            inputs[index] = value
    node.inputs = inputs
    node.outputs = [output]
