"""Maps of one dimension (sound, sensors: [N, C, L]) become maps of height 1: [N, C, 1, L].

A chain of convolutions, activations, pools, arithmetic and what line_rules.py knows is lifted as a whole: an Unsqueeze
stands where the chain begins, a Squeeze where something else reads it. Where the graph itself has the other one of the
pair there, neither is left. Whether a region on them is worth it is decided later, as for any other (partition.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import free_name
from rrm_onnx.normalise.line_rules import HEIGHT, RULES, Widened, keep_lengths, padded, widened
from rrm_onnx.normalise.tools import producer, values_of

CONVOLUTIONS = ("Conv", "ConvTranspose")
POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool")
UNARY = {"Relu", "LeakyRelu", "Elu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Mish", "Gelu"}
UNARY |= {
    "Selu",
    "Celu",
    "Softsign",
    "Reciprocal",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Abs",
    "Neg",
    "Sign",
    "Swish",
    "BatchNormalization",
}
BROADCAST = ("Add", "Sub", "Mul", "Div", "Sum", "PRelu", "Pow", "Max", "Min")
CHANNELS = ("Concat", "Split")
LIFTED = {*CONVOLUTIONS, *POOLS, *UNARY, *BROADCAST, *CHANNELS, *RULES, "Pad"}
PREPENDED = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_shape": 1, "output_padding": 0}
RESHAPES = ("Reshape", "Squeeze", "Unsqueeze")


def lift_lines(graph: gs.Graph, opset: int) -> None:
    """Lift every chain that has a convolution; others gain nothing."""
    keep_lengths(graph, opset)
    graph.toposort()
    for chain in chains([n for n in graph.nodes if liftable(n, opset)]):
        if any(n.op in CONVOLUTIONS for n in chain):
            Lift(graph, chain, opset).run()


# --- what is lifted


def liftable(node: gs.Node, opset: int) -> bool:
    """Whether it is an operator on maps of rank 3 that is the same on maps of height 1."""
    if node.op not in LIFTED or node.domain not in (None, "", "ai.onnx") or not node.outputs:
        return False
    if not all(is_line(t) for t in (*map_inputs(node), *node.outputs)) or not map_inputs(node):
        return False
    if node.op in CONVOLUTIONS:
        weight = values_of(node.inputs[1])
        return weight is not None and weight.ndim == 3
    if node.op in BROADCAST:
        return all(t.values.ndim <= 3 for t in node.inputs if isinstance(t, gs.Constant))
    if node.op == "BatchNormalization":
        return bool(node.attrs.get("spatial", 1))  # 0, up to opset 8: a value for each place, so of the rank of the map
    if node.op in CHANNELS:
        return int(node.attrs.get("axis", 0)) % 3 == 1
    if node.op in RULES:
        return widened(node, opset) is not None
    if node.op == "Pad" and len(node.inputs) > 3:
        return padded(node, opset) is not None
    if node.op == "Pad":
        return len(node.inputs) < 4 and all(isinstance(t, gs.Constant) or t.is_empty() for t in node.inputs[1:])
    return True


def is_line(tensor: gs.Tensor) -> bool:
    """A float32 map that is known to be [N, C, L]; indices of a MaxPool, which count its elements, are none."""
    return tensor.dtype == np.float32 and tensor.shape is not None and len(tensor.shape) == 3


def map_inputs(node: gs.Node) -> list[gs.Tensor]:
    inputs = node.inputs if node.op in (*BROADCAST, "Concat") else node.inputs[:1]
    return [t for t in inputs if not isinstance(t, gs.Constant)]


def chains(nodes: Sequence[gs.Node]) -> list[list[gs.Node]]:
    """The nodes in groups that tensors connect, each in the order of the graph."""
    group: dict[int, list[gs.Node]] = {}
    of_tensor: dict[int, int] = {}
    for index, node in enumerate(nodes):
        touched = {id(t) for t in (*map_inputs(node), *node.outputs)}
        joined = {of_tensor[t] for t in touched if t in of_tensor}
        key = min(joined, default=index)
        group[key] = [n for k in sorted(joined) for n in group.pop(k)] + [node]
        of_tensor = {t: key if k in joined else k for t, k in of_tensor.items()} | dict.fromkeys(touched, key)
    order = {id(n): i for i, n in enumerate(nodes)}
    return [sorted(found, key=lambda n: order[id(n)]) for found in group.values()]


# --- how


class Lift:
    """One chain."""

    def __init__(self, graph: gs.Graph, chain: Sequence[gs.Node], opset: int) -> None:
        self.graph, self.chain, self.opset = graph, chain, opset
        self.members = {id(n) for n in chain}
        self.ends = {id(t) for t in graph.outputs}
        self.taken = {*graph.tensors(), *(n.name for n in graph.nodes)}
        self.raised: dict[int, gs.Tensor] = {}

    def run(self) -> None:
        for node in self.chain:
            maps = {id(t) for t in map_inputs(node)}
            wide = padded(node, self.opset) if node.op == "Pad" else widened(node, self.opset)
            node.inputs = [
                self.begin(t) if id(t) in maps else self.constant(node, i, t) for i, t in enumerate(node.inputs)
            ]
            widen_attributes(node)
            self.rewrite(node, Widened() if wide is None else wide)
            given = list(node.outputs)
            node.outputs = [self.variable(t) for t in given]
            for t in given:
                self.end(t)

    def variable(self, line: gs.Tensor) -> gs.Variable:
        """The map of height 1 that stands for a line."""
        name = self.name(f"{line.name}/line")
        self.raised[id(line)] = made = gs.Variable(name, line.dtype, raised_shape(line))
        return made

    def begin(self, line: gs.Tensor) -> gs.Tensor:
        """The map of height 1: of the chain itself, what the graph made the line of, or behind an Unsqueeze."""
        if id(line) not in self.raised:
            before = producer(line)
            if before is not None and before.op in RESHAPES and same(before.inputs[0], raised_shape(line)):
                self.raised[id(line)] = before.inputs[0]
            else:
                self.turn("Unsqueeze", line, self.variable(line))
        return self.raised[id(line)]

    def end(self, line: gs.Tensor) -> None:
        """Give the line to what reads it outside of the chain."""
        made = self.raised[id(line)]
        for reader in list(line.outputs):
            result = reader.outputs[0] if reader.op in RESHAPES and reader.outputs else None
            if result is not None and id(result) not in self.ends and same(result, raised_shape(line)):
                for further in list(result.outputs):
                    further.inputs = [made if t is result else t for t in further.inputs]
        if id(line) in self.ends or any(id(r) not in self.members for r in line.outputs):
            self.turn("Squeeze", made, line)

    def turn(self, op: str, x: gs.Tensor, y: gs.Tensor) -> None:
        axes = np.array([HEIGHT], np.int64)
        name = self.name(f"{y.name}/{op}")
        more = [gs.Constant(self.name(f"{name}/axes"), axes)] if self.opset >= 13 else []
        attrs = {} if more else {"axes": [HEIGHT]}
        self.graph.nodes.append(gs.Node(op, name, attrs, [x, *more], [y]))

    def constant(self, node: gs.Node, index: int, tensor: gs.Tensor) -> gs.Tensor:
        """A constant of the node as its maps of height 1 need it."""
        values = values_of(tensor)
        if values is None:
            return tensor
        if (node.op in CONVOLUTIONS and index == 1) or (node.op in (*BROADCAST, "Concat") and values.ndim > 1):
            wide = np.expand_dims(values, -2)
        elif node.op == "Pad" and index == 1 and len(node.inputs) < 4:
            wide = np.array(widened_pads(values.ravel()), np.int64)
        else:
            return tensor
        return gs.Constant(self.name(f"{tensor.name}/line"), np.ascontiguousarray(wide))

    def rewrite(self, node: gs.Node, wide: Widened) -> None:
        node.attrs.update(wide.attrs)
        for index, values in wide.constants.items():
            while len(node.inputs) <= index:
                node.inputs.append(gs.Variable.empty())
            node.inputs[index] = gs.Constant(self.name(f"{node.name}/line"), values)

    def name(self, wanted: str) -> str:
        found = free_name(wanted, self.taken)
        self.taken.add(found)
        return found


def widen_attributes(node: gs.Node) -> None:
    """Attributes for two dimensions: nothing happens along the height."""
    for key, first in PREPENDED.items():
        if key in node.attrs:
            node.attrs[key] = [first, *node.attrs[key]]
    if "pads" in node.attrs:
        pads = list(node.attrs["pads"])
        node.attrs["pads"] = widened_pads(pads) if node.op == "Pad" else [0, pads[0], 0, pads[1]]
    if node.op in CHANNELS:
        node.attrs["axis"] = 1


def widened_pads(pads: Iterable[int]) -> list[int]:
    """Pads of an operator Pad: those before each axis, then those behind."""
    n, c, left, more_n, more_c, right = (int(p) for p in pads)
    return [n, c, 0, left, more_n, more_c, 0, right]


def raised_shape(line: gs.Tensor) -> list[int | str | None]:
    n, c, length = line.shape
    return [n, c, 1, length]


def same(tensor: gs.Tensor, shape: Sequence[int | str | None]) -> bool:
    """Whether a tensor has a shape for certain: what is moved between the two keeps its order, so nothing changes.

    Names stand for sizes; an empty one, and numbers below 1, are what some exporters write for an open size.
    """
    known = all(d > 0 if isinstance(d, int) else d for d in shape)
    return known and tensor.shape is not None and list(tensor.shape) == list(shape)
