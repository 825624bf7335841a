"""Scales, offsets and permutations of channels that only convolutions read go into the weights of these.

W*(s x) = (W s)*x          whatever the padding, as it is zero
W*(x + t) = W*x + sum(W) t without padding; with padding the Add stays, but lets a Mul before it through:
W*(s x + t) = (W s)*(x + t/s)
W*x[:, p] = W'*x           with W'[:, p] = W, in ungrouped convolutions
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.normalise.affine import per_channel
from rrm_onnx.normalise.tools import is_sole_reader, producer, retire, values_of

Array = NDArray[np.float32]

SMALLEST_SCALE = 0.01  # a smaller one would blow up t/s, and with it the rounding of x + t/s


def fold_forward(graph: gs.Graph, opset: int) -> None:
    """Fold from the end to the start, so that a chain goes in as a whole."""
    for node in list(graph.nodes)[::-1]:
        if node.op not in ("Mul", "Add", "Gather") or not node.outputs:
            continue
        readers = convolutions(graph, node.outputs[0])
        if not readers:
            continue
        if node.op == "Gather":
            fold_permutation(node, readers)
        elif node.op == "Mul":
            fold_scale(node, readers)
        elif not any(is_padded(r) for r in readers):
            fold_offset(node, readers)
        else:
            pass_scale(graph, node, readers)


def convolutions(graph: gs.Graph, tensor: gs.Tensor) -> list[gs.Node]:
    """The readers of a tensor, if all are convolutions with constant weights that read it as their map."""
    if any(tensor is o for o in graph.outputs):
        return []
    own = {id(n) for n in graph.nodes}
    for r in tensor.outputs:
        weights = [values_of(t) for t in r.inputs[1:] if not t.is_empty()]
        if id(r) not in own or r.op != "Conv" or r.inputs[0] is not tensor or any(w is None for w in weights):
            return []
        if weights[0] is None or weights[0].ndim != 4 or weights[0].dtype != np.float32:
            return []
    return list(tensor.outputs)


def is_padded(conv: gs.Node) -> bool:
    auto_pad = conv.attrs.get("auto_pad", "NOTSET")
    return auto_pad.startswith("SAME") or (auto_pad == "NOTSET" and any(conv.attrs.get("pads", ())))


def operands(node: gs.Node, readers: list[gs.Node]) -> tuple[gs.Tensor, Array] | None:
    """(x, constant per channel) of a Mul or Add with one constant."""
    channels = readers[0].inputs[1].values.shape[1] * int(readers[0].attrs.get("group", 1))
    for side in (0, 1):
        values = values_of(node.inputs[side])
        x = node.inputs[1 - side]
        if values is not None and not isinstance(x, gs.Constant) and x.shape is not None and len(x.shape) == 4:
            constant = per_channel(values, channels)
            return None if constant is None or x.shape[1] != channels else (x, constant)
    return None


def spread(conv: gs.Node, constant: Array) -> Array:
    """A constant per input channel as [M, C/group, 1, 1], as it meets the weights [M, C/group, kh, kw]."""
    group = int(conv.attrs.get("group", 1))
    rows = np.repeat(constant.reshape(group, -1), conv.inputs[1].values.shape[0] // group, axis=0)
    return np.asarray(rows[:, :, None, None], np.float32)


def set_weights(conv: gs.Node, x: gs.Tensor, weight: Array, bias: Array | None = None) -> None:
    """New weights and a new map for a convolution; the bias stays where none is given."""
    inputs = [x, gs.Constant(f"{conv.name}/weight", np.ascontiguousarray(weight, np.float32)), *conv.inputs[2:]]
    if bias is not None:
        inputs[2:] = [gs.Constant(f"{conv.name}/bias", bias.astype(np.float32))]
    conv.inputs = inputs


def fold_scale(node: gs.Node, readers: list[gs.Node]) -> None:
    found = operands(node, readers)
    if found is None:
        return
    x, scale = found
    for r in readers:
        set_weights(r, x, r.inputs[1].values * spread(r, scale))
    retire(node)


def fold_offset(node: gs.Node, readers: list[gs.Node]) -> None:
    found = operands(node, readers)
    if found is None:
        return
    x, offset = found
    for r in readers:
        weight = r.inputs[1].values
        bias = values_of(r.inputs[2]) if len(r.inputs) > 2 and not r.inputs[2].is_empty() else np.zeros(weight.shape[0])
        shift = (weight.astype(np.float64) * spread(r, offset)).sum(axis=(1, 2, 3))
        set_weights(r, x, weight, np.asarray(bias + shift))
    retire(node)


def pass_scale(graph: gs.Graph, node: gs.Node, readers: list[gs.Node]) -> None:
    """Add of a Mul: the Mul goes into the convolutions, the Add's constant is divided by it."""
    added = operands(node, readers)
    above = producer(added[0]) if added is not None else None
    if added is None or above is None or above.op != "Mul" or not is_sole_reader(graph, node, above.outputs[0]):
        return
    multiplied = operands(above, readers)
    if multiplied is None or np.abs(multiplied[1]).min() < SMALLEST_SCALE:
        return
    (_, offset), (x, scale) = added, multiplied
    for r in readers:
        set_weights(r, node.outputs[0], r.inputs[1].values * spread(r, scale))
    node.inputs = [x, gs.Constant(f"{node.name}/offset", (offset / scale).reshape(1, -1, 1, 1).astype(np.float32))]
    retire(above)


def fold_permutation(node: gs.Node, readers: list[gs.Node]) -> None:
    """Gather over all channels, each once: permute the weights instead."""
    picked = values_of(node.inputs[1])
    x = node.inputs[0]
    if picked is None or picked.ndim != 1 or int(node.attrs.get("axis", 0)) != 1:
        return
    if x.shape is None or len(x.shape) != 4 or x.shape[1] != len(picked):
        return
    if not np.array_equal(np.sort(picked % len(picked)), np.arange(len(picked))):
        return
    if any(int(r.attrs.get("group", 1)) != 1 for r in readers):
        return
    for r in readers:
        weight = np.empty_like(r.inputs[1].values)
        weight[:, picked] = r.inputs[1].values
        set_weights(r, x, weight)
    retire(node)
