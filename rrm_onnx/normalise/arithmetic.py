"""Operators on maps that are a few others: Selu, Celu, Softsign, Reciprocal, powers, and those of any number of maps.

Only float32 maps of rank 4: elsewhere they stay as the exporter wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import free_name
from rrm_onnx.normalise.tools import replace, values_of

# ONNX's defaults
SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


class Steps:
    """New nodes in front of one that is being rewritten."""

    def __init__(self, graph: gs.Graph, node: gs.Node) -> None:
        self.graph, self.node = graph, node

    def const(self, value: float) -> gs.Constant:
        return gs.Constant(free_name(f"{self.node.name}/value", self.graph.tensors()), np.array(value, np.float32))

    def step(self, op: str, *inputs: gs.Tensor, **attributes: float) -> gs.Variable:
        like = self.node.outputs[0]
        name = free_name(f"{self.node.name}/{op}", {n.name for n in self.graph.nodes})
        made = gs.Variable(free_name(name, self.graph.tensors()), like.dtype, like.shape)
        self.graph.nodes.append(gs.Node(op, name, dict(attributes), list(inputs), [made]))
        return made

    def last(self, op: str, *inputs: gs.Tensor, **attributes: float) -> None:
        replace(self.graph, self.node, op, list(inputs), dict(attributes))


def spell_out(graph: gs.Graph, opset: int) -> None:
    """Rewrite in place; each step leaves the function as it is, but for rounding."""
    for node in list(graph.nodes):
        if node.op == "Pow" and node.outputs and is_map(node.inputs[0]):
            power(Steps(graph, node), node)
            continue
        spell = SPELLINGS.get(node.op)
        if spell is None or not node.outputs or not all(is_map(t) for t in (*node.inputs, node.outputs[0])):
            continue
        if any(list(t.shape) != list(node.outputs[0].shape) for t in node.inputs):
            continue  # Sum and Mean may broadcast: the sizes between are not those of the result
        spell(Steps(graph, node), node)


def is_map(tensor: gs.Tensor) -> bool:
    return tensor.dtype == np.float32 and tensor.shape is not None and len(tensor.shape) == 4


def selu(s: Steps, node: gs.Node) -> None:
    alpha, gamma = (float(node.attrs.get(k, v)) for k, v in (("alpha", SELU_ALPHA), ("gamma", SELU_GAMMA)))
    s.last("Mul", s.step("Elu", node.inputs[0], alpha=alpha), s.const(gamma))


def celu(s: Steps, node: gs.Node) -> None:
    alpha = float(node.attrs.get("alpha", 1.0))
    if alpha == 1:
        return s.last("Elu", node.inputs[0], alpha=1.0)
    if alpha > 0:
        elu = s.step("Elu", s.step("Div", node.inputs[0], s.const(alpha)), alpha=1.0)
        s.last("Mul", elu, s.const(alpha))


def softsign(s: Steps, node: gs.Node) -> None:
    s.last("Div", node.inputs[0], s.step("Add", s.step("Abs", node.inputs[0]), s.const(1.0)))


def reciprocal(s: Steps, node: gs.Node) -> None:
    s.last("Div", s.const(1.0), node.inputs[0])


def power(s: Steps, node: gs.Node) -> None:
    """Whole exponents as products, as onnxruntime computes them; others as float32, whatever their type was."""
    values, x = values_of(node.inputs[1]), node.inputs[0]
    if values is None or values.size != 1 or values.ndim > 4:
        return
    exponent = float(values.reshape(()))
    if exponent == 2:
        s.last("Mul", x, x)
    elif exponent == 3:
        s.last("Mul", s.step("Mul", x, x), x)
    elif exponent == -1:
        s.last("Div", s.const(1.0), x)
    elif values.dtype != np.float32:
        s.last("Pow", x, s.const(exponent))


def in_turn(s: Steps, node: gs.Node) -> None:
    """From the left, as onnxruntime does."""
    op = "Add" if node.op == "Sum" else node.op
    if len(node.inputs) == 2 and op == node.op:
        return
    total, *others = node.inputs
    for other in others[:-1]:
        total = s.step(op, total, other)
    if others:
        s.last(op, total, others[-1])


def mean(s: Steps, node: gs.Node) -> None:
    total, *others = node.inputs
    for other in others:
        total = s.step("Add", total, other)
    s.last("Mul", total, s.const(1 / len(node.inputs)))


SPELLINGS: Mapping[str, Callable[[Steps, gs.Node], None]] = {
    "Selu": selu,
    "Celu": celu,
    "Softsign": softsign,
    "Reciprocal": reciprocal,
    "Sum": in_turn,
    "Max": in_turn,
    "Min": in_turn,
    "Mean": mean,
}
