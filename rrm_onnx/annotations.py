"""Texts and metadata of the original for all that the converted model still has of it.

Neither onnxruntime nor onnx-graphsurgeon carries along what stands beside a node, an edge or a weight (doc_string,
metadata_props, denotations). Exporters write there where in the user's own code a node comes from.
"""

from __future__ import annotations

from typing import Any

import onnx


def restore(graph: onnx.GraphProto, original: onnx.GraphProto) -> None:
    """Copy the annotations of `original` to nodes, values and initializers of the same name in `graph`."""
    nodes = {key(n): n for n in original.node}
    for node in graph.node:
        before = nodes.get(key(node))
        if before is not None:
            copy_texts(before, node)
            restore_bodies(node, before)
    values = {v.name: v for v in original.value_info}
    for value in graph.value_info:
        if value.name in values:
            copy_texts(values[value.name], value)
            copy_denotations(values[value.name].type, value.type)
    weights = {t.name: t for t in original.initializer}
    for tensor in graph.initializer:
        if tensor.name in weights:
            copy_texts(weights[tensor.name], tensor)


def key(node: onnx.NodeProto) -> str:
    """What a node is known by: its name, which nodes in the body of an If or Loop need not have, or its output."""
    return str(node.name or next(iter(node.output), ""))


def restore_bodies(node: onnx.NodeProto, before: onnx.NodeProto) -> None:
    """The same for the graphs that a node (If, Loop, Scan) holds."""
    bodies = {a.name: a.g for a in before.attribute if a.HasField("g")}
    for attribute in node.attribute:
        if attribute.HasField("g") and attribute.name in bodies:
            copy_texts(bodies[attribute.name], attribute.g)
            restore(attribute.g, bodies[attribute.name])


def copy_texts(source: Any, target: Any) -> None:
    """doc_string and metadata_props, from one message of ONNX to another of its kind."""
    if source.doc_string:
        target.doc_string = source.doc_string
    target.ClearField("metadata_props")
    target.metadata_props.extend(source.metadata_props)


def copy_denotations(source: onnx.TypeProto, target: onnx.TypeProto) -> None:
    """What a tensor and its dimensions stand for."""
    if source.denotation:
        target.denotation = source.denotation
    dims = source.tensor_type.shape.dim, target.tensor_type.shape.dim
    if len(dims[0]) == len(dims[1]):
        for before, dim in zip(*dims, strict=True):
            if before.denotation:
                dim.denotation = before.denotation
