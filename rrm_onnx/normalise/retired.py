"""Operators of ONNX's first versions in others: ImageScaler, Affine, Crop. onnxruntime runs them up to opset 9.

ONNX infers no shapes behind them, so nothing behind them could be converted. Here before anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rrm_onnx.common import default_opset, free_name

LAST_OPSET = 9


def respell_retired(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with these operators spelled out; `model` itself where it has none."""
    if (default_opset(model) or 0) > LAST_OPSET or not any(is_retired(n) for n in model.graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    names = {o for n in graph.node for o in (*n.input, *n.output)} | {t.name for t in graph.initializer}
    steps = Steps(graph, names | {n.name for n in graph.node})
    nodes = []
    for node in graph.node:
        steps.made = []
        if is_retired(node):
            SPELLINGS[node.op_type](steps, node, {a.name: helper.get_attribute_value(a) for a in node.attribute})
        nodes += steps.made or [node]
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return result


def is_retired(node: onnx.NodeProto) -> bool:
    return node.op_type in SPELLINGS and node.domain in ("", "ai.onnx")


class Steps:
    """Nodes in place of one, and their constants."""

    def __init__(self, graph: onnx.GraphProto, taken: set[str]) -> None:
        self.graph, self.taken = graph, taken
        self.made: list[onnx.NodeProto] = []

    def name(self, wanted: str) -> str:
        found = free_name(wanted, self.taken)
        self.taken.add(found)
        return found

    def const(self, node: onnx.NodeProto, role: str, values: Any) -> str:
        name = self.name(f"{node.name}/{role}")
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def line(self, node: onnx.NodeProto, factor: float, offset: Any) -> None:
        """factor * x + offset"""
        product = self.name(f"{node.name}/product")
        inputs = [node.input[0], self.const(node, "factor", factor)]
        self.made.append(helper.make_node("Mul", inputs, [product], name=self.name(f"{node.name}/Mul")))
        inputs = [product, self.const(node, "offset", offset)]
        self.made.append(helper.make_node("Add", inputs, list(node.output), name=node.name))


def image_scaler(s: Steps, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
    s.line(node, float(attrs.get("scale", 1.0)), np.reshape(attrs["bias"], (-1, 1, 1)))


def affine(s: Steps, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
    s.line(node, float(attrs.get("alpha", 1.0)), float(attrs.get("beta", 0.0)))


def crop(s: Steps, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
    """border: what is cut off at the left, top, right and bottom; scale: in place of the last two height and width."""
    left, top, right, bottom = (int(v) for v in attrs["border"])
    rest = np.iinfo(np.int32).max
    ends = [-bottom or rest, -right or rest]
    if "scale" in attrs:
        ends = [top + int(attrs["scale"][0]), left + int(attrs["scale"][1])]
    cut = helper.make_node("Slice", [node.input[0]], list(node.output), name=node.name)
    for role, values in (("starts", [top, left]), ("ends", ends), ("axes", [2, 3])):
        cut.attribute.append(helper.make_attribute(role, values))
    s.made.append(cut)


SPELLINGS: Mapping[str, Callable[[Steps, onnx.NodeProto, Mapping[str, Any]], None]] = {
    "ImageScaler": image_scaler,
    "Affine": affine,
    "Crop": crop,
}
