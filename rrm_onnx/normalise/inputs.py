"""Inputs and names: weights taken off the inputs, static shapes set, nameless nodes named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from rrm_onnx.common import did_you_mean, free_name
from rrm_onnx.errors import ConvertError


def strip_initializers(model: onnx.ModelProto) -> None:
    """Take initializers off the graph's inputs: there they are defaults, which nothing may be computed from ahead.

    IR version 3 wants them there, so it is raised to 4, the first that does not.
    """
    weights = {t.name for t in model.graph.initializer} | {t.values.name for t in model.graph.sparse_initializer}
    kept = [i for i in model.graph.input if i.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)


def set_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Fix the shapes of the named inputs; they must fit what the model declares."""
    inputs = {i.name: i for i in model.graph.input}
    for name, shape in shapes.items():
        if name not in inputs:
            raise ConvertError(f"the model has no input '{name}'", hint=did_you_mean(name, inputs))
        if any(int(n) < 1 for n in shape):
            raise ConvertError(f"input '{name}': shape {list(shape)} has a dimension below 1")
        declared = inputs[name].type.tensor_type
        if not declared.HasField("shape"):
            for n in shape:
                declared.shape.dim.add().dim_value = int(n)
            continue
        dims = declared.shape.dim
        if len(dims) != len(shape) or any(d.dim_value and d.dim_value != n for d, n in zip(dims, shape, strict=True)):
            have = [d.dim_value or d.dim_param or "?" for d in dims]
            raise ConvertError(f"input '{name}': shape {list(shape)} does not fit the declared {have}")
        for d, n in zip(dims, shape, strict=True):
            d.dim_value = int(n)


def name_nodes(model: onnx.ModelProto) -> None:
    """Name every nameless node by operator and position (`Conv_12`), and tell nodes of one name apart."""
    taken = {n.name for n in model.graph.node if n.name}
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = free_name(node.name or f"{node.op_type}_{index}", taken)
            taken.add(node.name)
        seen.add(node.name)
