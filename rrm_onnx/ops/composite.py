"""Operators that a graph may hold between normalise and emit, though the model's opset may not have them.

Silu, Mish, HardSwish (with its alpha and beta) and Gelu (with its attribute approximate) stand for several nodes of the
source. Softmax, LogSoftmax and LayerNormalization, in this domain, are over one axis alone: Softmax over that of the
channels, LayerNormalization over its attribute `axis`, 1 or 3 of rank 4. GroupNormalization has a scale and bias for
each channel. ArgMax is over the channels, keeps the axis and gives float32. Gather picks channels (its attribute
`indices`) of the concatenation of its inputs. Where one of them stays dense, `expand` spells it out again in standard
operators of the model's opset, 7 or later.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, numpy_helper

COMPOSITE_DOMAIN = "rrm.composite"
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def expand(node: gs.Node, opset: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Standard nodes and their initializers for a composite node. Inner names are `<node name>/<operator>`."""
    spelling = Spelling(node, opset)
    if node.op in ("Softmax", "LogSoftmax"):
        spelling.softmax()
    elif node.op == "LayerNormalization":
        spelling.layer_norm()
    elif node.op == "GroupNormalization":
        spelling.group_norm()
    elif node.op == "ArgMax":
        spelling.arg_max()
    elif node.op == "Gather":
        spelling.gather()
    else:
        spelling.gated()
    return spelling.nodes, spelling.initializers


class Spelling:
    """The standard nodes of one composite node in the making; the last one has its name and its output."""

    def __init__(self, node: gs.Node, opset: int) -> None:
        self.node, self.opset = node, opset
        self.inputs = [t.name for t in node.inputs]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def const(self, role: str, values: Any, dtype: Any = np.float32) -> str:
        name = f"{self.node.name}/{role}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def step(self, op: str, *inputs: str, role: str = "", **attributes: Any) -> str:
        name = f"{self.node.name}/{role or op}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def last(self, op: str, *inputs: str, **attributes: Any) -> None:
        output = self.node.outputs[0].name
        self.nodes.append(helper.make_node(op, inputs, [output], name=self.node.name, **attributes))

    def gated(self) -> None:
        x, attrs = self.inputs[0], self.node.attrs
        if self.node.op == "Silu":
            gate = self.step("Sigmoid", x)
        elif self.node.op == "HardSwish":
            gate = self.step("HardSigmoid", x, alpha=attrs["alpha"], beta=attrs["beta"])
        elif self.node.op == "Mish":
            gate = self.step("Tanh", self.step("Softplus", x))
        else:
            assert self.node.op == "Gelu", self.node.op
            tanh = attrs["approximate"] == "tanh"
            curve = (
                self.step("Tanh", self.gelu_curve(x)) if tanh else self.step("Erf", self.step("Div", x, self.root2()))
            )
            gate = self.step("Mul", self.step("Add", curve, self.const("one", [1.0])), self.const("half", [0.5]))
        self.last("Mul", x, gate)

    def root2(self) -> str:
        return self.const("root", [math.sqrt(2.0)])

    def gelu_curve(self, x: str) -> str:
        """sqrt(2 / pi) * (x + 0.044715 x^3)"""
        factor = math.sqrt(2.0 / math.pi)
        cube = self.step("Mul", self.step("Mul", x, x, role="square"), x, role="cube")
        line, bend = (self.const(role, [v]) for role, v in (("line", factor), ("bend", 0.044715 * factor)))
        return self.step("Add", self.step("Mul", x, line, role="x"), self.step("Mul", cube, bend, role="x3"), role="u")

    def softmax(self) -> None:
        if self.opset >= 13:
            return self.last(self.node.op, self.inputs[0], axis=1)
        turned = self.step("Transpose", self.inputs[0], perm=TO_NHWC)
        self.last("Transpose", self.step(self.node.op, turned, axis=3), perm=TO_NCHW)

    def layer_norm(self) -> None:
        axis, epsilon = int(self.node.attrs["axis"]), float(self.node.attrs["epsilon"])
        (x, *parameters), last = self.inputs, axis == 3
        if self.opset >= 17 and last:
            return self.last("LayerNormalization", x, *parameters, axis=3, epsilon=epsilon)
        if self.opset >= 17:
            turned = self.step("Transpose", x, perm=TO_NHWC)
            normal = self.step("LayerNormalization", turned, *parameters, axis=3, epsilon=epsilon)
            return self.last("Transpose", normal, perm=TO_NCHW)
        scale, bias = (
            self.const(role, t.values.reshape(-1 if last else (-1, 1, 1)))
            for role, t in zip(("factors", "offsets"), self.node.inputs[1:], strict=True)
        )
        d = self.step("Sub", x, self.step("ReduceMean", x, axes=[axis]))
        mean = self.step("ReduceMean", self.step("Mul", d, d, role="square"), role="variance", axes=[axis])
        root = self.step("Sqrt", self.step("Add", mean, self.const("epsilon", [epsilon])))
        self.last("Add", self.step("Mul", self.step("Div", d, root), scale), bias)

    def group_norm(self) -> None:
        x, groups = self.inputs[0], int(self.node.attrs["num_groups"])
        parts = self.step("Reshape", x, self.const("parts", [0, groups, -1], np.int64), role="Reshape_parts")
        ones, zeros = self.const("ones", np.ones(groups)), self.const("zeros", np.zeros(groups))
        epsilon = float(self.node.attrs["epsilon"])
        normal = self.step("InstanceNormalization", parts, ones, zeros, epsilon=epsilon)
        scale, bias = (
            self.const(role, t.values.reshape(-1, 1, 1))
            for role, t in zip(("factors", "offsets"), self.node.inputs[1:], strict=True)
        )
        self.last("Add", self.step("Mul", self.step("Reshape", normal, self.step("Shape", x)), scale), bias)

    def gather(self) -> None:
        joined = self.step("Concat", *self.inputs, axis=1)
        self.last("Gather", joined, self.const("channels", self.node.attrs["indices"], np.int64), axis=1)

    def arg_max(self) -> None:
        more: dict[str, Any] = {}  # opsets before 12 have no such attribute
        if int(self.node.attrs["select_last_index"]):
            more["select_last_index"] = 1
        self.last("Cast", self.step("ArgMax", self.inputs[0], axis=1, **more), to=onnx.TensorProto.FLOAT)
