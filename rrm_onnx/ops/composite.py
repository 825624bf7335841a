"""Operators that a graph may hold between normalise and emit, though the model's opset may not have them.

Silu, HardSwish (with its alpha and beta) and Gelu stand for several nodes of the source; Softmax and LogSoftmax, in
this domain, are over the channels alone, which before opset 13 takes Transposes. Where one of them stays dense,
`expand` spells it out again in standard operators of any opset from 7 on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, numpy_helper

COMPOSITE_DOMAIN = "rrm.composite"


def expand(node: gs.Node, opset: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Standard nodes and their initializers for a composite node. Inner names are `<node name>/<operator>`."""
    x, y, name = node.inputs[0].name, node.outputs[0].name, node.name
    initializers: list[onnx.TensorProto] = []

    def const(role: str, value: float) -> str:
        initializers.append(numpy_helper.from_array(np.array([value], np.float32), f"{name}/{role}"))
        return f"{name}/{role}"

    def step(op: str, inputs: list[str], **attributes: Any) -> str:
        made = helper.make_node(op, inputs, [f"{name}/{op}"], name=f"{name}/{op}", **attributes)
        nodes.append(made)
        return str(made.output[0])

    nodes: list[onnx.NodeProto] = []
    if node.op in ("Softmax", "LogSoftmax"):
        if opset >= 13:
            return [helper.make_node(node.op, [x], [y], name=name, axis=1)], []
        turned = step(node.op, [step("Transpose", [x], perm=[0, 2, 3, 1])], axis=3)
        nodes.append(helper.make_node("Transpose", [turned], [y], name=name, perm=[0, 3, 1, 2]))
        return nodes, []
    if node.op == "Silu":
        gate = step("Sigmoid", [x])
    elif node.op == "HardSwish":
        gate = step("HardSigmoid", [x], alpha=node.attrs["alpha"], beta=node.attrs["beta"])
    else:
        assert node.op == "Gelu", node.op
        erf = step("Erf", [step("Div", [x, const("root", math.sqrt(2.0))])])
        gate = step("Mul", [step("Add", [erf, const("one", 1.0)]), const("half", 0.5)])
    nodes.append(helper.make_node("Mul", [x, gate], [y], name=name))
    return nodes, initializers
