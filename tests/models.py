"""Small ONNX models for the tests of the converter, built step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rrm_onnx.pack import nodes_of

Shape = Sequence[int | str | None]


class Net:
    """A graph that grows: methods add a node and return the name of its output."""

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.inits: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.rng = np.random.default_rng(seed)

    def input(self, name: str = "x", shape: Shape | None = (1, 3, 16, 16), kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, shape: Shape | None = None, kind: int = TensorProto.FLOAT) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def const(self, value: Any, dtype: Any = np.float32, name: str = "") -> str:
        name = name or f"c{len(self.inits)}"
        self.inits.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(
        self, op: str, *inputs: str, out: str = "", name: str = "", outputs: Sequence[str] = (), **attrs: Any
    ) -> str:
        """A node; named `op_index` unless told otherwise. Returns its first output."""
        index = len(self.nodes)
        outs = list(outputs) or [out or f"t{index}"]
        self.nodes.append(helper.make_node(op, list(inputs), outs, name=name or f"{op}_{index}", **attrs))
        return outs[0]

    def conv(self, x: str, m: int = 8, c: int = 3, k: int = 3, name: str = "", out: str = "", **attrs: Any) -> str:
        """Convolution with random weights and bias, padded to keep the size unless `pads` are given."""
        group = attrs.get("group", 1)
        w = self.const(self.rng.normal(0, (c * k * k / group) ** -0.5, (m, c // group, k, k)))
        b = self.const(self.rng.normal(0, 0.1, m))
        attrs = {"kernel_shape": [k, k], **attrs}
        if "auto_pad" not in attrs:
            attrs.setdefault("pads", [k // 2] * 4)
        return self.add("Conv", x, w, b, name=name, out=out, **attrs)

    def silu(self, x: str) -> str:
        return self.add("Mul", x, self.add("Sigmoid", x))

    def model(self, ir_version: int = 8, **kwargs: Any) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "net", self.inputs, self.outputs, self.inits)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, **kwargs)


def chain(*steps: str, opset: int = 17, shape: Shape = (1, 3, 16, 16)) -> onnx.ModelProto:
    """x -> conv_a -> unary operators -> conv_b -> y."""
    net = Net(opset)
    t = net.conv(net.input("x", shape), name="conv_a")
    for op in steps:
        t = net.add(op, t)
    net.output(net.conv(t, 4, 8, name="conv_b", out="y"))
    return net.model()


def feeds(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs for a model; open dimensions become 1 for the batch, 16 for the others."""
    rng = np.random.default_rng(seed)
    weights = {t.name for t in model.graph.initializer}
    found = {}
    for i in model.graph.input:
        if i.name in weights:
            continue
        dims = [d.dim_value or (1 if k == 0 else 16) for k, d in enumerate(i.type.tensor_type.shape.dim)]
        dtype = helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type)
        values = rng.integers(0, 255, dims) if dtype == np.uint8 else rng.normal(0, 1, dims)
        found[i.name] = values.astype(dtype)
    return found


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """Relative L2 distance of a to b."""
    return float(np.linalg.norm((a - b).astype(np.float64)) / (np.linalg.norm(b.astype(np.float64)) + 1e-12))


def rrm_nodes(model: onnx.ModelProto, op: str = "") -> list[onnx.NodeProto]:
    """Nodes of the rrm domain, of one operator if named."""
    return [n for n in nodes_of(model) if n.domain == "rrm" and op in ("", n.op_type)]


def dense_ops(model: onnx.ModelProto) -> list[str]:
    """Operator types outside of the rrm domain, in order."""
    return [n.op_type for n in nodes_of(model) if n.domain != "rrm"]


def attrs(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes as Python values, strings decoded."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}
