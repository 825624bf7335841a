"""What is spelled out before onnxruntime simplifies the model.

ImageScaler, Affine and Crop, of ONNX's first versions: onnxruntime runs them up to opset 9, but ONNX infers no shapes
behind them, so nothing behind them could be converted. GroupNormalization: onnxruntime takes it apart into some twenty
nodes; as an InstanceNormalization between Reshapes it is found again (group_norm.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rrm_onnx.common import default_opset, free_name
from rrm_onnx.normalise.shapes import infer


def respell_ahead(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with these operators spelled out; `model` itself where it has none."""
    opset = default_opset(model) or 0
    if not any(is_spelled(n, opset) for n in model.graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    names = {o for n in graph.node for o in (*n.input, *n.output)} | {t.name for t in graph.initializer}
    known = infer(model).graph
    shaped = [v for v in (*known.input, *known.value_info) if v.type.tensor_type.HasField("shape")]
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in shaped}
    steps = Steps(graph, names | {n.name for n in graph.node}, ranks)
    nodes = []
    for node in graph.node:
        steps.made = []
        if is_spelled(node, opset):
            SPELLINGS[node.op_type][0](steps, node, {a.name: helper.get_attribute_value(a) for a in node.attribute})
        nodes += steps.made or [node]
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return result


def is_spelled(node: onnx.NodeProto, opset: int) -> bool:
    return node.op_type in SPELLINGS and node.domain in ("", "ai.onnx") and opset in SPELLINGS[node.op_type][1]


class Steps:
    """Nodes in place of one, and their constants."""

    def __init__(self, graph: onnx.GraphProto, taken: set[str], ranks: Mapping[str, int]) -> None:
        self.graph, self.taken, self.ranks = graph, taken, ranks
        self.made: list[onnx.NodeProto] = []

    def name(self, wanted: str) -> str:
        found = free_name(wanted, self.taken)
        self.taken.add(found)
        return found

    def const(self, node: onnx.NodeProto, role: str, values: Any) -> str:
        """Arrays as they are, numbers as float32."""
        name = self.name(f"{node.name}/{role}")
        array = values if isinstance(values, np.ndarray) else np.array(values, np.float32)
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def step(self, node: onnx.NodeProto, op: str, *inputs: str, **attributes: Any) -> str:
        name = self.name(f"{node.name}/{op}")
        self.made.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def last(self, node: onnx.NodeProto, op: str, *inputs: str, **attributes: Any) -> None:
        self.made.append(helper.make_node(op, list(inputs), list(node.output), name=node.name, **attributes))

    def line(self, node: onnx.NodeProto, x: str, factor: Any, offset: Any) -> None:
        """factor * x + offset"""
        self.last(
            node,
            "Add",
            self.step(node, "Mul", x, self.const(node, "factor", factor)),
            self.const(node, "offset", offset),
        )


def image_scaler(s: Steps, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
    s.line(node, node.input[0], float(attrs.get("scale", 1.0)), np.array(attrs["bias"], np.float32).reshape(-1, 1, 1))


def affine(s: Steps, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
    s.line(node, node.input[0], float(attrs.get("alpha", 1.0)), float(attrs.get("beta", 0.0)))


def crop(s: Steps, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
    """border: what is cut off at the left, top, right and bottom; scale: in place of the last two height and width."""
    left, top, right, bottom = (int(v) for v in attrs["border"])
    rest = np.iinfo(np.int32).max
    ends = [-bottom or rest, -right or rest]
    if "scale" in attrs:
        ends = [top + int(attrs["scale"][0]), left + int(attrs["scale"][1])]
    s.last(node, "Slice", node.input[0], starts=[top, left], ends=ends, axes=[2, 3])


def group_norm(s: Steps, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
    """Its scale and bias are of the groups before opset 21, of the channels from then on."""
    groups, (x, *names) = int(attrs["num_groups"]), node.input
    held, rank = {t.name: t for t in s.graph.initializer}, s.ranks.get(x)
    if any(n not in held for n in names) or rank is None:
        return
    scale, bias = (numpy_helper.to_array(held[n]) for n in names)
    of_groups = scale.size == groups
    inner = (scale, bias) if of_groups else (np.ones(groups, scale.dtype), np.zeros(groups, scale.dtype))
    given = (s.const(node, role, v) for role, v in zip(("scale", "bias"), inner, strict=True))
    parts = s.step(node, "Reshape", x, s.const(node, "parts", np.array([0, groups, -1])))
    normal = s.step(node, "InstanceNormalization", parts, *given, epsilon=float(attrs.get("epsilon", 1e-5)))
    if of_groups:
        s.last(node, "Reshape", normal, s.step(node, "Shape", x))
        return
    whole = s.step(node, "Reshape", normal, s.step(node, "Shape", x))
    s.line(node, whole, *(v.reshape(-1, *[1] * (rank - 2)) for v in (scale, bias)))


Spell = Callable[[Steps, onnx.NodeProto, Mapping[str, Any]], None]
OLD, NEW = range(1, 10), range(18, 100)  # opsets in which onnxruntime knows the operator
SPELLINGS: Mapping[str, tuple[Spell, range]] = {
    "ImageScaler": (image_scaler, OLD),
    "Affine": (affine, OLD),
    "Crop": (crop, OLD),
    "GroupNormalization": (group_norm, NEW),
}
