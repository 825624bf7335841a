"""Questions and edits that the rewriting steps share. Rewrites leave dead nodes behind, the caller cleans up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.common import free_name, sole_reader


def producer(tensor: gs.Tensor) -> gs.Node | None:
    """The node that makes a tensor; None for inputs and constants."""
    return tensor.inputs[0] if not isinstance(tensor, gs.Constant) and tensor.inputs else None


def is_sole_reader(graph: gs.Graph, node: gs.Node, tensor: gs.Tensor) -> bool:
    """Whether `node`, and nothing else, reads a tensor."""
    return sole_reader(graph, tensor) is node


def values_of(tensor: gs.Tensor) -> NDArray[Any] | None:
    return np.asarray(tensor.values) if isinstance(tensor, gs.Constant) else None


def scalar(tensor: gs.Tensor) -> float | None:
    """The value of a constant float32 of one element that cannot widen the rank of a map."""
    values = values_of(tensor)
    if values is None or values.size != 1 or values.ndim > 4 or values.dtype != np.float32:
        return None
    return float(values.reshape(()))


def with_scalar(node: gs.Node) -> tuple[gs.Tensor, float, int] | None:
    """(tensor, constant, position of the constant) of a node with two inputs, one of them a constant scalar."""
    if len(node.inputs) != 2:
        return None
    for side in (0, 1):
        value = scalar(node.inputs[side])
        if value is not None and not isinstance(node.inputs[1 - side], gs.Constant):
            return node.inputs[1 - side], value, side
    return None


def static_shape(tensor: gs.Tensor) -> tuple[int, ...] | None:
    """The shape where all of it is known."""
    if tensor.shape is None or not all(isinstance(d, (int, np.integer)) and d > 0 for d in tensor.shape):
        return None
    return tuple(int(d) for d in tensor.shape)


def replace(
    graph: gs.Graph,
    root: gs.Node,
    op: str,
    inputs: Sequence[gs.Tensor],
    attrs: Mapping[str, Any] | None = None,
    domain: str | None = None,
) -> gs.Node:
    """A new node takes over the first output and the name of `root`, which is left dead."""
    output = root.outputs[0]
    retire(root)
    name = root.name
    root.name = f"{name}/replaced"
    made = gs.Node(op, name, dict(attrs or {}), list(inputs), [output], domain)
    graph.nodes.append(made)
    return made


def retire(node: gs.Node) -> None:
    """Cut a node off: it makes nothing and reads nothing any more, and the next cleanup drops it."""
    node.inputs.clear()
    node.outputs.clear()


def unique_names(graph: gs.Graph) -> None:
    """Give constants that a step has made under a name already in use another name: a name stands for one tensor."""
    owners: dict[str, gs.Tensor] = {t.name: t for t in (*graph.inputs, *graph.outputs)}
    used = [t for node in graph.nodes for t in (*node.outputs, *node.inputs)]
    # Tensors that the graph computes keep their names; so do constants that had theirs first.
    for tensor in sorted(used, key=lambda t: isinstance(t, gs.Constant)):
        if not tensor.is_empty() and owners.setdefault(tensor.name, tensor) is not tensor:
            tensor.name = free_name(tensor.name, owners)
            owners[tensor.name] = tensor


def clip_range(node: gs.Node) -> tuple[float, float] | None:
    """(min, max) of a Clip or Relu with constant bounds; infinite where absent."""
    if node.op == "Relu":
        return 0.0, np.inf
    if node.op != "Clip":
        return None
    bounds = []
    for index, (name, absent) in enumerate((("min", -np.inf), ("max", np.inf)), start=1):
        if name in node.attrs:
            bounds.append(float(node.attrs[name]))
        elif index < len(node.inputs) and not node.inputs[index].is_empty():
            value = scalar(node.inputs[index])
            if value is None:
                return None
            bounds.append(value)
        else:
            bounds.append(absent)
    return bounds[0], bounds[1]


def clip_parts(name: str, low: float, high: float, opset: int) -> tuple[list[gs.Tensor], dict[str, float]]:
    """(further inputs, attributes) of a Clip in the spelling of the opset."""
    if opset < 11:
        limit = float(np.finfo(np.float32).max)
        return [], {"min": max(low, -limit), "max": min(high, limit)}
    inputs: list[gs.Tensor] = []
    for role, bound in (("min", low), ("max", high)):
        absent = np.isinf(bound)
        inputs.append(gs.Variable.empty() if absent else gs.Constant(f"{name}/{role}", np.array(bound, np.float32)))
    if inputs[1].is_empty():
        inputs.pop()
    return inputs, {}
