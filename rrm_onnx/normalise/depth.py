"""Convolutions over a SpaceToDepth, as YOLO networks begin with: one convolution with a larger kernel and stride.

A site behind SpaceToDepth(b) is a block of b x b sites before it, so a kernel of k x k blocks with stride s is one of
kb x kb sites with stride sb: the same products, the same outputs that a change reaches, and no map in between to be
copied, compared and kept.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from rrm_onnx.normalise.forward import set_weights
from rrm_onnx.normalise.tools import retire, values_of


def join_depth(graph: gs.Graph, opset: int) -> None:
    """Rewrite every such Conv, where nothing but convolutions reads the SpaceToDepth."""
    outputs = {id(t) for t in graph.outputs}
    # Of two in a row the last first: then a Conv reads the one before.
    for node in reversed(list(graph.nodes)):
        if node.op != "SpaceToDepth" or node.domain or not is_divided(node.inputs[0], int(node.attrs["blocksize"])):
            continue
        deep = node.outputs[0]
        if id(deep) not in outputs and all(fits(reader, deep) for reader in deep.outputs):
            for reader in list(deep.outputs):
                widen(reader, node)
            retire(node)


def is_divided(tensor: gs.Tensor, block: int) -> bool:
    """Whether the block divides height and width, which are known: a SpaceToDepth fails on others, a Conv would not."""
    if tensor.shape is None or len(tensor.shape) != 4:
        return False
    return all(isinstance(d, (int, np.integer)) and d % block == 0 for d in tensor.shape[2:])


def fits(conv: gs.Node, deep: gs.Tensor) -> bool:
    """Whether a reader is a plain Conv over `deep`: not dilated, not grouped, its pads spelled out."""
    if conv.op != "Conv" or conv.domain or conv.inputs[0] is not deep or any(t is deep for t in conv.inputs[1:]):
        return False
    weights = values_of(conv.inputs[1])
    return (
        weights is not None
        and weights.dtype == np.float32
        and weights.ndim == 4
        and int(conv.attrs.get("group", 1)) == 1
        and conv.attrs.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and all(d == 1 for d in conv.attrs.get("dilations", ()))
    )


def widen(conv: gs.Node, deep: gs.Node) -> None:
    block = int(deep.attrs["blocksize"])
    weights = spread(np.asarray(values_of(conv.inputs[1])), block)
    set_weights(conv, deep.inputs[0], weights)
    conv.attrs["kernel_shape"] = list(weights.shape[2:])
    conv.attrs["strides"] = [block * int(s) for s in conv.attrs.get("strides", (1, 1))]
    if "pads" in conv.attrs:
        conv.attrs["pads"] = [block * int(p) for p in conv.attrs["pads"]]


def spread(weights: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """[M, b*b*C, kh, kw] -> [M, C, kh*b, kw*b]: SpaceToDepth's channels are (row in the block, column, channel)."""
    m, deep, kh, kw = weights.shape
    split = weights.reshape(m, block, block, deep // block**2, kh, kw)
    return split.transpose(0, 3, 4, 1, 5, 2).reshape(m, -1, kh * block, kw * block)
