"""Per-channel scales and offsets: into the weights of the convolution before, or spelled as Mul and Add.

y = s * (W*x + b) + t  ->  (s W) * x + (s b + t), for Mul, Div, Add, Sub with a constant per channel, and for
BatchNormalization with s = scale / sqrt(var + epsilon), t = bias - s * mean.
onnxruntime folds some of these itself (fold.py); this covers ConvTranspose, scalars, and constants on the left.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.common import sole_reader
from rrm_onnx.normalise.tools import replace, retire, values_of

Array = NDArray[np.float32]


def fold_affine(graph: gs.Graph, opset: int) -> None:
    """Fold what follows a convolution into it, then spell out the BatchNormalizations that are left."""
    for node in list(graph.nodes):
        if node.op in ("Conv", "ConvTranspose"):
            while fold_reader(graph, node):
                pass
    for node in list(graph.nodes):
        if node.op == "BatchNormalization" and node.outputs:
            spell_out(graph, node)


def fold_reader(graph: gs.Graph, conv: gs.Node) -> bool:
    """Fold the only reader of a convolution into it; False where there is nothing to fold."""
    weight = values_of(conv.inputs[1])
    bias = values_of(conv.inputs[2]) if len(conv.inputs) > 2 and not conv.inputs[2].is_empty() else None
    has_bias = len(conv.inputs) > 2 and not conv.inputs[2].is_empty()
    if weight is None or weight.dtype != np.float32 or weight.ndim != 4 or (has_bias and bias is None):
        return False
    reader = sole_reader(graph, conv.outputs[0])
    if reader is None:
        return False
    transposed = conv.op == "ConvTranspose"
    group = int(conv.attrs.get("group", 1))
    channels = weight.shape[1] * group if transposed else weight.shape[0]
    line = scale_and_offset(reader, conv.outputs[0], channels)
    if line is None:
        return False
    s, t = line
    if transposed:  # [C, M/group, kh, kw]: rows of group g hold the output channels of group g
        per_row = np.repeat(s.reshape(group, -1), weight.shape[0] // group, axis=0)
        scaled = weight * per_row[:, :, None, None]
    else:
        scaled = weight * s[:, None, None, None]
    offset = (np.zeros(channels, np.float32) if bias is None else bias) * s + t
    conv.inputs = [
        conv.inputs[0],
        gs.Constant(f"{conv.name}/weight", scaled.astype(np.float32)),
        gs.Constant(f"{conv.name}/bias", offset.astype(np.float32)),
    ]
    output = reader.outputs[0]
    retire(reader)
    conv.outputs = [output]
    return True


def scale_and_offset(node: gs.Node, x: gs.Tensor, channels: int) -> tuple[Array, Array] | None:
    """(s, t), each [channels], where node(x) = s * x + t."""
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    if node.op == "BatchNormalization":
        return batch_norm(node)
    if node.op not in ("Mul", "Div", "Add", "Sub") or len(node.inputs) != 2:
        return None
    side = 0 if node.inputs[1] is x else 1
    values = values_of(node.inputs[side])
    c = None if values is None else per_channel(values, channels)
    if c is None:
        return None
    if node.op == "Mul":
        return c, zeros
    if node.op == "Add":
        return ones, c
    if node.op == "Sub":
        return (ones, -c) if side == 1 else (-ones, c)
    return ((1 / c).astype(np.float32), zeros) if side == 1 and np.all(c != 0) else None


def per_channel(values: NDArray[np.float32], channels: int) -> Array | None:
    """A constant operand as [channels]; None where it is anything else than one value (per channel)."""
    if values.dtype != np.float32 or values.ndim > 4:
        return None
    shape = (1,) * (4 - values.ndim) + values.shape
    if values.size == 1:
        return np.full(channels, values.reshape(()), np.float32)
    return values.reshape(-1) if shape == (1, channels, 1, 1) else None


def batch_norm(node: gs.Node) -> tuple[Array, Array] | None:
    """(s, t) of a BatchNormalization in inference mode with constant parameters."""
    parameters = [values_of(t) for t in node.inputs[1:5]]
    if len(parameters) != 4 or int(node.attrs.get("training_mode", 0)) or len(node.outputs) > 1:
        return None
    scale, bias, mean, var = parameters
    if scale is None or bias is None or mean is None or var is None or scale.dtype != np.float32:
        return None
    if scale.ndim != 1:  # `spatial=0`, up to opset 8: a value for each place
        return None
    s = scale / np.sqrt(var + np.float32(node.attrs.get("epsilon", 1e-5)))
    return s.astype(np.float32), (bias - s * mean).astype(np.float32)


def spell_out(graph: gs.Graph, node: gs.Node) -> None:
    """BatchNormalization of a map -> Mul, Add with constants [1, C, 1, 1]."""
    line = batch_norm(node)
    x = node.inputs[0]
    if line is None or x.shape is None or len(x.shape) != 4:
        return
    s, t = (
        gs.Constant(f"{node.name}/{k}", v.reshape(1, -1, 1, 1)) for k, v in zip(("scale", "offset"), line, strict=True)
    )
    scaled = gs.Variable(f"{node.name}/scaled", x.dtype, x.shape)
    graph.nodes.append(gs.Node("Mul", f"{node.name}/Mul", {}, [x, s], [scaled]))
    replace(graph, node, "Add", [scaled, t])
