"""Lines turned to [N, L, C] for what works on the last axis, and turned back, become maps turned to NHWC and back.

Behind lines.py a line leaves its chain by a Squeeze and comes back by an Unsqueeze. Between two Transposes [N, L, C]
becomes [N, 1, L, C]; what stands there is then the same as in a network on pictures (layout.py, channels.py). What does
not come back (a transformer behind convolutions) stays.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import free_name, sole_reader
from rrm_onnx.normalise.channels import gemm_constants
from rrm_onnx.normalise.line_rules import given, put
from rrm_onnx.normalise.lines import BROADCAST, UNARY
from rrm_onnx.normalise.tools import producer, replace, static_shape, values_of
from rrm_onnx.ops.composite import TO_NCHW, TO_NHWC

ELEMENTWISE = UNARY - {"BatchNormalization"}
ARITHMETIC = set(BROADCAST) - {"PRelu"}
TURN = [0, 2, 1]
HEIGHT, TURNED_HEIGHT = 2, 1  # the axis that a map of height 1 has more than a line, and than a turned line


def lift_turned_lines(graph: gs.Graph, opset: int) -> None:
    """Rewrite what lies before each Transpose that leads back into a chain, up to one that leads out of a chain."""
    if not any(leaves_chain(n) for n in graph.nodes):
        return
    for node in list(graph.nodes):
        if node.op == "Reshape" and node.outputs:
            part_gemm(graph, node)
    graph.cleanup().toposort()
    for node in list(graph.nodes):
        if not turns(node) or not any(axis_of(r, "Unsqueeze") == HEIGHT for r in node.outputs[0].outputs):
            continue
        between: dict[int, gs.Node] = {}
        collect(node.inputs[0], between)
        tensors = [node.inputs[0], *(t for n in between.values() for t in n.inputs)]
        if any(leaves_chain(producer(t)) for t in tensors):
            Turned(graph, opset).run(node, [n for n in graph.nodes if id(n) in between])


def part_gemm(graph: gs.Graph, rows: gs.Node) -> None:
    """Reshape [N, L, C] -> [N L, C], Gemm with constants, Reshape -> [N, L, M] are MatMul and Add again, of which
    onnxruntime made them."""
    gemm = sole_reader(graph, rows.outputs[0])
    constants = gemm_constants(gemm) if gemm is not None and gemm.op == "Gemm" and gemm.outputs else None
    back = sole_reader(graph, gemm.outputs[0]) if gemm is not None and constants else None
    if gemm is None or constants is None or back is None or back.op != "Reshape" or not back.outputs:
        return
    before, flat, after = (static_shape(t) for t in (rows.inputs[0], rows.outputs[0], back.outputs[0]))
    weight = np.ascontiguousarray(constants[0].values[:, :, 0, 0].T)
    if before is None or flat is None or len(before) != 3 or flat[1:] != before[2:]:
        return
    if gemm.inputs[0] is not rows.outputs[0] or after != (*before[:2], weight.shape[1]):
        return
    inputs: list[gs.Tensor] = [rows.inputs[0], gs.Constant(f"{gemm.name}/matrix", weight)]
    if len(constants) == 1:
        replace(graph, back, "MatMul", inputs)
        return
    product = gs.Variable(free_name(f"{gemm.name}/product", graph.tensors()), np.dtype(np.float32), list(after))
    graph.nodes.append(gs.Node("MatMul", f"{gemm.name}/MatMul", {}, inputs, [product]))
    replace(graph, back, "Add", [product, gs.Constant(f"{gemm.name}/offset", constants[1].values)])


def turns(node: gs.Node | None) -> bool:
    return (
        node is not None and node.op == "Transpose" and list(node.attrs.get("perm", ())) == TURN and bool(node.outputs)
    )


def leaves_chain(node: gs.Node | None) -> bool:
    """Whether it turns a line that is a map of height 1 by now."""
    return node is not None and turns(node) and axis_of(producer(node.inputs[0]), "Squeeze") == HEIGHT


def axis_of(node: gs.Node | None, op: str) -> int | None:
    """The one axis of a Squeeze or Unsqueeze."""
    axes = given(node, "axes", 1) if node is not None and node.op == op else None
    return int(axes[0]) if axes is not None and len(axes) == 1 else None


def collect(tensor: gs.Tensor, between: dict[int, gs.Node]) -> None:
    """The nodes before a turned line that are the same on turned maps."""
    node = producer(tensor)
    if node is None or id(node) in between or not carries(node):
        return
    between[id(node)] = node
    for t in node.inputs:
        collect(t, between)


def carries(node: gs.Node) -> bool:
    """Whether it may work on [N, 1, L, C] in place of [N, L, C]."""
    others = [t for t in node.inputs if not isinstance(t, gs.Constant) and not t.is_empty()]
    if len(node.outputs) != 1 or not all(is_turned_line(t) for t in (*others, *node.outputs)):
        return False
    if node.op in ELEMENTWISE or node.op in ("LayerNormalization", "Softmax", "LogSoftmax"):
        last = node.op in ELEMENTWISE or int(node.attrs.get("axis", -1)) in (-1, 2)
        return last and len(others) == 1
    if node.op in ARITHMETIC:  # a constant for each row of a batch would need an axis more
        return all(t.values.ndim < 3 or t.values.shape[0] == 1 for t in node.inputs if isinstance(t, gs.Constant))
    if node.op == "ReduceMean":
        return given(node, "axes", 1) in ([-1], [2]) and bool(int(node.attrs.get("keepdims", 1)))
    weight = values_of(node.inputs[1]) if node.op == "MatMul" else None
    return weight is not None and weight.ndim == 2


def is_turned_line(tensor: gs.Tensor) -> bool:
    return tensor.dtype == np.float32 and tensor.shape is not None and len(tensor.shape) == 3


class Turned:
    """One place."""

    def __init__(self, graph: gs.Graph, opset: int) -> None:
        self.graph, self.opset = graph, opset
        self.taken = {*graph.tensors(), *(n.name for n in graph.nodes)}
        self.raised: dict[int, gs.Tensor] = {}

    def run(self, back: gs.Node, between: list[gs.Node]) -> None:
        """`between`: in the order of the graph. Each gives its line to what else reads it, by a Squeeze."""
        for node in between:
            line = node.outputs[0]
            node.inputs = [t if isinstance(t, gs.Constant) else self.begin(t) for t in node.inputs]
            self.move_axes(node)
            node.outputs = [self.variable(line)]
            self.reshape("Squeeze", node.outputs[0], line, TURNED_HEIGHT)
        u = self.begin(back.inputs[0])
        for reader in list(back.outputs[0].outputs):
            if axis_of(reader, "Unsqueeze") == HEIGHT:
                made = reader.outputs[0]
                reader.outputs.clear()
                self.node("Transpose", [u], made, perm=TO_NCHW)

    def begin(self, line: gs.Tensor) -> gs.Tensor:
        """The turned map: of this place, of the chain whose line was turned, or behind an Unsqueeze."""
        if line.is_empty() or id(line) in self.raised:
            return self.raised.get(id(line), line)
        turn = producer(line)
        made = self.variable(line)
        if leaves_chain(turn):
            squeeze = producer(turn.inputs[0]) if turn is not None else None
            assert squeeze is not None
            self.node("Transpose", [squeeze.inputs[0]], made, perm=TO_NHWC)
        else:
            self.reshape("Unsqueeze", line, made, TURNED_HEIGHT)
        return made

    def variable(self, line: gs.Tensor) -> gs.Variable:
        n, length, c = line.shape
        self.raised[id(line)] = made = gs.Variable(self.name(f"{line.name}/turned"), line.dtype, [n, 1, length, c])
        return made

    def move_axes(self, node: gs.Node) -> None:
        if node.op in ("LayerNormalization", "Softmax", "LogSoftmax"):
            node.attrs["axis"] = 3
        if node.op == "ReduceMean":
            wide = put(node, "axes", 1, [3])
            node.attrs.update(wide.attrs)
            for index, values in wide.constants.items():
                node.inputs[index] = gs.Constant(self.name(f"{node.name}/axes"), values)

    def reshape(self, op: str, x: gs.Tensor, y: gs.Tensor, axis: int) -> None:
        if self.opset < 13:
            self.node(op, [x], y, axes=[axis])
            return
        self.node(op, [x, gs.Constant(self.name(f"{y.name}/axes"), np.array([axis], np.int64))], y)

    def node(self, op: str, inputs: list[gs.Tensor], output: gs.Tensor, **attrs: list[int]) -> None:
        self.graph.nodes.append(gs.Node(op, self.name(f"{output.name}/{op}"), dict(attrs), inputs, [output]))

    def name(self, wanted: str) -> str:
        found = free_name(wanted, self.taken)
        self.taken.add(found)
        return found
