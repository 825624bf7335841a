"""A LayerNormalization or InstanceNormalization that a model spells out becomes one node.

d = x - mean(x);  y = d / sqrt(mean(d * d) + epsilon) * scale + bias

over axis 1 or the last axis of a map, or over height and width (global pools by now, spelling.py), means with their
axes kept; `* scale` and `+ bias` are part of it where they are constants of one value, or of one per channel. The
function stays the same but for rounding. Tensors in between that something else reads are kept beside it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.common import free_name, sole_reader
from rrm_onnx.normalise.tools import producer, replace, scalar, values_of, with_scalar
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN, TO_NHWC

Vector = NDArray[np.float32]
SPACE = 0  # in place of an axis: height and width


class Core(NamedTuple):
    """What lies before scale and bias: (x - mean) / sqrt(variance + epsilon), over `axis` of x, or over SPACE.

    turned: x is NCHW, what is computed from it NHWC: a Transpose stands behind x - mean.
    """

    x: gs.Tensor
    axis: int
    channels: int
    epsilon: float
    turned: bool


def join_layer_norms(graph: gs.Graph, opset: int) -> None:
    """Rewrite every spelled-out LayerNormalization as one operator of the composite domain, its `axis` 1 or 3, and
    every InstanceNormalization as ONNX's."""
    for node in list(graph.nodes):
        core = core_of(node) if node.op in ("Div", "Mul") and node.outputs else None
        if core is None:
            continue
        root, scale = extend(graph, node, "Mul", core)
        root, bias = extend(graph, root, "Add", core)
        named = {"scale": np.ones(core.channels, np.float32) if scale is None else scale}
        named["bias"] = np.zeros(core.channels, np.float32) if bias is None else bias
        x = turn(graph, core.x, root) if core.turned else core.x
        inputs = [x, *(gs.Constant(f"{root.name}/{role}", values) for role, values in named.items())]
        if core.axis == SPACE:
            replace(graph, root, "InstanceNormalization", inputs, {"epsilon": core.epsilon})
            continue
        attrs = {"axis": core.axis, "epsilon": core.epsilon}
        replace(graph, root, "LayerNormalization", inputs, attrs, COMPOSITE_DOMAIN)


def turn(graph: gs.Graph, x: gs.Tensor, root: gs.Node) -> gs.Tensor:
    """A Transpose of x to NHWC; layout.py moves it behind the new node."""
    output = gs.Variable(free_name(f"{root.name}/turned", graph.tensors()), x.dtype, [x.shape[p] for p in TO_NHWC])
    graph.nodes.append(gs.Node("Transpose", f"{root.name}/Transpose", {"perm": TO_NHWC}, [x], [output]))
    return output


def core_of(node: gs.Node) -> Core | None:
    """Read d / sqrt(v + epsilon), or d * (1 / sqrt(v + epsilon))."""
    for d, other in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else (node.inputs,):
        if node.op == "Mul":
            inverse = producer(other)
            if inverse is None or inverse.op != "Reciprocal":
                continue
            other = inverse.inputs[0]
        core = with_variance(d, other)
        if core is not None:
            return core
    return None


def with_variance(d: gs.Tensor, deviation: gs.Tensor) -> Core | None:
    """d = x - mean(x) and deviation = sqrt(mean(d * d) + epsilon)."""
    centred, root = centre(d), producer(deviation)
    plus = producer(root.inputs[0]) if root is not None and root.op == "Sqrt" else None
    parts = with_scalar(plus) if plus is not None and plus.op == "Add" else None
    mean = mean_of(parts[0]) if parts is not None else None
    if centred is None or parts is None or mean is None or mean[1] != centred.axis:
        return None
    squared = square_of(mean[0])
    again = None if squared is None else centre(squared)
    if again is None or again.x is not centred.x or again[1:] != centred[1:]:
        return None
    channels = centred.x.shape[1 if centred.turned else centred.axis or 1]
    if centred.x.dtype != np.float32 or not isinstance(channels, (int, np.integer)) or channels < 1:
        return None
    return Core(centred.x, centred.axis, int(channels), parts[1], centred.turned)


class Centred(NamedTuple):
    """x - mean(x) over `axis`, of rank 4; `turned` as in Core."""

    x: gs.Tensor
    axis: int
    turned: bool


def centre(tensor: gs.Tensor) -> Centred | None:
    """Read x - mean(x), or its Transpose to NHWC."""
    node = producer(tensor)
    if node is not None and node.op == "Transpose" and list(node.attrs.get("perm", ())) == TO_NHWC:
        inner = centre(node.inputs[0])
        return Centred(inner.x, 3, True) if inner is not None and inner[1:] == (1, False) else None
    mean = mean_of(node.inputs[1]) if node is not None and node.op == "Sub" else None
    if node is None or mean is None or mean[0] is not node.inputs[0]:
        return None
    return Centred(*mean, False)


def mean_of(tensor: gs.Tensor) -> tuple[gs.Tensor, int] | None:
    """(x, axis) where the tensor is the mean of a map over its axis 1 or 3, which is kept, or over SPACE."""
    node = producer(tensor)
    if node is not None and node.op == "GlobalAveragePool":
        x = node.inputs[0]
        return (x, SPACE) if x.shape is not None and len(x.shape) == 4 else None
    if node is None or node.op != "ReduceMean" or not int(node.attrs.get("keepdims", 1)):
        return None
    axes: Any = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1:
        axes = values_of(node.inputs[1])
    x = node.inputs[0]
    if axes is None or x.shape is None or len(x.shape) != 4 or np.size(axes) != 1:
        return None
    axis = int(np.ravel(axes)[0]) % 4
    return (x, axis) if axis in (1, 3) else None


def square_of(tensor: gs.Tensor) -> gs.Tensor | None:
    """d where the tensor is d * d or d ** 2."""
    node = producer(tensor)
    if node is None or node.op not in ("Mul", "Pow"):
        return None
    if node.op == "Mul":
        return node.inputs[0] if node.inputs[0] is node.inputs[1] else None
    return node.inputs[0] if scalar(node.inputs[1]) == 2 else None


def extend(graph: gs.Graph, node: gs.Node, op: str, core: Core) -> tuple[gs.Node, Vector | None]:
    """The only reader of a node where it is `op` with a constant per channel, and that constant; else the node."""
    reader = sole_reader(graph, node.outputs[0])
    if reader is None or reader.op != op or not reader.outputs:
        return node, None
    side = 0 if reader.inputs[1] is node.outputs[0] else 1
    values = values_of(reader.inputs[side])
    vector = None if values is None else per_channel(values, core)
    return (node, None) if vector is None else (reader, vector)


def per_channel(values: NDArray[Any], core: Core) -> Vector | None:
    """A constant operand as [channels]; None where it is anything else than one value, or one per channel."""
    if values.dtype != np.float32 or values.ndim > 4:
        return None
    if values.size == 1:
        return np.full(core.channels, values.reshape(()), np.float32)
    wanted = [1, 1, 1, 1]
    wanted[core.axis or 1] = core.channels
    return values.reshape(-1) if [1] * (4 - values.ndim) + list(values.shape) == wanted else None
