"""A GroupNormalization that a model spells out becomes one node.

y = Reshape to the map(InstanceNormalization(Reshape[N, groups, -1](x))) * scale + bias

`* scale` and `+ bias` are part of it where they are constants of one value, or of one per channel.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from rrm_onnx.common import sole_reader
from rrm_onnx.normalise.layer_norm import SPACE, Core, extend
from rrm_onnx.normalise.tools import producer, replace, values_of
from rrm_onnx.ops.composite import COMPOSITE_DOMAIN


def join_group_norms(graph: gs.Graph, opset: int) -> None:
    for node in list(graph.nodes):
        if node.op == "InstanceNormalization" and node.outputs:
            join(graph, node)


def join(graph: gs.Graph, norm: gs.Node) -> None:
    parts, back = producer(norm.inputs[0]), sole_reader(graph, norm.outputs[0])
    scale, bias = (values_of(t) for t in norm.inputs[1:3])
    if parts is None or parts.op != "Reshape" or back is None or back.op != "Reshape" or scale is None or bias is None:
        return
    x, channels = parts.inputs[0], channels_of(parts.inputs[0])
    to = values_of(parts.inputs[1])
    if to is None or to.size != 3 or channels is None or not back.outputs or not same_shape(back, x):
        return
    groups = len(scale)
    if int(to[1]) != groups or channels % groups or int(to[0]) not in (0, x.shape[0]):
        return
    core = Core(x, SPACE, channels, 0.0, False)
    root, factors = extend(graph, back, "Mul", core)
    root, offsets = extend(graph, root, "Add", core)
    wide_scale, wide_bias = (np.repeat(v, channels // groups) for v in (scale, bias))
    factors = np.ones(channels, np.float32) if factors is None else factors
    given = {"scale": wide_scale * factors, "bias": wide_bias * factors + (0 if offsets is None else offsets)}
    inputs = [x, *(gs.Constant(f"{root.name}/{k}", v.astype(np.float32)) for k, v in given.items())]
    attrs = {"num_groups": groups, "epsilon": float(norm.attrs.get("epsilon", 1e-5))}
    replace(graph, root, "GroupNormalization", inputs, attrs, COMPOSITE_DOMAIN)


def channels_of(x: gs.Tensor) -> int | None:
    """Of a float32 map."""
    if x.dtype != np.float32 or x.shape is None or len(x.shape) != 4:
        return None
    return int(x.shape[1]) if isinstance(x.shape[1], (int, np.integer)) else None


def same_shape(back: gs.Node, x: gs.Tensor) -> bool:
    """Whether a Reshape gives the shape of x: by its Shape, or because both are known."""
    shape = producer(back.inputs[1])
    if shape is not None and shape.op == "Shape" and shape.inputs[0] is x and not shape.attrs:
        return True
    after = back.outputs[0].shape
    return after is not None and list(after) == list(x.shape) and None not in after
